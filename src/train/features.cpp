#include "train/features.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "core/check.h"
#include "data/each_batch.h"
#include "resnet/program.h"
#include "train/evaluator.h"

namespace resnet {
namespace {

class StandIn final : public Dataset {
 public:
  StandIn(DatasetPtr base, const std::vector<BadImage>& bad) : base_(std::move(base)) {
    for (const BadImage& b : bad) bad_[b.index] = b.reason;
  }
  std::int64_t size() const override { return base_->size(); }
  const std::vector<std::string>& class_names() const override { return base_->class_names(); }
  int label(std::int64_t i) const override { return base_->label(i); }
  std::string name(std::int64_t i) const override { return base_->name(i); }
  std::vector<std::int64_t> shard_starts() const override { return base_->shard_starts(); }
  void read(std::int64_t i, Image& out) const override {
    const auto found = bad_.find(i);
    if (found != bad_.end()) fail(ErrorCode::kBadData, "{}", found->second);
    out = Image(1, 1, 1);
  }

 private:
  DatasetPtr base_;
  std::map<std::int64_t, std::string> bad_;
};

}  // namespace

Graph features_graph(const ModelConfig& c, std::int64_t batch) {
  Graph g(Mode::kInference);
  const Value image = g.input("image", {batch, c.channels, c.image_size, c.image_size});
  g.mark_output("features", build_features(g, c, image));
  return g;
}

std::int64_t FeatureCache::bytes(const TrainOptions& o, std::int64_t images) {
  const Graph g = features_graph(o.model, 1);
  return images * element_count(g.shape(g.outputs()[0].second)) *
         static_cast<std::int64_t>(size_of(variable_type(o.device)));
}

std::optional<FeatureCache> FeatureCache::compute(
    const TrainOptions& o, const std::shared_ptr<Variables>& variables, const DatasetPtr& data,
    Loader& loader, const std::atomic<bool>* stop,
    const std::function<void(std::int64_t)>& progress) {
  const Graph graph = features_graph(o.model, loader.options().batch_size);
  Session session(graph, variables, {.device = o.device, .threads = o.threads, .dtype = o.dtype},
                  o.layout);
  const std::int64_t width = graph.shape(graph.outputs()[0].second)[1];
  FeatureCache cache;
  cache.table_ = Tensor::zeros(variable_type(o.device), {data->size(), width});
  const std::size_t row = cache.table_.bytes() / static_cast<std::size_t>(data->size());
  const Job job{[&](std::int64_t done, std::int64_t) {
                  if (progress) progress(done);
                },
                stop};
  const Pass pass = for_each_batch(loader, job, [&](const Batch& batch) {
    session.set_input("image", batch.images);
    session.run();
    const Tensor features = session.output("features");
    for (std::size_t i = 0; i < static_cast<std::size_t>(batch.count); ++i) {
      std::memcpy(cache.table_.raw() + static_cast<std::size_t>(batch.indices[i]) * row,
                  features.raw() + i * row, row);
    }
  });
  if (pass.stopped) return std::nullopt;
  cache.stand_in_ = std::make_shared<StandIn>(data, loader.bad_images());
  return cache;
}

Preprocessing FeatureCache::preprocessing() {
  return {.height = 1, .width = 1, .resize = 0, .channels = 1};
}

const Tensor& FeatureCache::rows(const Batch& batch) {
  const auto count = static_cast<std::int64_t>(batch.indices.size());
  if (rows_.shape() != Shape{count, table_.dim(1)}) {
    rows_ = Tensor(table_.dtype(), {count, table_.dim(1)});
  }
  const std::size_t row = table_.bytes() / static_cast<std::size_t>(table_.dim(0));
  for (std::size_t i = 0; i < batch.indices.size(); ++i) {
    std::byte* out = rows_.raw() + i * row;
    if (batch.indices[i] < 0) {
      std::memset(out, 0, row);
    } else {
      std::memcpy(out, table_.raw() + static_cast<std::size_t>(batch.indices[i]) * row, row);
    }
  }
  return rows_;
}

}  // namespace resnet
