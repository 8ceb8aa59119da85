// OnnxReader: the layer that each operation stands for.
#include <fmt/ranges.h>

#include <algorithm>
#include <climits>

#include "core/check.h"
#include "exchange/onnx_reader.h"
#include "graph/window.h"

namespace resnet::onnx_net {
namespace {

std::string name_of_layer(const OnnxNode& node) {
  return node.name.empty() ? node.outputs[0] : node.name;
}

// A layer with an output as large as that of the layer before it.
Layer like(const Layer& x, int before, const OnnxNode& node, const char* op) {
  return {.op = op, .name = name_of_layer(node), .inputs = {before}, .c = x.c, .h = x.h, .w = x.w};
}

}  // namespace

// A layer whose output is as large as its input.
bool OnnxReader::simple(const OnnxNode& node, const char* op) {
  const int before = data(node, 0).layer;
  return set(node, like(net_.at(before), before, node, op));
}

// Adds the layer of a node that has data; false for one that no network here has.
bool OnnxReader::add(const OnnxNode& node) {
  if (!node.domain.empty()) return false;
  const std::string& op = node.op;
  if (op == "Conv") return add_conv(node);
  if (op == "BatchNormalization") return add_norm(node);
  if (op == "Relu") return simple(node, "relu");
  if (op == "Sigmoid") return simple(node, "sigmoid");
  if (op == "Softmax" || op == "LogSoftmax") return simple(node, "softmax");
  if (op == "Add" || op == "Sum" || op == "Mul") return add_pair(node);
  if (op == "MaxPool" || op == "AveragePool") return add_pool(node);
  if (op == "GlobalAveragePool") {
    expect_nchw(node, data(node, 0));
    return add_global_pool(node);
  }
  if (op == "ReduceMean") return add_mean(node);
  if (op == "Flatten" || op == "Reshape" || op == "Squeeze") return add_reshape(node);
  if (op == "Gemm" || op == "MatMul") return add_linear(node);
  if (op == "Transpose") return add_transpose(node);
  if (op == "Identity") return reads_data(node) && pass(node);
  if (op == "Dropout") {
    const bool training = has(node, 2) && constants_.contains(node.inputs[2]) &&
                          small(node, constant(node, 2)) != Ints{0};
    return !training && reads_data(node) && pass(node);
  }
  if (op == "Cast") {
    const auto to = attribute(node, "to", std::int64_t{0});
    const bool floating = to == 1 || to == 10 || to == 11 || to == 16;
    return floating && reads_data(node) && pass(node);
  }
  if (op == "Slice") return add_slice(node);
  if (op == "Pad") return add_pad(node);
  return false;
}

// Output size of a window; unknown when the input's is.
std::int64_t OnnxReader::slide(const OnnxNode& node, std::int64_t size, std::int64_t pad,
                               std::int64_t kernel, std::int64_t stride,
                               std::int64_t dilation) const {
  if (size == 0) return 0;
  if (size + pad < dilation * (kernel - 1) + 1) {
    bad(node, "the window does not fit its input");
  }
  return window_output(size, pad, kernel, stride, dilation);
}

// Zeros around the image: top, left, bottom, right. `zeros` are those that it already has.
Ints OnnxReader::padding(const OnnxNode& node, const Layer& x, const Ints& zeros,
                         const Ints& kernel, const Ints& strides, const Ints& dilations) const {
  const std::string mode = attribute(node, "auto_pad", std::string("NOTSET"));
  Ints pads = zeros.empty() ? Ints(4, 0) : zeros;
  if (mode == "NOTSET") {
    const Ints own = window(node, "pads", 4, 0, 0);
    for (std::size_t i = 0; i < 4; ++i) pads[i] += own[i];
  } else if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {  // output: ⌈input / stride⌉
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
      const std::int64_t reach = dilations[i] * (kernel[i] - 1);
      std::int64_t total = reach;
      if (reach > 0 && strides[i] > 1) {
        std::int64_t size = i == 0 ? x.h : x.w;
        if (size == 0) {
          unsupported(node,
                      "padding that depends on the size of the image (auto_pad), which is "
                      "not known");
        }
        size += pads[i] + pads[i + 2];
        const std::int64_t outputs = (size + strides[i] - 1) / strides[i];
        total = std::max<std::int64_t>(0, (outputs - 1) * strides[i] + reach + 1 - size);
      }
      pads[i] += mode == "SAME_UPPER" ? total / 2 : total - total / 2;
      pads[i + 2] += mode == "SAME_UPPER" ? total - total / 2 : total / 2;
    }
  } else if (mode != "VALID") {
    bad(node, fmt::format("auto_pad is '{}'", shown(mode)));
  }
  return pads;
}

