#include "formats/onnx_file.h"

#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <array>
#include <charconv>
#include <climits>
#include <cstring>
#include <limits>
#include <optional>
#include <set>

#include "core/check.h"
#include "core/file.h"
#include "onnx.pb.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

// ONNX's TensorProto.DataType.
struct NumberedType {
  std::int32_t number;
  DType dtype;
};
constexpr std::array kTypes = {
    NumberedType{1, DType::kF32},  NumberedType{2, DType::kU8},   NumberedType{3, DType::kI8},
    NumberedType{6, DType::kI32},  NumberedType{7, DType::kI64},  NumberedType{9, DType::kBool},
    NumberedType{10, DType::kF16}, NumberedType{11, DType::kF64}, NumberedType{16, DType::kBF16}};
constexpr std::array<std::string_view, 17> kTypeNames = {
    "undefined", "float32", "uint8",     "int8",       "uint16",  "int16",
    "int32",     "int64",   "string",    "bool",       "float16", "float64",
    "uint32",    "uint64",  "complex64", "complex128", "bfloat16"};

// ONNX's AttributeProto.AttributeType.
enum AttributeType : std::int32_t {
  kFloat = 1,
  kInt = 2,
  kString = 3,
  kTensor = 4,
  kFloats = 6,
  kInts = 7
};

constexpr int kExternal = 1;
constexpr int kMaxRank = 16;

std::optional<DType> dtype_of(std::int32_t number) {
  for (const NumberedType& t : kTypes) {
    if (t.number == number) return t.dtype;
  }
  return std::nullopt;
}

std::int32_t number_of(DType dtype) {
  for (const NumberedType& t : kTypes) {
    if (t.dtype == dtype) return t.number;
  }
  return 0;
}

template <class... Args>
[[noreturn]] void damaged(const std::string& file, fmt::format_string<Args...> format,
                          Args&&... args) {
  fail(ErrorCode::kBadData, "{}: not a sound ONNX model: {}; export or fetch it again", file,
       fmt::format(format, std::forward<Args>(args)...));
}

// A file of external data. All tensors together take no more bytes than it has, so that a small
// file that is read many times cannot fill the memory.
struct ExternalFile {
  explicit ExternalFile(const fs::path& path) : source(path), left(source.size()) {}
  ByteSource source;
  std::uint64_t left;
};

// ----------------------------------------------------------------------------------------- reading

// The value of a Constant, which is its one attribute; nothing for texts and what is not read.
constexpr auto kToConstant = []<class T>(const T& value) -> std::optional<Tensor> {
  if constexpr (std::is_same_v<T, Tensor>) {
    return value;
  } else if constexpr (std::is_arithmetic_v<T>) {
    return Tensor::from<T>({}, std::span(&value, 1));
  } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::monostate>) {
    return std::nullopt;
  } else {
    return Tensor::from({std::ssize(value)}, std::span(value));
  }
};

class Reader {
 public:
  // Without a folder external data are refused.
  Reader(std::string file, std::optional<fs::path> folder)
      : file_(std::move(file)), folder_(std::move(folder)) {}

  OnnxModel read(onnx::Model& message) {
    OnnxModel model;
    if (!message.has_graph() || message.opset_import().empty()) {
      damaged(file_, "it has no {}", message.has_graph() ? "opset_import" : "graph");
    }
    model.ir_version = message.ir_version();
    model.opset = 0;
    for (const onnx::OperatorSet& set : message.opset_import()) {
      if (set.domain().empty() || set.domain() == "ai.onnx") model.opset = set.version();
    }
    model.producer_name = message.producer_name();
    model.producer_version = message.producer_version();
    for (const onnx::StringEntry& entry : message.metadata_props()) {
      if (!model.metadata.emplace(entry.key(), entry.value()).second) {
        damaged(file_, "its metadata have '{}' twice", shown(entry.key()));
      }
    }
    onnx::Graph& graph = *message.mutable_graph();
    model.graph_name = graph.name();
    model.inputs = values(graph.input());
    model.outputs = values(graph.output());
    for (onnx::Tensor& tensor : *graph.mutable_initializer()) {
      model.initializers.emplace_back(tensor.name(), to_tensor(tensor, tensor.name()));
      tensor = onnx::Tensor();  // gives its bytes back, which Clear would keep
    }
    for (onnx::Node& node : *graph.mutable_node()) {
      model.nodes.push_back(to_node(node));
      node = onnx::Node();
    }
    check_names(model);
    hoist_constants(model);
    return model;
  }

