#include "formats/npy.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "core/check.h"
#include "core/file.h"

namespace resnet {
namespace {

using namespace std::string_view_literals;

static_assert(std::endian::native == std::endian::little, "tensors are stored little-endian");

constexpr std::string_view kMagic = "\x93NUMPY"sv;

struct NumpyType {
  std::string_view name;  // without the byte order
  DType dtype;            // what it becomes here
};
constexpr std::array kTypes = {
    NumpyType{"f2", DType::kF16}, NumpyType{"f4", DType::kF32},  NumpyType{"f8", DType::kF64},
    NumpyType{"i1", DType::kI8},  NumpyType{"u1", DType::kU8},   NumpyType{"i4", DType::kI32},
    NumpyType{"i8", DType::kI64}, NumpyType{"b1", DType::kBool}, NumpyType{"i2", DType::kI32},
    NumpyType{"u2", DType::kI32}, NumpyType{"u4", DType::kI64},  NumpyType{"u8", DType::kI64}};

struct Header {
  std::string type;  // "f4"
  bool big_endian = false;
  bool fortran = false;
  Shape shape;
};

/// The dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`: as much of
/// Python's syntax as NumPy writes there.
class HeaderReader {
 public:
  HeaderReader(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Header read() {
    Header header;
    bool has_type = false;
    bool has_order = false;
    bool has_shape = false;
    expect("{");
    while (!accept("}")) {
      const std::string_view key = quoted();
      expect(":");
      if (key == "descr") {
        if (has_type) damaged("it has 'descr' twice");
        has_type = true;
        read_type(header);
      } else if (key == "fortran_order") {
        if (has_order) damaged("it has 'fortran_order' twice");
        has_order = true;
        header.fortran = accept("True");
        if (!header.fortran) expect("False");
      } else if (key == "shape") {
        if (has_shape) damaged("it has 'shape' twice");
        has_shape = true;
        read_shape(header);
      } else {
        damaged("it has an unknown key");
      }
      if (!accept(",")) {
        expect("}");
        break;
      }
    }
    if (!has_type || !has_order || !has_shape) damaged("it lacks descr, fortran_order or shape");
    skip_space();
    if (!text_.empty()) damaged("something follows it");
    return header;
  }

 private:
  [[noreturn]] void damaged(std::string_view what) const {
    fail(ErrorCode::kBadData, "{}: the header of the .npy file is damaged: {}; write it again",
         name_, what);
  }
  void skip_space() {
    const std::size_t at = text_.find_first_not_of(" \n");
    text_.remove_prefix(std::min(at, text_.size()));
  }
  bool accept(std::string_view token) {
    skip_space();
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) damaged(fmt::format("no \"{}\" where one should be", token));
  }
  std::string_view quoted() {
    skip_space();
    const char quote = text_.empty() ? '\0' : text_.front();
    const std::size_t end = quote == '\'' || quote == '"' ? text_.find(quote, 1) : text_.npos;
    if (end == text_.npos) damaged("no text in quotes where one should be");
    const std::string_view inside = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return inside;
  }
  void read_type(Header& header) {
    if (!accept("[")) {  // else a record: a list of fields
      std::string_view type = quoted();
      if (!type.empty() && "<>|="sv.find(type.front()) != std::string_view::npos) {
        header.big_endian = type.front() == '>';
        type.remove_prefix(1);
      }
      const bool known = std::any_of(kTypes.begin(), kTypes.end(),
                                     [&](const NumpyType& t) { return t.name == type; });
      if (known) {
        header.type = type;
        return;
      }
    }
    fail(ErrorCode::kUnsupported,
         "{}: the elements are texts, records, objects or complex; expected integers, floats or "
         "booleans: save it with .astype(...)",
         name_);
  }
  void read_shape(Header& header) {
    constexpr std::size_t kMaxRank = 64;  // NumPy's
    expect("(");
    while (!accept(")")) {
      skip_space();
      std::uint64_t value = 0;
      std::size_t digits = 0;
      while (digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9') {
        if (value > static_cast<std::uint64_t>(INT64_MAX - 9) / 10) damaged("its shape is too big");
        value = value * 10 + static_cast<std::uint64_t>(text_[digits] - '0');
        ++digits;
      }
      if (digits == 0) damaged("its shape is no list of whole numbers");
      text_.remove_prefix(digits);
      accept("L");  // Python 2 wrote 3L
      if (header.shape.size() == kMaxRank) damaged("its shape has more than 64 dimensions");
      header.shape.push_back(static_cast<std::int64_t>(value));
      if (!accept(",")) {
        expect(")");
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& name_;
};

/// Product of the shape and the element size; nothing when 63 bits do not hold it.
std::optional<std::uint64_t> byte_count(const Shape& shape, std::uint64_t element) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  std::uint64_t bytes = element;
  for (const std::int64_t d : shape) {
    if (bytes > static_cast<std::uint64_t>(INT64_MAX) / static_cast<std::uint64_t>(d)) return {};
    bytes *= static_cast<std::uint64_t>(d);
  }
  return bytes;
}

/// Elements of `size` bytes from column-major to row-major order.
std::vector<std::byte> to_row_major(std::span<const std::byte> from, const Shape& shape,
                                    std::size_t size) {
  std::vector<std::byte> to(from.size());
  std::vector<std::size_t> stride(shape.size());  // of `from`, in bytes
  std::size_t step = size;
  for (std::size_t d = 0; d < shape.size(); ++d) {
    stride[d] = step;
    step *= static_cast<std::size_t>(shape[d]);
  }
  Shape index(shape.size());
  std::size_t source = 0;
  for (std::size_t at = 0; at < to.size(); at += size) {
    std::memcpy(&to[at], &from[source], size);
    for (std::size_t d = shape.size(); d-- > 0;) {
      source += stride[d];
      if (++index[d] < shape[d]) break;
      source -= stride[d] * static_cast<std::size_t>(shape[d]);
      index[d] = 0;
    }
  }
  return to;
}

template <class From, class To>
void widen(std::span<const std::byte> from, Tensor& to, const std::string& name) {
  auto out = to.as<To>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    From value;
    std::memcpy(&value, &from[i * sizeof(From)], sizeof(From));
    if constexpr (sizeof(From) == sizeof(To)) {
      if (value > static_cast<From>(INT64_MAX)) {
        fail(ErrorCode::kBadData, "{}: element {} is {}, more than a signed integer holds", name, i,
             value);
      }
    }
    out[i] = static_cast<To>(value);
  }
}

}  // namespace

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic) || text.size() < 8) {
    fail(ErrorCode::kBadData, "{}: expected a NumPy array (.npy), found something else", name);
  }
  const int version = text[6];
  if (version < 1 || version > 3) {
    fail(ErrorCode::kUnsupported, "{}: version {} of the .npy format; expected 1, 2 or 3", name,
         version);
  }
  const std::size_t begin = version == 1 ? 10 : 12;
  std::size_t length = 0;
  for (std::size_t i = begin; i-- > 8 && i < text.size();) {
    length = length << 8 | static_cast<unsigned char>(text[i]);
  }
  if (text.size() < begin || length > text.size() - begin) {
    fail(ErrorCode::kBadData, "{}: the .npy file ends inside its header; fetch it again", name);
  }
  Header header = HeaderReader(text.substr(begin, length), name).read();

  const auto size = static_cast<std::size_t>(header.type[1] - '0');
  const std::span<const std::byte> data = bytes.subspan(begin + length);
  if (byte_count(header.shape, size) != data.size()) {
    fail(ErrorCode::kBadData,
         "{}: the .npy file declares the shape {} of {}-byte elements and holds {} bytes of them; "
         "fetch it again",
         name, to_string(header.shape), size, data.size());
  }
  const auto* type = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const NumpyType& t) { return t.name == header.type; });
  Tensor out(type->dtype, header.shape);
  std::span<const std::byte> elements = data;
  std::vector<std::byte> ordered;
  if (header.fortran && header.shape.size() > 1) {
    ordered = to_row_major(elements, header.shape, size);
    elements = ordered;
  }
  if (header.big_endian && size > 1) {
    if (ordered.empty()) ordered.assign(elements.begin(), elements.end());
    for (std::size_t at = 0; at < ordered.size(); at += size) {
      std::reverse(&ordered[at], &ordered[at] + size);
    }
    elements = ordered;
  }
  if (header.type == "i2") {
    widen<std::int16_t, std::int32_t>(elements, out, name);
  } else if (header.type == "u2") {
    widen<std::uint16_t, std::int32_t>(elements, out, name);
  } else if (header.type == "u4") {
    widen<std::uint32_t, std::int64_t>(elements, out, name);
  } else if (header.type == "u8") {
    widen<std::uint64_t, std::int64_t>(elements, out, name);
  } else {
    std::copy(elements.begin(), elements.end(), out.raw());
  }
  if (header.type == "b1") {  // any other byte is true
    for (std::size_t i = 0; i < out.bytes(); ++i) {
      if (out.raw()[i] != std::byte{0}) out.raw()[i] = std::byte{1};
    }
  }
  return out;
}