bool OnnxReader::add_conv(const OnnxNode& node) {
  const Data from = padded(node);
  expect_nchw(node, from);
  const Tensor& weight = constant(node, 1);
  const Shape& s = weight.shape();
  const std::int64_t groups = attribute(node, "group", std::int64_t{1});
  if (s.size() != 4 || weight.empty() || !is_floating(weight.dtype()) || groups < 1 ||
      groups > kMostExtent || std::ranges::max(s) > kMostExtent) {
    unsupported(node, "its weights are not those of a convolution over images");
  }
  Layer& x = net_.at(from.layer);
  if (x.op == "input" && x.c == 0) x.c = s[1];
  if (s[1] * groups != x.c) {
    bad(node, fmt::format("weights {} do not fit {} channels", to_string(s), x.c));
  }
  const Ints strides = window(node, "strides", 2, 1, 1),
             dilations = window(node, "dilations", 2, 1, 1);
  const Ints pads = padding(node, x, from.zeros, {s[2], s[3]}, strides, dilations);
  Layer layer{.op = "conv",
              .name = name_of_layer(node),
              .attributes = {strides[0], strides[1], pads[0], pads[1], pads[2], pads[3],
                             dilations[0], dilations[1], groups},
              .weight_shape = s,
              .inputs = {from.layer},
              .c = s[0]};
  layer.h = slide(node, x.h, pads[0] + pads[2], s[2], strides[0], dilations[0]);
  layer.w = slide(node, x.w, pads[1] + pads[3], s[3], strides[1], dilations[1]);
  layer.parameters.weight = node.inputs[1];
  if (has(node, 2)) layer.parameters.bias = vector(node, 2, s[0]);
  return set(node, std::move(layer));
}

bool OnnxReader::add_norm(const OnnxNode& node) {
  if (attribute(node, "training_mode", std::int64_t{0}) != 0) {
    unsupported(node, "it was exported in training mode; call .eval() before exporting");
  }
  const Data before = data(node, 0);
  expect_nchw(node, before);
  Layer& x = net_.at(before.layer);
  Parameters p;
  p.gamma = vector(node, 1, x.c);
  p.beta = vector(node, 2, x.c);
  p.mean = vector(node, 3, x.c);
  p.var = vector(node, 4, x.c);
  p.eps = attribute(node, "epsilon", 1e-5F);
  // 1e-5 is stored as a float; the nearest short decimal is what was meant.
  p.eps = std::stod(fmt::format("{}", static_cast<float>(p.eps)));
  if (x.op == "conv" && !before.shared && x.parameters.gamma.empty()) {
    p.weight = x.parameters.weight;
    p.bias = x.parameters.bias;
    x.parameters = p;
    return set(node, before);
  }
  Layer layer = like(x, before.layer, node, "norm");
  layer.parameters = p;
  return set(node, std::move(layer));
}

bool OnnxReader::add_pair(const OnnxNode& node) {
  if (node.inputs.size() != 2) return false;
  for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
    if (constants_.contains(node.inputs[i])) return add_constant(node, i);
  }
  if (!data_.contains(node.inputs[0]) || !data_.contains(node.inputs[1])) return false;
  const Data &a = data(node, 0), &b = data(node, 1);
  const Layer &x = net_.at(a.layer), &y = net_.at(b.layer);
  if (x.c != y.c || x.h != y.h || x.w != y.w || a.order != b.order) return false;  // broadcast
  Layer layer = like(x, a.layer, node, node.op == "Mul" ? "mul" : "add");
  layer.inputs.push_back(b.layer);
  return set(node, std::move(layer));
}

// A bias, or a batch norm that was written as a product and a sum.
bool OnnxReader::add_constant(const OnnxNode& node, std::size_t constant) {
  const std::size_t other = 1 - constant;
  if (!data_.contains(node.inputs[other])) return false;
  Data from = data(node, other);
  const std::string& name = node.inputs[constant];
  const Layer& x = net_.at(from.layer);
  Parameters p = x.parameters;
  const bool linear = x.op == "linear" && node.op != "Mul";
  if (!linear && !is_per_channel(constants_.at(name), from)) return false;
  if (node.op == "Mul" && (x.op != "conv" || from.shared || !p.gamma.empty())) {
    Layer layer = like(x, from.layer, node, "norm");
    layer.parameters.gamma = name;
    return set(node, Data{.layer = net_.add(std::move(layer)), .order = from.order});
  }
  if (from.shared) return false;
  if (node.op == "Mul") {
    p.gamma = name;
  } else if (p.bias.empty() && (linear || (x.op == "conv" && p.gamma.empty()))) {
    p.bias = linear ? vector(node, constant, x.c) : name;
  } else if (!p.gamma.empty() && p.beta.empty()) {
    p.beta = name;
  } else {
    return false;
  }
  net_.at(from.layer).parameters = p;
  return set(node, std::move(from));
}