 private:
  template <class Messages>
  std::vector<OnnxValue> values(const Messages& messages) const {
    std::vector<OnnxValue> result;
    for (const onnx::ValueInfo& message : messages) {
      OnnxValue value{.name = message.name(), .shape = {}};
      const onnx::TensorType& type = message.type().tensor_type();
      value.dtype = dtype_of(type.elem_type()).value_or(DType::kF32);
      for (const onnx::Dimension& d : type.shape().dim()) {
        if (d.has_dim_value() && d.dim_value() < 0) {
          damaged(file_, "'{}' has a dimension of {}", shown(value.name), d.dim_value());
        }
        value.shape.push_back({d.has_dim_value() ? d.dim_value() : -1, d.dim_param()});
      }
      result.push_back(std::move(value));
    }
    return result;
  }

  OnnxNode to_node(onnx::Node& message) {
    OnnxNode node{.op = message.op_type(),
                  .name = message.name(),
                  .domain = message.domain() == "ai.onnx" ? "" : message.domain(),
                  .inputs = {message.input().begin(), message.input().end()},
                  .outputs = {message.output().begin(), message.output().end()}};
    for (onnx::Attribute& a : *message.mutable_attribute()) {
      OnnxAttribute value;
      switch (a.type()) {
        case kFloat: value = a.f(); break;
        case kInt: value = a.i(); break;
        case kString: value = a.s(); break;
        case kTensor:
          value = to_tensor(
              a.t(), node.op == "Constant" && !node.outputs.empty() ? node.outputs[0] : a.name());
          break;
        case kFloats: value = std::vector<float>(a.floats().begin(), a.floats().end()); break;
        case kInts: value = std::vector<std::int64_t>(a.ints().begin(), a.ints().end()); break;
        default: break;
      }
      if (!node.attributes.emplace(a.name(), std::move(value)).second) {
        damaged(file_, "node '{}' has the attribute '{}' twice", shown(node.name), shown(a.name()));
      }
    }
    return node;
  }

  Tensor to_tensor(const onnx::Tensor& message, std::string_view name) {
    const auto dtype = dtype_of(message.data_type());
    if (!dtype) {
      const auto number = static_cast<std::size_t>(message.data_type());
      fail(ErrorCode::kUnsupported,
           "{}: tensor '{}' has elements of type {}, which are not supported; export it as float32",
           file_, shown(name),
           number < kTypeNames.size() ? std::string(kTypeNames[number])
                                      : fmt::format("number {}", message.data_type()));
    }
    Shape shape(message.dims().begin(), message.dims().end());
    const std::uint64_t count = elements(shape, name);
    if (message.data_location() == kExternal) return external(message, *dtype, shape, count, name);
    const auto expect = [&](std::uint64_t found, std::uint64_t wanted, std::string_view unit) {
      if (found != wanted) {
        damaged(file_, "tensor '{}' of {} {} needs {} {}, it has {}", shown(name), name_of(*dtype),
                to_string(shape), wanted, unit, found);
      }
    };
    if (message.has_raw_data()) {
      expect(message.raw_data().size(), count * size_of(*dtype), "bytes");
      Tensor tensor(*dtype, std::move(shape));
      if (!tensor.empty()) std::memcpy(tensor.raw(), message.raw_data().data(), tensor.bytes());
      return tensor;
    }
    const auto typed = [&](const auto& values, auto zero) {
      expect(static_cast<std::uint64_t>(values.size()), count, "values");
      Tensor tensor(*dtype, shape);
      using T = decltype(zero);
      auto* out = reinterpret_cast<T*>(tensor.raw());
      for (const auto v : values) *out++ = static_cast<T>(v);
      return tensor;
    };
    switch (*dtype) {
      case DType::kF32: return typed(message.float_data(), float{});
      case DType::kF64: return typed(message.double_data(), double{});
      case DType::kI64: return typed(message.int64_data(), std::int64_t{});
      case DType::kI32: return typed(message.int32_data(), std::int32_t{});
      case DType::kI8: return typed(message.int32_data(), std::int8_t{});
      case DType::kU8: return typed(message.int32_data(), std::uint8_t{});
      case DType::kBool: return typed(message.int32_data(), bool{});
      case DType::kF16:
      case DType::kBF16: return typed(message.int32_data(), std::uint16_t{});  // bit patterns
    }
    return {};
  }

