#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "core/text.h"
#include "formats/torch_file.h"
#include "formats/torch_globals.h"
#include "formats/zip.h"

namespace resnet {
namespace {

/// The instructions of Python's pickle, protocol 2, that a dictionary of tensors needs.
class PickleWriter {
 public:
  PickleWriter& raw(std::string_view instructions) {
    out_ += instructions;
    return *this;
  }
  PickleWriter& global(std::string_view module, std::string_view name) {
    return raw("c").raw(module).raw("\n").raw(name).raw("\n");
  }
  PickleWriter& text(std::string_view t) {
    out_ += 'X';
    number(t.size(), 4);
    return raw(t);
  }
  PickleWriter& integer(std::int64_t n) {
    if (n >= 0 && n <= INT32_MAX) {
      out_ += 'J';
      return number(static_cast<std::uint64_t>(n), 4);
    }
    raw("\x8a\x08");
    return number(static_cast<std::uint64_t>(n), 8);
  }
  PickleWriter& tuple(const Shape& numbers) {
    out_ += '(';
    for (const std::int64_t n : numbers) integer(n);
    return raw("t");
  }
  const std::string& bytes() const { return out_; }

 private:
  PickleWriter& number(std::uint64_t n, int bytes) {
    for (int i = 0; i < bytes; ++i) out_ += static_cast<char>(n >> (8 * i) & 0xff);
    return *this;
  }
  std::string out_;
};

}  // namespace

void write_torch_file(const std::filesystem::path& path,
                      const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  PickleWriter p;
  p.raw("\x80\x02").global("collections", "OrderedDict").raw(")R(");
  std::vector<std::string> names;
  for (const auto& [name, t] : tensors) {
    if (!is_utf8(name)) {
      fail(ErrorCode::kInvalidArgument, "{}: the tensor's name '{}' is not UTF-8; rename it",
           path.string(), printable(name, 200));
    }
    Shape strides(t.shape().size(), 1);
    for (std::size_t i = strides.size(); i-- > 1;) strides[i - 1] = strides[i] * t.shape()[i];
    p.text(name).global("torch._utils", "_rebuild_tensor_v2").raw("((");
    p.text("storage").global("torch",
                             storage_global(t.dtype()).substr(std::string_view("torch.").size()));
    p.text(std::to_string(names.size())).text("cpu").integer(t.size()).raw("tQ");
    p.integer(0).tuple(t.shape()).tuple(strides).raw("\x89");
    p.global("collections", "OrderedDict").raw(")RtR");
    names.push_back("archive/data/" + std::to_string(names.size()));
  }
  p.raw("u");
  if (!metadata.empty()) {  // {"_metadata": {"resnet.cpp": {…}}} becomes the object's attributes
    p.raw("}").text("_metadata").raw("}").text(kTorchMetadataKey).raw("}(");
    for (const auto& [key, text] : metadata) p.text(key).text(text);
    p.raw("ussb");
  }
  p.raw(".");

  const auto bytes_of = [](std::string_view text) { return std::as_bytes(std::span(text)); };
  std::vector<ZipContent> files = {{"archive/data.pkl", bytes_of(p.bytes())},
                                   {"archive/byteorder", bytes_of("little")}};
  std::size_t i = 0;
  for (const auto& [name, t] : tensors) files.push_back({names[i++], {t.raw(), t.bytes()}});
  files.push_back({"archive/version", bytes_of("3\n")});
  write_zip(path, files);
}

}  // namespace resnet