bool OnnxReader::add_pool(const OnnxNode& node) {
  const bool max = node.op == "MaxPool";
  const Data from = padded(node);
  const Layer& x = net_.at(from.layer);
  // A maximum of numbers that are not negative is the same with zeros beside them.
  if (!max || x.op != "relu") unpadded(from);
  expect_nchw(node, from);
  const Ints kernel = window(node, "kernel_shape", 2, 1, 0),
             strides = window(node, "strides", 2, 1, 1);
  if (window(node, "dilations", 2, 1, 1) != Ints{1, 1}) unsupported(node, "dilated pooling");
  const Ints pads = padding(node, x, from.zeros, kernel, strides, {1, 1});
  Layer layer{.op = max ? "max_pool" : "avg_pool",
              .name = name_of_layer(node),
              .attributes = {kernel[0], kernel[1], strides[0], strides[1], pads[0], pads[1],
                             pads[2], pads[3]},
              .inputs = {from.layer},
              .c = x.c};
  const auto pad_h = pads[0] + pads[2], pad_w = pads[1] + pads[3];
  layer.h = slide(node, x.h, pad_h, kernel[0], strides[0], 1);
  layer.w = slide(node, x.w, pad_w, kernel[1], strides[1], 1);
  if (attribute(node, "ceil_mode", std::int64_t{0}) != 0) {
    // The same as rounding down when there is nothing to round.
    const bool exact = x.h != 0 && x.w != 0 && (x.h + pad_h - kernel[0]) % strides[0] == 0 &&
                       (x.w + pad_w - kernel[1]) % strides[1] == 0;
    if (!exact) unsupported(node, "its output's size is rounded up (ceil_mode)");
  }
  if (!max) {
    const bool padded = pad_h + pad_w != 0;
    if (!padded && kernel == Ints{x.h, x.w}) return add_global_pool(node);
    if (!padded && kernel == Ints{1, 1}) return subsample(node, strides);
    const bool counted = attribute(node, "count_include_pad", std::int64_t{0}) != 0;
    layer.attributes.push_back(counted || !padded ? 1 : 0);
  }
  return set(node, std::move(layer));
}

bool OnnxReader::add_global_pool(const OnnxNode& node) {
  const int before = data(node, 0).layer;
  Layer layer = like(net_.at(before), before, node, "global_pool");
  layer.h = layer.w = 1;
  return set(node, std::move(layer));
}

// The global pool as a mean over rows and columns.
bool OnnxReader::add_mean(const OnnxNode& node) {
  const std::optional<Ints> axes = list(node, 1, "axes");
  if (!axes || !reads_data(node)) return false;
  Ints over = meanings(node, *axes, data(node, 0).order);
  std::ranges::sort(over);
  return over == Ints{2, 3} && add_global_pool(node);
}

bool OnnxReader::add_reshape(const OnnxNode& node) {
  if (!reads_data(node)) return false;
  // Of one value a channel all shapes are alike; the linear layer checks their number.
  Data from = data(node, 0);
  const Layer& x = net_.at(from.layer);
  if (x.h != 1 || x.w != 1 || from.order[0] != 0) return false;
  from.order = kNchw;
  return set(node, std::move(from));
}

bool OnnxReader::add_linear(const OnnxNode& node) {
  const bool gemm = node.op == "Gemm";
  const int before = data(node, 0).layer;
  if (data(node, 0).order[0] != 0) return false;
  if (!has(node, 1) || !constants_.contains(node.inputs[1])) return false;
  const Tensor& matrix = constants_.at(node.inputs[1]);
  if (gemm && (attribute(node, "alpha", 1.0F) != 1 || attribute(node, "beta", 1.0F) != 1 ||
               attribute(node, "transA", std::int64_t{0}) != 0)) {
    unsupported(node, "a linear layer with factors or a transposed input");
  }
  if (matrix.shape().size() != 2 || !is_floating(matrix.dtype())) {
    unsupported(node, "its weights are not a matrix");
  }
  const bool transposed = !gemm || attribute(node, "transB", std::int64_t{0}) == 0;
  const Layer& x = net_.at(before);
  Shape shape = matrix.shape();  // [m, k]
  if (transposed) std::swap(shape[0], shape[1]);
  if (x.h != 1 || x.w != 1 || shape[1] != x.c || shape[0] == 0) {
    bad(node, fmt::format("weights {} do not fit {} features", to_string(shape), x.c));
  }
  Layer layer{.op = "linear",
              .name = name_of_layer(node),
              .weight_shape = shape,
              .inputs = {before},
              .c = shape[0],
              .h = 1,
              .w = 1};
  layer.parameters.weight = node.inputs[1];
  layer.parameters.transposed = transposed;
  if (gemm && has(node, 2)) layer.parameters.bias = vector(node, 2, shape[0]);
  return set(node, std::move(layer));
}

