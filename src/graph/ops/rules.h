// What the rules of ops share. Each file beside this one has the shape rules, gradient rules and
// costs of a group of ops, and below them their rows of the table. What a rule sees is in
// resnet/custom_op.h.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/check.h"
#include "graph/ops.h"

namespace resnet {

using Types = std::vector<TensorType>;

// ---- Shape rules.

/// Throws kInvalidArgument naming the layer and the op.
[[noreturn]] void bad(const ShapeRule& r, const std::string& what);
void expect(const ShapeRule& r, bool condition, const std::string& what);
void expect_rank(const ShapeRule& r, std::size_t input, std::size_t rank);
void expect_shape(const ShapeRule& r, std::size_t input, const Shape& shape);
/// An input of the same type as input 0, in a shape.
void expect_type(const ShapeRule& r, std::size_t input, const Shape& shape);
/// Input 0 is [n, c] or [n, c, h, w]: what has channels.
void expect_channels_of(const ShapeRule& r);
/// Of integers: far from the ends of f32, so that quotients and products of a few stay finite.
void expect_scale(const ShapeRule& r, float scale);

bool is_integer(DType dtype);  ///< of activations: kU8, kI8

/// The same type as input 0.
Types same(const ShapeRule& r);
/// All inputs have one type; so has the output.
Types elementwise(const ShapeRule& r);
Types no_outputs(const ShapeRule& r);
/// Another shape in the type of input 0.
Types like(const ShapeRule& r, Shape shape);
Types f32(Shape shape);

/// The shape of y, after checking that data, weights and attributes fit.
Shape conv_output(const ShapeRule& r, const Shape& x, const Shape& w, const ConvAttributes& a);

// ---- Costs.

/// Bounded, so that sums over thousands of layers from a hostile file do not overflow either.
std::int64_t bounded_product(std::int64_t a, std::int64_t b);
/// Every element of y is a dot product over one filter of w.
std::int64_t convolution_cost(const Shape& y, const Shape& w);

// ---- The rows, in the file of each name.

std::span<const OpInfo> source_ops();
std::span<const OpInfo> conv_ops();
std::span<const OpInfo> norm_ops();
std::span<const OpInfo> pool_ops();
std::span<const OpInfo> linear_ops();
std::span<const OpInfo> elementwise_ops();
std::span<const OpInfo> shape_ops();
std::span<const OpInfo> loss_ops();
std::span<const OpInfo> update_ops();
std::span<const OpInfo> quantized_ops();

}  // namespace resnet