Tensor read_npy(const std::filesystem::path& path) {
  return parse_npy(read_file(path), path.string());
}

void write_npy(const std::filesystem::path& path, const Tensor& tensor) {
  const Tensor t = tensor.dtype() == DType::kBF16 ? tensor.cast(DType::kF32) : tensor;
  const auto* type = std::find_if(kTypes.begin(), kTypes.end(),
                                  [&](const NumpyType& n) { return n.dtype == t.dtype(); });
  std::string shape = fmt::format("{}", fmt::join(t.shape(), ", "));
  if (t.shape().size() == 1) shape += ',';
  std::string header = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}",
                                   size_of(t.dtype()) == 1 ? '|' : '<', type->name, shape);
  constexpr std::size_t kBegin = 10;
  constexpr std::size_t kAlign = 64;
  header.append(kAlign - 1 - (kBegin + header.size()) % kAlign, ' ');
  header += '\n';
  std::string start(kMagic);
  start +=
      {'\1', '\0', static_cast<char>(header.size() & 0xff), static_cast<char>(header.size() >> 8)};
  start += header;
  write_file_atomic(path, [&](const ByteSink& sink) {
    sink(std::as_bytes(std::span<const char>(start)));
    sink({t.raw(), t.bytes()});
  });
}

}  // namespace resnet