// The same values in another order; what reads them knows which it needs.
bool OnnxReader::add_transpose(const OnnxNode& node) {
  if (!reads_data(node)) return false;
  Data from = padded(node);
  const Ints axes = attribute(node, "perm", Ints{3, 2, 1, 0});
  if (!is_permutation(axes, 4)) {
    bad(node, fmt::format("perm is [{}], expected each of 0 to 3 once", fmt::join(axes, ", ")));
  }
  const Order before = from.order;
  for (std::size_t i = 0; i < 4; ++i) from.order[i] = before[static_cast<std::size_t>(axes[i])];
  return set(node, std::move(from));
}

// Every stride-th row and column, from the first.
bool OnnxReader::subsample(const OnnxNode& node, Ints strides) {
  int before = data(node, 0).layer;
  const Layer x = net_.at(before);
  Layer layer = like(x, before, node, "subsample");
  layer.h = (x.h + strides[0] - 1) / strides[0];
  layer.w = (x.w + strides[1] - 1) / strides[1];
  if (x.op == "subsample") {  // PyTorch slices rows and columns one after the other
    layer.inputs = x.inputs;
    for (const std::size_t i : {std::size_t{0}, std::size_t{1}}) {
      if (__builtin_mul_overflow(strides[i], x.attributes[i], &strides[i])) return false;
    }
  }
  layer.attributes = strides;
  return set(node, std::move(layer));
}

bool OnnxReader::add_slice(const OnnxNode& node) {
  if (!reads_data(node)) return false;
  const Data from = data(node, 0);
  const std::optional<Ints> starts = list(node, 1, "starts"), ends = list(node, 2, "ends");
  if (!starts || !ends || starts->size() != ends->size()) bad(node, "starts and ends differ");
  Ints axes = list(node, 3, "axes").value_or(Ints{});
  if (axes.empty()) {
    for (std::size_t i = 0; i < starts->size(); ++i) axes.push_back(static_cast<std::int64_t>(i));
  }
  const Ints steps = has(node, 4) ? small(node, constant(node, 4)) : Ints(starts->size(), 1);
  if (axes.size() != starts->size() || steps.size() != starts->size()) {
    bad(node, "axes and steps differ in number from starts");
  }
  const Layer& x = net_.at(from.layer);
  const Ints sizes{0, x.c, x.h, x.w};  // 0: not known
  axes = meanings(node, axes, from.order);
  Ints strides{1, 1};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t axis = axes[i], size = sizes[static_cast<std::size_t>(axis)];
    const bool whole = (*starts)[i] == 0 && (*ends)[i] >= (size == 0 ? INT_MAX : size);
    if (!whole || steps[i] < 1 || steps[i] > kMostExtent || (axis < 2 && steps[i] != 1)) {
      return false;
    }
    if (axis >= 2) strides[static_cast<std::size_t>(axis - 2)] = steps[i];
  }
  return strides == Ints{1, 1} ? pass(node) : subsample(node, strides);
}

// Zero channels before and after; or zeros around the image, which the next layer takes.
bool OnnxReader::add_pad(const OnnxNode& node) {
  Data from = data(node, 0);
  const std::optional<Ints> pads = list(node, 1, "pads");
  double value = attribute(node, "value", 0.0F);
  if (has(node, 2)) {
    if (constant(node, 2).size() != 1) bad(node, "the value to pad with is no number");
    const Tensor number = constant(node, 2).cast(DType::kF64);
    value = number.as<double>()[0];
  }
  Ints axes{0, 1, 2, 3};
  if (has(node, 3)) axes = small(node, constant(node, 3));
  if (!pads || pads->size() != 2 * axes.size()) bad(node, "two pads an axis were expected");
  if (value != 0 || attribute(node, "mode", std::string("constant")) != "constant") return false;
  axes = meanings(node, axes, from.order);
  Ints channels{0, 0}, zeros(4, 0);
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::int64_t axis = axes[i], before = (*pads)[i], after = (*pads)[i + axes.size()];
    if (before == 0 && after == 0) continue;
    if (axis == 0 || std::min(before, after) < 0 || std::max(before, after) > kMostExtent) {
      return false;
    }
    if (axis == 1) {
      channels = {before, after};
    } else {
      zeros[static_cast<std::size_t>(axis - 2)] = before;
      zeros[static_cast<std::size_t>(axis)] = after;
    }
  }
  if (zeros != Ints(4, 0)) {
    if (channels != Ints{0, 0}) return false;
    from.zeros = zeros;
    from.pad = &node;
    return set(node, std::move(from));
  }
  if (channels == Ints{0, 0}) return pass(node);
  Layer layer = like(net_.at(from.layer), from.layer, node, "pad_channels");
  layer.attributes = channels;
  layer.c += channels[0] + channels[1];
  return set(node, std::move(layer));
}

}  // namespace resnet::onnx_net
