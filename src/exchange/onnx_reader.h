// Reads an ONNX graph as layers: brings what PyTorch and Keras (tf2onnx) write to the common form.
#pragma once

#include <array>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "exchange/onnx_constants.h"
#include "exchange/onnx_net.h"
#include "formats/onnx_file.h"

namespace resnet::onnx_net {

class OnnxReader {
 public:
  /// `file` is for messages; both must outlive the reader.
  OnnxReader(const OnnxModel& model, const std::string& file);

  /// The layers. Throws kUnsupported naming the node for what no network here has, kBadData for
  /// what contradicts itself.
  Net run();

  const Tensor& constant(const std::string& name) const { return constants_.at(name); }

 private:
  /// Which of n, c, h, w (0 to 3) each axis of a value is. Keras has images as [n, h, w, c].
  using Order = std::array<std::int64_t, 4>;
  /// Of windows, channels and sides of images: no product of a few overflows below it.
  static constexpr std::int64_t kMostExtent = 1 << 20;
  static constexpr Order kNchw{0, 1, 2, 3};
  static constexpr Order kNhwc{0, 2, 3, 1};

  /// A value that is no constant: the output of a layer, or that with something left to be done.
  struct Data {
    int layer = -1;
    bool shared = false;  // something else reads the same values
    Order order = kNchw;
    Ints zeros = {};                // around the image: top, left, bottom, right; or none
    const OnnxNode* pad = nullptr;  // that adds these zeros
  };

  [[noreturn]] void unsupported(const OnnxNode& node, std::string_view what) const;
  [[noreturn]] void bad(const OnnxNode& node, std::string_view what) const;

  void add_input();
  Order order_of_images(const std::string& input) const;
  int find_logits() const;

  const Data& data_of(const std::string& name, const OnnxNode* reader) const;
  const Data& padded(const OnnxNode& node) const;
  const Data& data(const OnnxNode& node, std::size_t i) const;
  const Data& unpadded(const Data& x) const;
  void expect_nchw(const OnnxNode& node, const Data& x) const;
  bool reads_data(const OnnxNode& node) const;

  const std::string& constant_name(const OnnxNode& node, std::size_t i) const;
  const Tensor& constant(const OnnxNode& node, std::size_t i) const;
  std::optional<Ints> list(const OnnxNode& node, std::size_t input, const char* name) const;
  Ints small(const OnnxNode& node, const Tensor& tensor) const;
  Ints meanings(const OnnxNode& node, const Ints& axes, const Order& order) const;
  Ints window(const OnnxNode& node, const char* name, std::size_t count, std::int64_t least,
              std::int64_t otherwise) const;
  std::string vector(const OnnxNode& node, std::size_t i, std::int64_t size) const;
  bool is_per_channel(const Tensor& tensor, const Data& x) const;

  bool set(const OnnxNode& node, Data data);
  bool set(const OnnxNode& node, Layer layer);
  bool pass(const OnnxNode& node);
  bool simple(const OnnxNode& node, const char* op);

  bool add(const OnnxNode& node);
  bool add_conv(const OnnxNode& node);
  bool add_norm(const OnnxNode& node);
  bool add_pair(const OnnxNode& node);
  bool add_constant(const OnnxNode& node, std::size_t constant);
  bool add_pool(const OnnxNode& node);
  bool add_global_pool(const OnnxNode& node);
  bool add_mean(const OnnxNode& node);
  bool add_reshape(const OnnxNode& node);
  bool add_linear(const OnnxNode& node);
  bool add_transpose(const OnnxNode& node);
  bool subsample(const OnnxNode& node, Ints strides);
  bool add_slice(const OnnxNode& node);
  bool add_pad(const OnnxNode& node);

  std::int64_t slide(const OnnxNode& node, std::int64_t size, std::int64_t pad, std::int64_t kernel,
                     std::int64_t stride, std::int64_t dilation) const;
  Ints padding(const OnnxNode& node, const Layer& x, const Ints& zeros, const Ints& kernel,
               const Ints& strides, const Ints& dilations) const;

  const OnnxModel& model_;
  const std::string& file_;
  OnnxConstants constants_;
  Net net_;
  std::map<std::string, Data> data_;               // by the name of the value
  std::map<std::string, const OnnxNode*> unread_;  // by the name of the value
  std::map<std::string, int> readers_;
};

}  // namespace resnet::onnx_net
