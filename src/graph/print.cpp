#include "graph/print.h"

#include <fmt/format.h>

namespace resnet {
namespace {

std::string print_value(Value v) {
  return v.output == 0 ? fmt::format("%{}", v.node) : fmt::format("%{}.{}", v.node, v.output);
}

std::string print(const CustomAttribute& a) {
  if (const auto* i = std::get_if<std::int64_t>(&a)) return std::to_string(*i);
  if (const auto* d = std::get_if<double>(&a)) return fmt::format("{}", *d);
  if (const auto* s = std::get_if<std::string>(&a)) return *s;
  return to_string(std::get<std::vector<std::int64_t>>(a));
}

struct AttributePrinter {
  // Of those that say nothing beside the types of the outputs.
  template <class T>
  std::string operator()(const T&) const {
    return "";
  }
  std::string operator()(const ConvAttributes& a) const {
    std::string s = fmt::format(" stride={}x{} pad={},{},{},{}", a.stride_h, a.stride_w, a.pad_top,
                                a.pad_left, a.pad_bottom, a.pad_right);
    if (a.dilation_h != 1 || a.dilation_w != 1) {
      s += fmt::format(" dilation={}x{}", a.dilation_h, a.dilation_w);
    }
    if (a.groups != 1) s += fmt::format(" groups={}", a.groups);
    if (a.residual) s += " +residual";
    if (a.relu) s += " +relu";
    return s;
  }
  std::string operator()(const PoolAttributes& a) const {
    return fmt::format(" kernel={}x{} stride={}x{} pad={},{},{},{}", a.kernel_h, a.kernel_w,
                       a.stride_h, a.stride_w, a.pad_top, a.pad_left, a.pad_bottom, a.pad_right);
  }
  std::string operator()(const NormAttributes& a) const {
    return fmt::format(" eps={}{}{}", a.eps, a.residual ? " +residual" : "",
                       a.relu ? " +relu" : "");
  }
  std::string operator()(const DropoutAttributes& a) const {
    return fmt::format(" p={} stream={}", a.p, a.stream);
  }
  std::string operator()(const PadShortcutAttributes& a) const {
    return fmt::format(" stride={} front={}", a.stride, a.front);
  }
  std::string operator()(const CastAttributes& a) const {
    return fmt::format(" to {}", name_of(a.dtype));
  }
  std::string operator()(const SliceAttributes& a) const {
    return fmt::format(" [{}, {})", a.begin, a.end);
  }
  std::string operator()(const FillAttributes& a) const {
    return fmt::format(" value={}", a.value);
  }
  std::string operator()(const ScaleAttributes& a) const {
    return fmt::format(" factor={}", a.factor);
  }
  std::string operator()(const ClipAttributes& a) const {
    return fmt::format(" max_norm={}", a.max_norm);
  }
  std::string operator()(const CustomAttributes& a) const {
    std::string s;
    for (const auto& entry : a.values) s += fmt::format(" {}={}", entry.first, print(entry.second));
    return s;
  }
  std::string operator()(const LossAttributes& a) const {
    return a.label_smoothing != 0 ? fmt::format(" label_smoothing={}", a.label_smoothing) : "";
  }
  std::string operator()(const UpdateAttributes& a) const {
    return fmt::format(" momentum={} scale={} weight_decay={}", a.momentum, a.scale,
                       a.weight_decay);
  }
  std::string operator()(const QuantizeAttributes& a) const {
    return fmt::format(" scale={}", a.scale);
  }
  std::string operator()(const QuantizedAttributes& a) const {
    return (*this)(a.conv) + fmt::format(" scales={},{}", a.x_scale, a.y_scale);
  }
};

}  // namespace

std::string print_node(const Graph& graph, std::int32_t id) {
  const Node& node = graph.nodes()[static_cast<std::size_t>(id)];
  std::string s = fmt::format("%{} = {} \"{}\" (", id, name_of(node.op), node.name);
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    s += (i > 0 ? ", " : "") + print_value(node.inputs[i]);
  }
  s += ")" + std::visit(AttributePrinter{}, node.attributes);
  for (const TensorType& t : node.outputs) {
    s += " " + (t.dtype == DType::kF32 ? "" : std::string(name_of(t.dtype))) + to_string(t.shape);
  }
  return s;
}

std::string to_string(const Graph& graph) {
  std::string s;
  for (std::size_t i = 0; i < graph.nodes().size(); ++i) {
    s += print_node(graph, static_cast<std::int32_t>(i)) + "\n";
  }
  for (const auto& [name, value] : graph.outputs()) {
    s += fmt::format("output \"{}\" = {}\n", name, print_value(value));
  }
  return s;
}

}  // namespace resnet
