// Post-training quantisation: a trained network made an int8 one, a quarter of the size
// and several times as fast, without training.
//
//     Quantized q = quantize_model(load_model("runs/flowers"), {.source = "flowers"});
//     save_model("flowers-int8.safetensors", q.model);
//
// Weights get one symmetric scale for each filter, activations one each, unsigned where they are
// never negative (Jacob et al., CVPR 2018). How scales of activations are found is Calibration.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "resnet/data.h"
#include "resnet/model_file.h"

namespace resnet {

/// What the largest integer of an activation stands for.
enum class Calibration : std::uint8_t {
  kMinMax,      ///< the largest value seen
  kPercentile,  ///< the value that a share of all does not exceed; larger ones saturate
  kKl,          ///< the one that loses the least information: Kullback-Leibler divergence of the
                ///< quantised from the real distribution (Migacz, "8-bit inference with TensorRT",
                ///< GTC 2017)
};
/// "minmax", "percentile", "kl".
std::string_view name_of(Calibration calibration);
/// Throws kInvalidArgument for another name, listing these.
Calibration parse_calibration(std::string_view name);

struct QuantizeOptions {
  std::optional<Calibration> calibration = {};  ///< Unset: all are tried and the best is taken.
  int images = 512;                             ///< At most that many for calibration …
  int held_out = 1000;                          ///< … and others, on which results are evaluated.
  double percentile = 99.99;                    ///< In per cent, of the values that are not 0.
  /// 7: for machines without VNNI, whose sums of pairs must fit 16 bits.
  int weight_bits = 8;
  /// Corrects biases by what the rounding of weights adds on average (Nagel et al., ICCV 2019).
  bool bias_correction = true;
  /// Layers that stay in f32. Unset: the first convolution and the last linear layer, each if that
  /// makes the predictions agree with those of f32 for at least `worthwhile` more of the images.
  std::optional<std::vector<std::string>> keep = {};
  double worthwhile = 0.005;
  int batch_size = 16;
  int threads = 0;
  int loader_threads = 0;
  std::uint64_t seed = 0;  ///< Chooses the images.
  std::function<void(std::string_view what, std::int64_t done, std::int64_t of)> progress = {};
  const std::atomic<bool>* stop = nullptr;  ///< Ends with kInterrupted.
};

/// One way to quantise, evaluated on images that calibration did not see.
struct QuantizeTrial {
  Calibration calibration = Calibration::kMinMax;
  std::vector<std::string> keep;  ///< Layers in f32.
  double top1 = 0;                ///< Shares: of correct predictions,
  double agreement = 0;           ///< of predictions that are those of f32.
  double max_difference = 0;      ///< Largest difference of a logit from f32.
  double rms_difference = 0;      ///< Root of the mean square of all; the least one is the best.
};

struct Quantized {
  ModelFile model;          ///< With the table in its provenance.
  std::int64_t images = 0;  ///< On which it was evaluated.
  double top1 = 0;          ///< Of f32.
  std::vector<QuantizeTrial> trials;
  std::size_t best = 0;  ///< The trial that is `model`.
};

/// Quantises a model. Data is as for `evaluate`: calibration takes images of its training part,
/// evaluation those of its test part; of data without parts, each takes some.
/// Throws kUnsupported for a model that is quantised already, kInvalidArgument for options and
/// layers that make no sense, kBadData when no image can be read.
Quantized quantize_model(const ModelFile& model, const DataSpec& data,
                         const QuantizeOptions& options = {});

/// The same with images of one's own as the network's input, f32 [n, channels, h, w] of any
/// number each, and without an evaluation: `calibration` is min-max and `keep` empty if unset.
ModelFile quantize_model(const ModelFile& model, std::span<const Tensor> images,
                         const QuantizeOptions& options = {});

/// The trials as a table of text, fp32 first, the best one marked.
std::string to_table(const Quantized& quantized);

}  // namespace resnet
