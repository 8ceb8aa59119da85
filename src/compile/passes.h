// Graph-to-graph passes. Each keeps the meaning of the graph and can be left out.
#pragma once

#include "compile/target.h"
#include "resnet/graph.h"

namespace resnet {

/// Joins batch norm (or normalize) with the skip addition and the ReLU that follow it, forward and
/// backward, a convolution with its ReLU, and the sum of two gradients with the backward pass that
/// reads it. Every activation is then read and written once less for each joined op.
Graph fuse(const Graph& graph);

/// Inference, and what is frozen in training: replaces convolution + normalize by one convolution
/// with folded weights and bias.
/// The folding itself becomes nodes that depend on parameters alone; the compiler hoists them.
Graph fold_batch_norm(const Graph& graph);

/// Training: activations that batch norm can restore in one cheap sweep from values that are kept
/// anyway (its input and statistics) are not kept for the backward pass but computed again.
/// Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", restricted to free lunches.
Graph recompute_activations(const Graph& graph);

/// Mixed precision: 4-D activations and their gradients become `dtype` wherever the ops around them
/// on the target take it; casts stand where they do not. Parameters, statistics, the gradients of
/// parameters, the head and the loss stay f32, and so do the program's outputs.
Graph lower_precision(const Graph& graph, DType dtype, const Target& target);

/// Moves each update to right after the last reader of what it overwrites, so that a gradient's
/// memory is free again as soon as it has been applied.
Graph schedule_updates(const Graph& graph);

}  // namespace resnet
