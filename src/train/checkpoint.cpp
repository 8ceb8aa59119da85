#include "train/checkpoint.h"

#include "core/check.h"
#include "core/json.h"
#include "formats/safetensors.h"

namespace resnet {
namespace {

constexpr const char* kFormat = "resnet.checkpoint";
constexpr const char* kVersion = "1";
constexpr const char* kConfusion = "state.best.confusion";

// One list of fields for reading and writing. `v(key, value)`; the last may be absent.
template <class V, class State>
void fields(V&& v, State& s) {
  v("epoch", s.epoch);
  v("batch", s.batch);
  v("step", s.step);
  v("loss_sum", s.loss_sum);
  v("right", s.right);
  v("seen", s.seen);
  v("whole_windows", s.whole_windows);
  v("best_epoch", s.best_epoch);
  v("top1_epoch", s.top1_epoch);
  v("best_top1", s.best.top1);
  v("best_top5", s.best.top5);
  v("best_loss", s.best.loss);
  v("best_images", s.best.images);
  v("best_seconds", s.best.seconds);
}

Checkpoint from_metadata(const std::map<std::string, std::string>& metadata,
                         const std::filesystem::path& path) {
  const auto field = [&](const char* key) -> const std::string& {
    const auto found = metadata.find(key);
    if (found == metadata.end()) {
      fail(
          ErrorCode::kBadData,
          "{} is not a checkpoint of a run (it lacks \"{}\"); runs keep theirs in last.safetensors",
          path.string(), key);
    }
    return found->second;
  };
  if (field("format") != kFormat || field("version") != kVersion) {
    fail(ErrorCode::kBadData, "{} is no checkpoint that this version reads ({} {}, expected {} {})",
         path.string(), field("format"), field("version"), kFormat, kVersion);
  }
  Checkpoint c;
  try {
    c.options = train_options_from_json(field("options"));
  } catch (const Error& e) {
    if (e.code() == ErrorCode::kOutOfMemory) throw;
    fail(ErrorCode::kBadData, "{}: damaged checkpoint: {}", path.string(), e.what());
  }
  const auto damaged = [&](std::string_view what) {
    fail(ErrorCode::kBadData, "{}: damaged checkpoint: {}", path.string(), what);
  };
  const auto parsed = [&](const char* key) {
    auto json = Json::parse(field(key));
    if (!json) damaged(fmt::format("its \"{}\" is no JSON", key));
    return std::move(*json);
  };
  const Json state = parsed("state"), classes = parsed("classes");
  fields(
      [&]<class T>(const char* key, T& value) {
        const Json* found = state.find(key);
        if (found == nullptr && std::string_view(key) == "whole_windows") {  // of older runs
          value = true;
        } else if (found != nullptr &&
                   (std::is_same_v<T, bool> ? found->is_bool() : found->is_number())) {
          value = found->as<T>();
        } else {
          damaged(fmt::format("no number for \"{}\"", key));
        }
      },
      c.state);
  if (!classes.is_array()) damaged("its classes are no list");
  for (const Json& name : classes.items()) {
    if (!name.is_string()) damaged("its classes are no names");
    c.class_names.push_back(name.text());
  }
  // Older runs said pictures.
  const Json images = parsed(metadata.contains("train_images") ? "train_images" : "train_pictures");
  if (!images.is_integer()) damaged("no number of training images");
  c.train_images = images.as<std::int64_t>();
  const RunState& s = c.state;
  if (s.epoch < 0 || s.batch < 0 || s.step < 0 || s.right < 0 || s.seen < 0 || s.best_epoch < 0 ||
      s.best_epoch > s.epoch) {
    fail(ErrorCode::kBadData, "{}: damaged checkpoint: impossible counters", path.string());
  }
  c.state.best.class_names = c.class_names;
  return c;
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& c,
                     const Variables& variables) {
  std::map<std::string, Tensor> tensors(variables.all().begin(), variables.all().end());
  if (c.state.best_epoch > 0) {
    const auto classes = static_cast<std::int64_t>(c.class_names.size());
    tensors[kConfusion] =
        Tensor::from<std::int64_t>({classes, classes}, std::span(c.state.best.confusion));
  }
  Json state = Json::object();
  fields([&](const char* key, const auto& value) { state.add(key, value); }, c.state);
  write_safetensors(path, tensors,
                    {{"format", kFormat},
                     {"version", kVersion},
                     {"options", to_json(c.options)},
                     {"state", state.dump()},
                     {"classes", Json(c.class_names).dump()},
                     {"train_images", std::to_string(c.train_images)}});
}

Checkpoint read_checkpoint(const std::filesystem::path& path) {
  return from_metadata(read_safetensors_header(path).metadata, path);
}

Checkpoint load_checkpoint(const std::filesystem::path& path, Variables& variables) {
  Safetensors file = read_safetensors(path);
  Checkpoint c = from_metadata(file.metadata, path);
  if (c.state.best_epoch > 0) {
    const auto found = file.tensors.find(kConfusion);
    const auto classes = static_cast<std::int64_t>(c.class_names.size());
    if (found == file.tensors.end() || found->second.dtype() != DType::kI64 ||
        found->second.shape() != Shape{classes, classes}) {
      fail(ErrorCode::kBadData, "{}: damaged checkpoint: no confusion matrix of {} classes",
           path.string(), classes);
    }
    const auto counts = found->second.as<std::int64_t>();
    c.state.best.confusion.assign(counts.begin(), counts.end());
    file.tensors.erase(found);
  }
  // All is checked before anything changes.
  for (const auto& [name, tensor] : variables.all()) {
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) {
      fail(ErrorCode::kBadData, "{}: the checkpoint lacks the tensor {}", path.string(), name);
    }
    if (found->second.shape() != tensor.shape() || found->second.dtype() != tensor.dtype()) {
      fail(ErrorCode::kBadData, "{}: tensor {} must be {} {}, it is {} {}", path.string(), name,
           name_of(tensor.dtype()), to_string(tensor.shape()), name_of(found->second.dtype()),
           to_string(found->second.shape()));
    }
  }
  for (const auto& [name, tensor] : file.tensors) {
    if (!variables.contains(name)) {
      fail(ErrorCode::kBadData, "{}: the checkpoint has a tensor {} that the run does not know",
           path.string(), name);
    }
  }
  for (const auto& [name, tensor] : file.tensors) variables.assign(name, tensor);
  return c;
}

}  // namespace resnet
