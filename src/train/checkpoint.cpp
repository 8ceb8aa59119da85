#include "train/checkpoint.h"

#include <nlohmann/json.hpp>

#include "core/check.h"
#include "formats/safetensors.h"

namespace resnet {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "resnet.checkpoint";
constexpr const char* kVersion = "1";
constexpr const char* kConfusion = "state.best.confusion";

Json state_to_json(const RunState& s) {
  return {{"epoch", s.epoch},
          {"batch", s.batch},
          {"step", s.step},
          {"loss_sum", s.loss_sum},
          {"right", s.right},
          {"seen", s.seen},
          {"whole_windows", s.whole_windows},
          {"best_epoch", s.best_epoch},
          {"top1_epoch", s.top1_epoch},
          {"best_top1", s.best.top1},
          {"best_top5", s.best.top5},
          {"best_loss", s.best.loss},
          {"best_images", s.best.images},
          {"best_seconds", s.best.seconds}};
}

RunState state_from_json(const Json& j) {
  RunState s;
  j.at("epoch").get_to(s.epoch);
  j.at("batch").get_to(s.batch);
  j.at("step").get_to(s.step);
  j.at("loss_sum").get_to(s.loss_sum);
  j.at("right").get_to(s.right);
  j.at("seen").get_to(s.seen);
  s.whole_windows = j.value("whole_windows", true);
  j.at("best_epoch").get_to(s.best_epoch);
  j.at("top1_epoch").get_to(s.top1_epoch);
  j.at("best_top1").get_to(s.best.top1);
  j.at("best_top5").get_to(s.best.top5);
  j.at("best_loss").get_to(s.best.loss);
  j.at("best_images").get_to(s.best.images);
  j.at("best_seconds").get_to(s.best.seconds);
  return s;
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
    c.state = state_from_json(Json::parse(field("state")));
    c.class_names = Json::parse(field("classes")).get<std::vector<std::string>>();
    c.train_pictures = Json::parse(field("train_pictures")).get<std::int64_t>();
  } catch (const Json::exception& e) {
    fail(ErrorCode::kBadData, "{}: damaged checkpoint: {}", path.string(), e.what());
  } catch (const Error& e) {
    if (e.code() == ErrorCode::kOutOfMemory) throw;
    fail(ErrorCode::kBadData, "{}: damaged checkpoint: {}", path.string(), e.what());
  }
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
  write_safetensors(path, tensors,
                    {{"format", kFormat},
                     {"version", kVersion},
                     {"options", to_json(c.options)},
                     {"state", state_to_json(c.state).dump()},
                     {"classes", Json(c.class_names).dump()},
                     {"train_pictures", std::to_string(c.train_pictures)}});
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
