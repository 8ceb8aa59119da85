#include "exchange/onnx_reader.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "core/check.h"
#include "graph/ops.h"

namespace resnet::onnx_net {
OnnxReader::OnnxReader(const OnnxModel& model, const std::string& file)
    : model_(model), file_(file), constants_(model, file) {
  constexpr std::int64_t kOldest = 7;  // broadcasting and batch norm as they still are
  if (model.opset < kOldest) {
    fail(ErrorCode::kUnsupported,
         "{}: it uses ONNX's operations of version {}, {} and later are read; export it again",
         file, model.opset, kOldest);
  }
  for (const OnnxNode& node : model.nodes) {
    for (const std::string& name : node.inputs) ++readers_[name];
  }
  for (const OnnxValue& output : model.outputs) ++readers_[output.name];
}

Net OnnxReader::run() {
  add_input();
  for (const OnnxNode& node : model_.nodes) {
    if (node.outputs.empty()) continue;
    if (node.op == "QuantizeLinear" || node.op == "DequantizeLinear" ||
        node.op.starts_with("QLinear") || node.op.ends_with("Integer")) {
      fail(ErrorCode::kUnsupported,
           "{}: {}: an int8 network that was not made here; export it with real numbers "
           "and make it one with `resnet quantize`",
           file_, describe(node));
    }
    const bool constant = std::ranges::all_of(node.inputs, [&](const std::string& name) {
      return name.empty() || constants_.contains(name);
    });
    if (constant ? constants_.fold(node) : add(node)) continue;
    // Such a node does no harm when the logits do not depend on its values: shapes, for example.
    // Otherwise the first of its kind is to blame.
    const OnnxNode* cause = &node;
    for (const std::string& name : node.inputs) {
      if (const auto before = unread_.find(name); before != unread_.end()) cause = before->second;
    }
    for (const std::string& name : node.outputs) unread_[name] = cause;
  }
  net_.logits = find_logits();
  return std::move(net_);
}

void OnnxReader::unsupported(const OnnxNode& node, std::string_view what) const {
  fail(ErrorCode::kUnsupported,
       "{}: {}: {}; export the network as PyTorch does, without other operations around it", file_,
       describe(node), what);
}

void OnnxReader::bad(const OnnxNode& node, std::string_view what) const {
  fail(ErrorCode::kBadData, "{}: {}: {}; export the network again", file_, describe(node), what);
}

// ------------------------------------------------------------------------------ inputs and outputs

void OnnxReader::add_input() {
  const OnnxValue* image = nullptr;
  for (const OnnxValue& input : model_.inputs) {
    if (constants_.contains(input.name)) continue;
    if (image != nullptr || input.shape.size() != 4 || !is_floating(input.dtype)) {
      fail(ErrorCode::kUnsupported,
           "{}: expected one input of images [batch, channels, height, width], found '{}' with "
           "{} dimensions; export the network alone",
           file_, shown(input.name), input.shape.size());
    }
    image = &input;
  }
  if (image == nullptr) {
    fail(ErrorCode::kBadData, "{}: the graph has no input; export the network again", file_);
  }
  const Order order = order_of_images(image->name);
  const auto size = [&](std::int64_t which) {
    const auto i = static_cast<std::size_t>(std::ranges::find(order, which) - order.begin());
    const std::int64_t d = image->shape[i].size;
    if (d > kMostExtent) {
      fail(ErrorCode::kBadData, "{}: its input '{}' has a side of {}, above the limit of {}", file_,
           shown(image->name), d, kMostExtent);
    }
    return std::max<std::int64_t>(0, d);
  };
  const std::int64_t c = size(1), h = size(2), w = size(3);
  const int layer = net_.add({.op = "input", .name = image->name, .c = c, .h = h, .w = w});
  data_[image->name] = {.layer = layer, .shared = readers_[image->name] > 1, .order = order};
}

// Keras' images are turned to [n, c, h, w] before the first convolution.
OnnxReader::Order OnnxReader::order_of_images(const std::string& input) const {
  std::set<std::string_view> images{input};
  for (const OnnxNode& node : model_.nodes) {
    if (node.inputs.empty() || !images.contains(node.inputs[0])) continue;
    if (node.op == "Conv") break;
    if (node.op == "Transpose" && attribute(node, "perm", Ints{}) == Ints{0, 3, 1, 2}) return kNhwc;
    images.insert(node.outputs.begin(), node.outputs.end());
  }
  return kNchw;
}

int OnnxReader::find_logits() const {
  const auto named = std::ranges::find(model_.outputs, "logits", &OnnxValue::name);
  if (model_.outputs.empty()) {
    fail(ErrorCode::kBadData, "{}: the graph has no output; export the network again", file_);
  }
  const std::string& name =
      named == model_.outputs.end() ? model_.outputs.front().name : named->name;
  int layer = unpadded(data_of(name, nullptr)).layer;
  if (net_.at(layer).op == "softmax") layer = net_.at(layer).inputs[0];
  if (net_.at(layer).op != "linear") {
    fail(ErrorCode::kUnsupported,
         "{}: its output '{}' comes from {} '{}', expected a linear layer that gives the logits",
         file_, shown(name), net_.at(layer).op, shown(net_.at(layer).name));
  }
  return layer;
}

// ---------------------------------------------------------------------------- what a node reads

// The layer whose output has this name; names the node that stands in the way.
const OnnxReader::Data& OnnxReader::data_of(const std::string& name, const OnnxNode* reader) const {
  if (const auto found = data_.find(name); found != data_.end()) return found->second;
  if (const auto node = unread_.find(name); node != unread_.end()) {
    unsupported(*node->second, "no network here has this operation in this place");
  }
  if (reader != nullptr) bad(*reader, fmt::format("'{}' is no data of the graph", shown(name)));
  fail(ErrorCode::kBadData, "{}: its output '{}' depends on no input", file_, shown(name));
}

// The first input, which may have zeros around it.
const OnnxReader::Data& OnnxReader::padded(const OnnxNode& node) const {
  if (node.inputs.empty()) bad(node, "an input is missing");
  return data_of(node.inputs[0], &node);
}

const OnnxReader::Data& OnnxReader::data(const OnnxNode& node, std::size_t i) const {
  if (i >= node.inputs.size()) bad(node, "an input is missing");
  return unpadded(data_of(node.inputs[i], &node));
}

const OnnxReader::Data& OnnxReader::unpadded(const Data& x) const {
  if (x.pad != nullptr) {
    unsupported(*x.pad,
                "zeros around an image, which are read right before a convolution and between a "
                "ReLU and a max pool");
  }
  return x;
}

void OnnxReader::expect_nchw(const OnnxNode& node, const Data& x) const {
  if (x.order == kNchw) return;
  std::string order;
  for (const std::int64_t axis : x.order) order += "nchw"[axis];
  unsupported(node, fmt::format("its input lies as {}, not as nchw", order));
}

// Identity and the like may also stand among shapes, which have no layer.
bool OnnxReader::reads_data(const OnnxNode& node) const {
  return !node.inputs.empty() && data_.contains(node.inputs[0]);
}

// A constant input, under its name.
const std::string& OnnxReader::constant_name(const OnnxNode& node, std::size_t i) const {
  if (!has(node, i)) bad(node, "an input is missing");
  if (!constants_.contains(node.inputs[i])) {
    unsupported(node, fmt::format("'{}' should be a constant", shown(node.inputs[i])));
  }
  return node.inputs[i];
}

const Tensor& OnnxReader::constant(const OnnxNode& node, std::size_t i) const {
  return constants_.at(constant_name(node, i));
}

// A list that newer operations take as an input and older ones as an attribute.
std::optional<Ints> OnnxReader::list(const OnnxNode& node, std::size_t input,
                                     const char* name) const {
  if (has(node, input)) return small(node, constant(node, input));
  if (!node.attributes.contains(name)) return std::nullopt;
  return attribute(node, name, Ints{});
}

// The values of a list of axes, sizes or pads.
Ints OnnxReader::small(const OnnxNode& node, const Tensor& tensor) const {
  constexpr std::int64_t kMost = 64;
  if (tensor.size() > kMost || is_floating(tensor.dtype())) {
    bad(node, "a short list of whole numbers was expected");
  }
  return to_ints(tensor);
}

// Which of n, c, h, w these axes are, each named once.
Ints OnnxReader::meanings(const OnnxNode& node, const Ints& axes, const Order& order) const {
  Ints result;
  for (const std::int64_t axis : axes) {
    if (axis < -4 || axis > 3) bad(node, fmt::format("there is no axis {}", axis));
    result.push_back(order[static_cast<std::size_t>(axis < 0 ? axis + 4 : axis)]);
    if (std::ranges::count(result, result.back()) != 1) {
      bad(node, fmt::format("axis {} is named twice", axis));
    }
  }
  return result;
}

// Two or four numbers of a window.
Ints OnnxReader::window(const OnnxNode& node, const char* name, std::size_t count,
                        std::int64_t least, std::int64_t otherwise) const {
  const Ints values = attribute(node, name, Ints(count, otherwise));
  const auto fits = [&](std::int64_t v) { return v >= least && v <= kMostExtent; };
  if (values.size() != count || !std::ranges::all_of(values, fits)) {
    bad(node, fmt::format("{} should be {} numbers from {} to 2^20", name, count, least));
  }
  return values;
}

// A vector of the layer's channels.
std::string OnnxReader::vector(const OnnxNode& node, std::size_t i, std::int64_t size) const {
  const std::string& name = constant_name(node, i);
  const Tensor& tensor = constants_.at(name);
  if (tensor.size() != size || !is_floating(tensor.dtype())) {
    bad(node,
        fmt::format("'{}' {} should have {} values", shown(name), to_string(tensor.shape()), size));
  }
  return name;
}

// Whether a sum or a product with the constant has one number for each channel.
bool OnnxReader::is_per_channel(const Tensor& tensor, const Data& x) const {
  const Shape& shape = tensor.shape();
  if (shape.size() > 4 || !is_floating(tensor.dtype())) return false;
  Shape full(4 - shape.size(), 1);
  full.insert(full.end(), shape.begin(), shape.end());
  for (std::size_t i = 0; i < 4; ++i) {
    if (full[i] != (x.order[i] == 1 ? net_.at(x.layer).c : 1)) return false;
  }
  return true;
}

// ------------------------------------------------------------------------------- what a node makes

bool OnnxReader::set(const OnnxNode& node, Data data) {
  data.shared = data.shared || readers_[node.outputs[0]] > 1;
  data_[node.outputs[0]] = std::move(data);
  return true;
}

// A new layer, in the order of what it reads.
bool OnnxReader::set(const OnnxNode& node, Layer layer) {
  const Order order = padded(node).order;
  return set(node, Data{.layer = net_.add(std::move(layer)), .order = order});
}

// The node changes nothing.
bool OnnxReader::pass(const OnnxNode& node) { return set(node, padded(node)); }

}  // namespace resnet::onnx_net
