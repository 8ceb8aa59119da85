// resnet quantize
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/values.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/json_line.h"
#include "resnet/quantize.h"

namespace resnet::cli {
namespace {

namespace fs = std::filesystem;

struct Flags {
  std::string model, out, calibration;
  DataSpec data;
  QuantizeOptions options;
  std::vector<std::string> keep;
  bool no_bias_correction = false, overwrite = false, json = false;
};

// Beside the model: model.safetensors -> model-int8.safetensors.
fs::path out_of(const Flags& f) {
  if (!f.out.empty()) return f.out;
  const fs::path given = f.model;
  if (fs::is_directory(given)) return given / "model-int8.safetensors";
  fs::path file = given.filename().empty() ? fs::path("model") : given.filename();
  return given.parent_path() / (file.replace_extension("").string() + "-int8.safetensors");
}

nlohmann::json to_json(const Quantized& q) {
  nlohmann::json trials = nlohmann::json::array();
  for (const QuantizeTrial& t : q.trials) {
    trials.push_back({{"calibration", name_of(t.calibration)},
                      {"keep", t.keep},
                      {"top1", t.top1},
                      {"agreement", t.agreement},
                      {"max_difference", t.max_difference},
                      {"rms_difference", t.rms_difference}});
  }
  return {{"images", q.images}, {"top1", q.top1}, {"best", q.best}, {"trials", std::move(trials)}};
}

int run(Flags& f) {
  catch_signals();
  const fs::path out = out_of(f);
  claim_output(out.string());
  const bool stream = is_stream(out);
  if (!f.overwrite && !stream && fs::exists(out)) {
    fail(ErrorCode::kInvalidArgument, "{} exists; add --overwrite or choose another -o",
         out.string());
  }
  if (!f.calibration.empty() && f.calibration != "best") {
    f.options.calibration = parse_calibration(f.calibration);
  }
  if (f.keep == std::vector<std::string>{"none"}) {
    f.options.keep.emplace();
  } else if (!f.keep.empty()) {
    f.options.keep = f.keep;
  }
  f.options.bias_correction = !f.no_bias_correction;
  f.options.seed = f.data.seed;
  f.options.stop = &stop_requested();
  ProgressLine line;
  f.options.progress = [&](std::string_view what, std::int64_t done, std::int64_t of) {
    line.show(static_cast<double>(done) / static_cast<double>(of),
              fmt::format("{}: {}/{} images", what, done, of));
  };
  const ModelFile model = open_model(f.model, line, f.data.cache);
  fetch_data(f.data, line);
  const Quantized q = quantize_model(model, f.data, f.options);
  save_model(out, q.model);
  line.clear();
  if (f.json) {
    nlohmann::json object = to_json(q);
    object["model"] = out.string();
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  print_out("{}{}, {}\n", AsIs{to_table(q)}, out.string(),
            stream ? "written" : format_bytes(static_cast<double>(fs::file_size(out))));
  return kSuccess;
}

}  // namespace

void add_quantize(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, "quantize", "Make an int8 model: a quarter of the size, faster",
                  "  resnet quantize runs/c10 cifar10\n"
                  "  resnet quantize model.safetensors flowers -o flowers-int8.safetensors\n"
                  "  resnet quantize runs/c10 cifar10 --calibration kl --keep conv1,fc\n"
                  "predict, eval, embed and bench take the file as any other model.");
  command
      ->add_option("MODEL", f->model,
                   "A model file, the folder of a run, or weights by name (resnet weights list)")
      ->required();
  command
      ->add_option("DATA", f->data.source,
                   "As for train; images of the training part calibrate, others evaluate")
      ->required();
  command->add_option("-o,--out", f->out,
                      "The file to write; default: beside the model, with -int8 in its name");
  command->add_flag("--overwrite", f->overwrite, "Replace that file");
  command->add_option("--calibration", f->calibration,
                      "minmax, percentile or kl; default: best, of all three");
  command->add_option("--images", f->options.images, "Calibrate with at most that many")
      ->capture_default_str();
  command->add_option("--held-out", f->options.held_out, "Evaluate on at most that many others")
      ->capture_default_str();
  command
      ->add_option("--percentile", f->options.percentile,
                   "Per cent of an activation's values that must not saturate")
      ->capture_default_str();
  command->add_option_function<std::string>(
      "--keep", [f = f.get()](const std::string& list) { f->keep = items(list); },
      "Layers that stay in f32, with commas, or none; default: the first and the last, "
      "each where that makes half a per cent more predictions agree");
  command->add_flag("--no-bias-correction", f->no_bias_correction, "Leave biases as they are");
  command
      ->add_option("--weight-bits", f->options.weight_bits,
                   "8, or 7 for machines without VNNI (before 2019), where sums of 8 may saturate")
      ->capture_default_str();
  command->add_option("--batch-size", f->options.batch_size, "Images a step")
      ->capture_default_str();
  add_threads(*command, f->options.threads);
  command->add_option("--seed", f->data.seed, "Of the choice of images, and of drawn galaxies")
      ->capture_default_str();
  command->add_flag("--download", f->data.download, "Fetch DATA known by name");
  command->add_option("--cache", f->data.cache, "Folder for what is fetched");
  add_json(*command, f->json);
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