  // The product of the dimensions, small enough that bytes can be counted in 63 bits.
  std::uint64_t elements(const Shape& shape, std::string_view name) const {
    constexpr std::int64_t kMost = std::int64_t{1} << 40;
    std::int64_t count = 1;
    bool fits = shape.size() <= kMaxRank;
    bool zero = false;
    for (const std::int64_t d : shape) {
      fits = fits && d >= 0;
      zero = zero || d == 0;
      if (d != 0) {
        fits = fits && !__builtin_mul_overflow(count, d, &count) && count <= kMost;
      }
      if (!fits) break;
    }
    if (!fits) {
      const Shape start(shape.begin(),
                        shape.begin() + std::min<std::ptrdiff_t>(std::ssize(shape), kMaxRank));
      damaged(file_, "tensor '{}' has the impossible shape {}", shown(name), to_string(start));
    }
    return zero ? 0 : static_cast<std::uint64_t>(count);
  }

  Tensor external(const onnx::Tensor& message, DType dtype, const Shape& shape, std::uint64_t count,
                  std::string_view name) {
    std::string location;
    std::uint64_t offset = 0;
    const std::uint64_t bytes = count * size_of(dtype);
    std::uint64_t length = bytes;
    for (const onnx::StringEntry& entry : message.external_data()) {
      if (entry.key() == "location") location = entry.value();
      if (entry.key() == "offset") offset = number(entry.value(), name);
      if (entry.key() == "length") length = number(entry.value(), name);
    }
    ExternalFile& file = open_external(location, name);
    const std::uint64_t size = file.source.size();
    if (length != bytes || offset > size || bytes > size - offset) {
      damaged(file_, "tensor '{}' of {} {} needs {} bytes, found {} at {} in '{}', which has {}",
              shown(name), name_of(dtype), to_string(shape), bytes, length, offset, shown(location),
              size);
    }
    if (bytes > file.left) {
      damaged(file_, "its tensors take more bytes of '{}' than the {} it has", shown(location),
              size);
    }
    file.left -= bytes;
    Tensor tensor(dtype, shape);
    file.source.read(offset, {tensor.raw(), tensor.bytes()});
    return tensor;
  }

