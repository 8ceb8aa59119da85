#include "exchange/onnx_constants.h"

#include <fmt/format.h>

#include <algorithm>
#include <climits>
#include <cstring>

#include "core/check.h"

namespace resnet::onnx_net {

std::string describe(const OnnxNode& node) {
  const std::string domain = node.domain.empty() ? "" : shown(node.domain) + ".";
  return fmt::format(
      "{}{} '{}'", domain, shown(node.op),
      shown(node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name));
}

bool has(const OnnxNode& node, std::size_t i) {
  return i < node.inputs.size() && !node.inputs[i].empty();
}

Ints to_ints(const Tensor& tensor) {
  const Tensor wide = tensor.cast(DType::kI64);
  const auto values = wide.as<std::int64_t>();
  return {values.begin(), values.end()};
}

bool is_permutation(const Ints& axes, std::size_t rank) {
  if (axes.size() != rank) return false;
  for (std::size_t i = 0; i < rank; ++i) {
    if (std::ranges::count(axes, static_cast<std::int64_t>(i)) != 1) return false;
  }
  return true;
}

Tensor permuted(const Tensor& tensor, const Ints& axes) {
  RESNET_CHECK(is_permutation(axes, tensor.shape().size()));
  const std::size_t rank = axes.size();
  Ints distances(rank, 1);  // in elements, between neighbours along an axis of `tensor`
  for (std::size_t i = rank; i-- > 1;) {
    distances[i - 1] = distances[i] * tensor.dim(i);
  }
  Shape shape;
  for (const std::int64_t axis : axes) shape.push_back(tensor.dim(static_cast<std::size_t>(axis)));
  Tensor out(tensor.dtype(), shape);
  const std::size_t bytes = size_of(tensor.dtype());
  Ints index(rank, 0);
  std::int64_t from = 0;
  for (std::size_t to = 0; to < out.bytes(); to += bytes) {
    std::memcpy(out.raw() + to, tensor.raw() + static_cast<std::size_t>(from) * bytes, bytes);
    for (std::size_t i = rank; i-- > 0;) {
      const std::int64_t distance = distances[static_cast<std::size_t>(axes[i])];
      from += distance;
      if (++index[i] < shape[i]) break;
      from -= distance * shape[i];
      index[i] = 0;
    }
  }
  return out;
}

OnnxConstants::OnnxConstants(const OnnxModel& model, const std::string& file) : file_(file) {
  for (const auto& [name, tensor] : model.initializers) {
    constants_[name] = tensor;
    // Exporters compute small things with constants; more than the weights take is no export.
    budget_ += 2 * tensor.bytes();
  }
}

bool OnnxConstants::fold(const OnnxNode& node) {
  if (!node.domain.empty()) return false;
  const std::optional<Tensor> result = folded(node);
  if (!result) return false;
  if (result->bytes() > budget_) {
    fail(ErrorCode::kBadData,
         "{}: {}: its constants take more memory than its weights; export the network again", file_,
         describe(node));
  }
  if (node.op != "Identity") budget_ -= result->bytes();
  constants_[node.outputs[0]] = *result;
  return true;
}

// What exporters use: for biases that are equal, for weights in another order, and for the pads of
// PyTorch's F.pad.
std::optional<Tensor> OnnxConstants::folded(const OnnxNode& node) const {
  const std::string& op = node.op;
  if (!has(node, 0)) return std::nullopt;
  const Tensor& x = constants_.at(node.inputs[0]);
  if (op == "Identity") return x;
  if (op == "Transpose") {
    Ints axes;  // by default in reverse
    for (auto i = std::ssize(x.shape()); i-- > 0;) axes.push_back(i);
    axes = attribute(node, "perm", axes);
    if (!is_permutation(axes, x.shape().size()) || x.bytes() > budget_) return std::nullopt;
    return permuted(x, axes);
  }
  if (op == "Reshape" && has(node, 1) && constants_.at(node.inputs[1]).size() <= 4 &&
      !is_floating(constants_.at(node.inputs[1]).dtype())) {
    Ints shape = to_ints(constants_.at(node.inputs[1]));
    std::int64_t rest = x.size();
    std::int64_t* open = nullptr;
    for (std::int64_t& d : shape) {
      if (d == -1 && open == nullptr) {
        open = &d;
      } else if (d < 1 || rest % d != 0) {
        return std::nullopt;
      } else {
        rest /= d;
      }
    }
    if (open != nullptr) *open = rest;
    if ((open == nullptr && rest != 1) || x.empty()) return std::nullopt;
    return x.reshaped(shape);
  }
  // The rest is done with lists of whole numbers.
  constexpr std::int64_t kMost = 4096;
  if (x.size() > kMost || (x.dtype() != DType::kI64 && x.dtype() != DType::kI32)) {
    return std::nullopt;
  }
  const Ints values = to_ints(x);
  const auto ints = [](Shape shape, const Ints& v) {
    return Tensor::from<std::int64_t>(std::move(shape), std::span(v));
  };
  if (op == "Cast") {
    const auto to = attribute(node, "to", std::int64_t{0});
    return to == 6 || to == 7 ? std::optional(ints(x.shape(), values)) : std::nullopt;
  }
  if (op == "ConstantOfShape") {
    const Tensor fill = attribute(node, "value", Tensor::zeros(DType::kF32, {1}));
    if (values.size() != 1 || values[0] < 0 || values[0] > kMost || fill.size() != 1 ||
        is_floating(fill.dtype())) {
      return std::nullopt;
    }
    return ints({values[0]}, Ints(static_cast<std::size_t>(values[0]), to_ints(fill)[0]));
  }
  if (op == "Concat") {
    Ints all;
    for (const std::string& name : node.inputs) {
      if (name.empty() || constants_.at(name).shape().size() != 1 ||
          constants_.at(name).size() > kMost || all.size() > static_cast<std::size_t>(kMost) ||
          is_floating(constants_.at(name).dtype())) {
        return std::nullopt;
      }
      const Ints more = to_ints(constants_.at(name));
      all.insert(all.end(), more.begin(), more.end());
    }
    return ints({std::ssize(all)}, all);
  }
  if (op == "Slice" && !x.shape().empty() && has(node, 4)) {
    // Rows in reverse, as the exporter turns PyTorch's order of pads around.
    const auto is = [&](std::size_t i, std::int64_t value) {
      return has(node, i) && constants_.at(node.inputs[i]).size() == 1 &&
             to_ints(constants_.at(node.inputs[i])) == Ints{value};
    };
    if (!is(1, -1) || !has(node, 2) || !is(3, 0) || !is(4, -1)) return std::nullopt;
    const Tensor& end = constants_.at(node.inputs[2]);
    if (end.size() != 1 || to_ints(end)[0] > -INT_MAX) return std::nullopt;
    const auto rows = static_cast<std::size_t>(x.dim(0));
    const std::size_t row = rows == 0 ? 0 : values.size() / rows;
    Ints out;
    for (std::size_t i = rows; i-- > 0;) {
      out.insert(out.end(), values.begin() + static_cast<std::ptrdiff_t>(i * row),
                 values.begin() + static_cast<std::ptrdiff_t>((i + 1) * row));
    }
    return ints(x.shape(), out);
  }
  return std::nullopt;
}

}  // namespace resnet::onnx_net
