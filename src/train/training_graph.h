// The graphs of training: network, loss, gradients and updates in one, or, for gradient
// accumulation, split into one that adds up gradients and one that applies them.
#pragma once

#include "resnet/network.h"
#include "resnet/train.h"

namespace resnet {

/// `add_training_step` with the network's auxiliary losses, each times its weight, in the loss.
void add_training_step(Graph& graph, const Network& network, const StepOptions& options);

/// Adds inputs and network for a batch of that size.
using NetworkBuilder = std::function<Network(Graph& graph, std::int64_t batch)>;

/// The network of `config` on an input "image" [n, channels, size, size], frozen until the layer of
/// that name ("": not at all).
NetworkBuilder network_of(const ModelConfig& config, const std::string& freeze_until = "");

/// The head of that network alone, on an input "image" that is what it reads, [n, features].
NetworkBuilder head_of(const ModelConfig& config);

/// The network and `add_training_step`.
Graph training_graph(const NetworkBuilder& network, std::int64_t batch, const StepOptions& options);

/// The same up to the gradients, of which 1/`parts` times the input "window_scale" is added to the
/// variables "grad.<weight>". Outputs "loss" and "logits". With p batches in place of `parts`, the
/// scale is parts / p.
Graph accumulating_graph(const NetworkBuilder& network, std::int64_t batch,
                         const StepOptions& options, int parts);
/// Updates from the variables "grad.<weight>", which it clears. Inputs "lr" and perhaps "step",
/// output "gradient_scale".
Graph applying_graph(const NetworkBuilder& network, const StepOptions& options);

inline constexpr std::string_view kEmaPrefix = "ema.";
inline constexpr std::string_view kGradientPrefix = "grad.";
inline constexpr std::string_view kWindowScale = "window_scale";
inline constexpr std::string_view kClassWeights = "loss.class_weights";

}  // namespace resnet