  std::uint64_t number(const std::string& text, std::string_view name) const {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) {
      damaged(file_, "tensor '{}' has the place '{}' in external data", shown(name), shown(text));
    }
    return value;
  }

  // The file must be in the model's folder or below, also after symbolic links are followed.
  ExternalFile& open_external(const std::string& location, std::string_view name) {
    if (const auto known = files_.find(location); known != files_.end()) return known->second;
    const auto refuse = [&](std::string_view why) {
      fail(ErrorCode::kBadData,
           "{}: the values of tensor '{}' are said to be in '{}', {}; external data must be a file "
           "in the model's folder",
           file_, shown(name), shown(location), why);
    };
    if (!folder_) refuse("but a model in memory has no folder");
    const fs::path relative(location);
    if (location.empty() || location.find('\0') != std::string::npos || relative.is_absolute()) {
      refuse("which is no relative path");
    }
    std::error_code error;
    const fs::path folder = fs::canonical(folder_->empty() ? fs::path(".") : *folder_, error);
    if (error) refuse("but its folder cannot be found");
    const fs::path path = fs::weakly_canonical(folder / relative, error);
    const fs::path inside = path.lexically_relative(folder);
    if (error || inside.empty() || *inside.begin() == ".." || *inside.begin() == ".") {
      refuse("which leads out of it");
    }
    if (!fs::is_regular_file(path, error)) {
      fail(ErrorCode::kNotFound,
           "{}: there is no file '{}' beside it, which has the values of tensor '{}'; keep both "
           "files together",
           file_, shown(location), shown(name));
    }
    return files_.try_emplace(location, path).first->second;
  }

  void check_names(const OnnxModel& model) const {
    std::set<std::string_view> defined;
    for (const OnnxValue& input : model.inputs) {
      if (!defined.insert(input.name).second) {
        damaged(file_, "two inputs are called '{}'", shown(input.name));
      }
    }
    std::set<std::string_view> initializers;
    for (const auto& [name, tensor] : model.initializers) {
      if (!initializers.insert(name).second) {
        damaged(file_, "two initializers are called '{}'", shown(name));
      }
      defined.insert(name);
    }
    for (const OnnxNode& node : model.nodes) {
      for (const std::string& input : node.inputs) {
        if (!input.empty() && !defined.contains(input)) {
          damaged(file_, "{} '{}' reads '{}', which nothing before it defines", shown(node.op),
                  shown(node.name), shown(input));
        }
      }
      for (const std::string& output : node.outputs) {
        if (!output.empty() && !defined.insert(output).second) {
          damaged(file_, "two values are called '{}'", shown(output));
        }
      }
    }
    for (const OnnxValue& output : model.outputs) {
      if (!defined.contains(output.name)) {
        damaged(file_, "nothing defines its output '{}'", shown(output.name));
      }
    }
  }

  // A Constant is an initializer that is written as a node.
  static void hoist_constants(OnnxModel& model) {
    std::erase_if(model.nodes, [&](const OnnxNode& node) {
      if (node.op != "Constant" || !node.domain.empty() || node.outputs.size() != 1 ||
          node.attributes.size() != 1) {
        return false;
      }
      std::optional<Tensor> value = std::visit(kToConstant, node.attributes.begin()->second);
      if (value) model.initializers.emplace_back(node.outputs[0], std::move(*value));
      return value.has_value();
    });
  }

  std::string file_;
  std::optional<fs::path> folder_;
  std::map<std::string, ExternalFile> files_;  // by location
};

onnx::Model to_message(std::span<const std::byte> bytes, const std::string& file) {
  onnx::Model message;
  // Nothing at all would be an empty message.
  if (bytes.empty() || bytes.size() > INT_MAX ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    damaged(file, "its {} bytes are no protobuf message of a model", bytes.size());
  }
  return message;
}

// ----------------------------------------------------------------------------------------- writing

void fill(onnx::Tensor& message, const std::string& name, const Tensor& tensor) {
  message.set_name(name);
  message.set_data_type(number_of(tensor.dtype()));
  for (const std::int64_t d : tensor.shape()) message.add_dims(d);
  message.set_raw_data(tensor.raw(), tensor.bytes());
}

void fill(onnx::Attribute& message, const std::string& name, const OnnxAttribute& value) {
  message.set_name(name);
  if (const auto* f = std::get_if<float>(&value)) {
    message.set_type(kFloat);
    message.set_f(*f);
  } else if (const auto* i = std::get_if<std::int64_t>(&value)) {
    message.set_type(kInt);
    message.set_i(*i);
  } else if (const auto* s = std::get_if<std::string>(&value)) {
    message.set_type(kString);
    message.set_s(*s);
  } else if (const auto* t = std::get_if<Tensor>(&value)) {
    message.set_type(kTensor);
    fill(*message.mutable_t(), "", *t);
  } else if (const auto* floats = std::get_if<std::vector<float>>(&value)) {
    message.set_type(kFloats);
    message.mutable_floats()->Add(floats->begin(), floats->end());
  } else if (const auto* ints = std::get_if<std::vector<std::int64_t>>(&value)) {
    message.set_type(kInts);
    message.mutable_ints()->Add(ints->begin(), ints->end());
  } else {
    RESNET_CHECK(false);
  }
}

