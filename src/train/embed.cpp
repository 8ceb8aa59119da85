#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>

#include "core/check.h"
#include "core/guard.h"
#include "data/each_batch.h"
#include "resnet/model_file.h"
#include "resnet/network.h"
#include "train/evaluator.h"
#include "train/features.h"
#include "train/files.h"

namespace resnet {
namespace {

// The last node that has one of these names; nothing where there is none.
std::optional<std::size_t> last_of(const Graph& g, const std::set<std::string>& names) {
  for (std::size_t i = g.nodes().size(); i-- > 0;) {
    if (names.contains(g.nodes()[i].name)) return i;
  }
  return std::nullopt;
}

std::set<std::string> names_of(const Graph& g, const std::vector<Value>& layers) {
  std::set<std::string> names;
  for (const Value v : layers) names.insert(g.node(v).name);
  return names;
}

// In an int8 network layers keep their names; some are fused into those before them.
Value find_quantized(const Graph& int8, const DescribedGraph& plain, const std::string& layer) {
  if (layer.empty()) {  // what the head reads
    for (const Value v : plain.network.head.layers) {
      const auto found = last_of(int8, {plain.graph.node(v).name});
      if (found) return int8.nodes()[*found].inputs[0];
    }
  }
  const auto& stages = plain.network.stages;
  const auto stage = std::ranges::find(stages, layer, &NetworkPart::name);
  try {
    return find_layer(int8, layer);
  } catch (const Error&) {
    if (stage == stages.end()) throw;
  }
  const auto last = last_of(int8, names_of(plain.graph, stage->layers));
  RESNET_CHECK(last.has_value());
  return {static_cast<std::int32_t>(*last), 0};
}

// The network up to the layer; input "image", output "features".
Graph graph_of(const ModelFile& model, std::int64_t batch, const EmbedOptions& options) {
  Graph graph(Mode::kInference);
  const DescribedGraph plain = describe_network(model.config, batch);
  const bool int8 = !model.quantization.empty();
  const Graph whole = int8 ? inference_graph(model, batch) : plain.graph;
  const Value layer = int8                    ? find_quantized(whole, plain, options.layer)
                      : options.layer.empty() ? plain.network.features
                                              : find_layer(whole, plain.network, options.layer);
  Value x = dequantize(graph, copy_subgraph(graph, whole, layer));
  if (options.pool && graph.shape(x).size() == 4) x = graph.global_avg_pool(x);
  graph.mark_output("features", x);
  return graph;
}

Embeddings embed(const ModelFile& model, const DatasetPtr& data, const EmbedOptions& options,
                 bool labelled) {
  if (data == nullptr || data->size() == 0) fail(ErrorCode::kBadData, "there are no images");
  const EvalOptions& o = options.eval;
  const auto batch = static_cast<int>(std::clamp<std::int64_t>(o.batch_size, 1, data->size()));
  LoaderOptions load = evaluation_options(batch, loader_threads(o.loader_threads));
  load.max_bad_fraction = o.max_bad_fraction;
  Loader loader(data, model.preprocessing, Augmentation{}, load);
  Session session(graph_of(model, batch, options), variables_of(model, o.device),
                  {.device = o.device, .threads = o.threads, .dtype = o.dtype}, load.layout);

  Embeddings result;
  std::vector<float> rows;
  Shape shape;
  const Pass pass = for_each_batch(loader, {o.progress, o.stop}, [&](const Batch& images) {
    session.set_input("image", images.images);
    session.run();
    const Tensor features = session.output("features").cast(DType::kF32);
    shape = features.shape();
    const std::span<const float> values = features.as<float>();
    const std::size_t width = values.size() / static_cast<std::size_t>(batch);
    for (std::size_t row = 0; row < static_cast<std::size_t>(images.count); ++row) {
      if (images.labels[row] < 0) continue;  // unreadable
      const auto own = values.subspan(row * width, width);
      if (!std::ranges::all_of(own, [](float x) { return std::isfinite(x); })) {
        fail(ErrorCode::kBadData,
             "{}: its features are not finite: NaN or infinity first appears in '{}'; take "
             "another model",
             data->name(images.indices[row]), session.find_non_finite().value_or("features"));
      }
      rows.insert(rows.end(), own.begin(), own.end());
      result.names.push_back(data->name(images.indices[row]));
      if (labelled) result.labels.push_back(images.labels[row]);
    }
  });
  pass.throw_if_stopped();
  result.skipped = loader.bad_images();
  bool noted = false;
  note_oddities(model, o, loader, noted);
  if (result.names.empty()) none_readable(data->size(), result.skipped);
  shape[0] = static_cast<std::int64_t>(result.names.size());
  result.features = Tensor::from<float>(shape, std::span<const float>(rows));
  return result;
}

}  // namespace

Embeddings embed(const ModelFile& model, const std::vector<std::filesystem::path>& paths,
                 const EmbedOptions& options) try {
  EmbedOptions each = options;
  each.eval.max_bad_fraction = 1;  // they are listed
  return embed(model, image_files(paths), each, false);
} catch (...) {
  throw_as_error();
}

Embeddings embed(const ModelFile& model, const DatasetPtr& data, const EmbedOptions& options) try {
  return embed(model, data, options, true);
} catch (...) {
  throw_as_error();
}

}  // namespace resnet
