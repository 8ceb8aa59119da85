// Int8 networks: the scales that make one of a network, and its graph.
//
//     Graph graph = quantize_graph(inference_graph(config, 1), quantization);
//
// `quantize_model` (quantize.h) finds the scales; a model file carries them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "resnet/graph.h"

namespace resnet {

/// An integer q stands for the real number scale * q. Which layers run in int8, and how.
struct Quantization {
  /// Convolutions and linear layers in int8: a scale for each filter, by the layer's name.
  std::map<std::string, std::vector<float>> weights;
  /// Of activations, by the name of the operation that makes them ("image", "layer1.0.conv2",
  /// "avgpool"). Max pools and padded shortcuts have the scale of what they read.
  std::map<std::string, float> activations;
  bool empty() const { return weights.empty(); }
};

/// An inference graph with batch norm, ReLU and skip additions fused into convolutions: what
/// `quantize_graph` starts from, and whose operations give activations their names.
Graph fold_graph(const Graph& inference);

/// The activations of a folded graph that may have a scale of their own.
std::vector<Value> scaled_activations(const Graph& folded);

/// The inference graph with the layers of `quantization.weights` in int8: weights become i8
/// parameters under their own names, biases f32 ones "<layer>.bias" in units of the data's times
/// the weights' scale. Other convolutions that a batch norm was folded into have their folded
/// weights and biases as f32 parameters. What integers cannot do is done in f32, between
/// conversions. Throws kInvalidArgument for a layer that there is not and for scales that are
/// missing, of another number than filters, or out of range.
Graph quantize_graph(const Graph& inference, const Quantization& quantization);

/// Leaves the scales out that no layer of `quantization.weights` needs.
void drop_unread_scales(const Graph& inference, Quantization& quantization);

/// `v` as f32: itself, or through a conversion by its scale.
Value dequantize(Graph& graph, Value v);

}  // namespace resnet