void fill(onnx::ValueInfo& message, const OnnxValue& value) {
  message.set_name(value.name);
  onnx::TensorType& type = *message.mutable_type()->mutable_tensor_type();
  type.set_elem_type(number_of(value.dtype));
  for (const OnnxDimension& d : value.shape) {
    onnx::Dimension& dimension = *type.mutable_shape()->add_dim();
    if (d.size >= 0) {
      dimension.set_dim_value(d.size);
    } else if (!d.symbol.empty()) {
      dimension.set_dim_param(d.symbol);
    }
  }
}

onnx::Model to_message(const OnnxModel& model) {
  onnx::Model message;
  message.set_ir_version(model.ir_version);
  message.set_producer_name(model.producer_name);
  message.set_producer_version(model.producer_version);
  onnx::OperatorSet& set = *message.add_opset_import();
  set.set_domain("");
  set.set_version(model.opset);
  for (const auto& [key, value] : model.metadata) {
    onnx::StringEntry& entry = *message.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  onnx::Graph& graph = *message.mutable_graph();
  graph.set_name(model.graph_name);
  for (const OnnxNode& node : model.nodes) {
    onnx::Node& out = *graph.add_node();
    out.set_op_type(node.op);
    out.set_name(node.name);
    if (!node.domain.empty()) out.set_domain(node.domain);
    for (const std::string& name : node.inputs) out.add_input(name);
    for (const std::string& name : node.outputs) out.add_output(name);
    for (const auto& [name, value] : node.attributes) fill(*out.add_attribute(), name, value);
  }
  for (const auto& [name, tensor] : model.initializers)
    fill(*graph.add_initializer(), name, tensor);
  for (const OnnxValue& value : model.inputs) fill(*graph.add_input(), value);
  for (const OnnxValue& value : model.outputs) fill(*graph.add_output(), value);
  return message;
}

// Lets protobuf write to a sink.
class SinkStream : public google::protobuf::io::CopyingOutputStream {
 public:
  explicit SinkStream(const ByteSink& sink) : sink_(sink) {}
  bool Write(const void* data, int size) override {
    sink_({static_cast<const std::byte*>(data), static_cast<std::size_t>(size)});
    return true;
  }

 private:
  const ByteSink& sink_;
};

}  // namespace

OnnxModel read_onnx(const fs::path& path) {
  onnx::Model message = to_message(read_file(path, INT_MAX), path.string());
  return Reader(path.string(), path.parent_path()).read(message);
}

OnnxModel parse_onnx(std::span<const std::byte> bytes, const std::string& name) {
  onnx::Model message = to_message(bytes, name);
  return Reader(name, std::nullopt).read(message);
}

void write_onnx(const fs::path& path, const OnnxModel& model) {
  const onnx::Model message = to_message(model);
  if (message.ByteSizeLong() > INT_MAX) {
    fail(
        ErrorCode::kUnsupported,
        "{}: the model takes {} bytes, an ONNX file holds at most {}; export a smaller network, or "
        "to safetensors",
        path.string(), message.ByteSizeLong(), INT_MAX);
  }
  write_file_atomic(path, [&](const ByteSink& sink) {
    SinkStream stream(sink);
    google::protobuf::io::CopyingOutputStreamAdaptor adaptor(&stream);
    RESNET_CHECK(message.SerializeToZeroCopyStream(&adaptor) && adaptor.Flush());
  });
}

}  // namespace resnet
