// resnet bench
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/network.h"
#include "cli/progress.h"
#include "core/check.h"
#include "core/random.h"
#include "resnet/program.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

struct Flags {
  NetworkFlags network;
  std::string mode = "train";
  std::int64_t batch = 32;
  int steps = 10;
  int warmup = 3;
  CompileOptions compile;
  bool no_winograd = false, no_recompute = false, no_passes = false, layers = false, json = false;
};

Tensor normal_tensor(Shape shape) {
  Tensor t(DType::kF32, std::move(shape));
  Random random(0);
  for (float& x : t.as<float>()) x = static_cast<float>(random.normal());
  return t;
}

Tensor one_hot(std::int64_t n, std::int64_t classes) {
  Tensor t = Tensor::zeros(DType::kF32, {n, classes});
  Random random(1);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto label = random.below(static_cast<std::uint32_t>(classes));
    t.as<float>()[static_cast<std::size_t>(i * classes) + label] = 1;
  }
  return t;
}

Graph graph_of(const Flags& f, const ModelConfig& config) {
  if (f.mode == "infer") return inference_graph(config, f.batch);
  Graph g(Mode::kTraining);
  const Value image =
      g.input("image", {f.batch, config.channels, config.image_size, config.image_size});
  StepOptions step;  // as the PyTorch side of bench/compare: momentum, decay of everything
  step.optimizer.nesterov = false;
  step.optimizer.weight_decay = 1e-4;
  step.optimizer.decay_norm_and_bias = true;
  add_training_step(g, build_model(g, config, image), step);
  return g;
}

std::size_t peak_rss() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::size_t>(usage.ru_maxrss) * 1024;
}

// The kernels in order, and their sums by kind.
void print_layers(const std::vector<StepProfile>& steps) {
  double total = 0;
  std::map<std::string, StepProfile> kinds;
  fmt::print("{:<28} {:<26} {:<32} {:>9} {:>9} {:>7}\n", "layer", "op", "kernel", "ms", "GFLOP/s",
             "GB/s");
  const auto row = [](const StepProfile& s) {
    fmt::print("{:<28} {:<26} {:<32} {:>9.3f} {:>9.1f} {:>7.1f}\n", s.name, s.op, s.kernel,
               1e3 * s.seconds, s.flops / s.seconds * 1e-9, s.bytes / s.seconds * 1e-9);
  };
  for (const StepProfile& s : steps) {
    row(s);
    StepProfile& k = kinds[s.op + " " + s.kernel];
    k.op = s.op, k.kernel = s.kernel;
    k.seconds += s.seconds, k.flops += s.flops, k.bytes += s.bytes;
    total += s.seconds;
  }
  fmt::print("\n");
  std::vector<StepProfile> sorted;
  for (auto& [name, k] : kinds) {
    k.name = fmt::format("{:.1f} %", 100 * k.seconds / total);
    sorted.push_back(k);
  }
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  for (const StepProfile& k : sorted) row(k);
  fmt::print("\n");
}

int run(Flags& f) {
  if (f.mode != "train" && f.mode != "infer") {
    fail(ErrorCode::kInvalidArgument, "--mode: expected train or infer, got {}", f.mode);
  }
  catch_signals();
  f.compile.winograd = !f.no_winograd;
  f.compile.recompute = !f.no_recompute;
  f.compile.passes = !f.no_passes;
  const ModelConfig config = network_config(f.network);
  const Graph graph = graph_of(f, config);
  auto variables = std::make_shared<Variables>();
  initialise(graph, *variables, 0);
  Program program(graph, variables, f.compile);
  program.set_input(
      "image", normal_tensor({f.batch, config.channels, config.image_size, config.image_size}));
  if (f.mode == "train") {
    program.set_input("targets", one_hot(f.batch, config.classes));
    program.set_input("lr", 0.01);
  }
  for (int i = 0; i < f.warmup && !stop_requested(); ++i) program.run();
  std::vector<double> seconds;
  for (int i = 0; i < f.steps && !stop_requested(); ++i) {
    const auto start = std::chrono::steady_clock::now();
    program.run();
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  if (stop_requested()) {
    fail(ErrorCode::kInterrupted, "interrupted after {} of {} steps", seconds.size(), f.steps);
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2];
  const auto batch = static_cast<double>(f.batch);
  double flops = 0;
  const std::vector<StepProfile> profile = program.profile();
  for (const StepProfile& s : profile) flops += s.flops;
  if (f.json) {
    const nlohmann::json object{{"architecture", config.architecture},
                                {"mode", f.mode},
                                {"batch", f.batch},
                                {"image_size", config.image_size},
                                {"threads", f.compile.threads},
                                {"steps", seconds.size()},
                                {"images_per_second", batch / median},
                                {"images_per_second_best", batch / seconds.front()},
                                {"milliseconds", 1e3 * median},
                                {"gflops", flops / median * 1e-9},
                                {"arena_bytes", program.stats().arena_bytes},
                                {"packed_bytes", program.stats().packed_bytes},
                                {"variable_bytes", program.stats().variable_bytes},
                                {"peak_rss_bytes", peak_rss()}};
    fmt::print("{}\n", object.dump());
    return kSuccess;
  }
  if (f.layers) print_layers(profile);
  fmt::print(
      "{} {}, batch {}, {}x{}: {:.1f} images/s (median of {}; best {:.1f}), {:.1f} ms, "
      "{:.1f} GFLOP/s, peak memory {}\n",
      config.architecture, f.mode, f.batch, config.image_size, config.image_size, batch / median,
      seconds.size(), batch / seconds.front(), 1e3 * median, flops / median * 1e-9,
      format_bytes(static_cast<double>(peak_rss())));
  return kSuccess;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, "bench", "Time training or inference on synthetic pictures",
                  "  resnet bench --arch resnet50 --batch-size 32\n"
                  "  resnet bench --arch resnet20 --batch-size 128 --threads 2 --layers\n"
                  "  resnet bench --arch runs/c10 --mode infer --batch-size 1 --json");
  command->add_option("--arch", f->network.name, "An architecture, a model file or a run")
      ->capture_default_str();
  add_network_flags(command, f->network);
  command->add_option("--mode", f->mode, "train or infer")->capture_default_str();
  command->add_option("--batch-size,--batch", f->batch, "Pictures a step")
      ->capture_default_str()
      ->check(at_least(1));
  command->add_option("--steps", f->steps, "Steps that are timed")
      ->capture_default_str()
      ->check(at_least(1));
  command->add_option("--warmup", f->warmup, "Steps before them")
      ->capture_default_str()
      ->check(at_least(0));
  add_dtype(*command, f->compile.dtype);
  command->add_option("--threads", f->compile.threads, "Default: all processors")
      ->check(at_least(0));
  command->add_flag("--no-winograd", f->no_winograd, "Direct convolutions only");
  command->add_flag("--no-recompute", f->no_recompute, "Keep every activation");
  command->add_flag("--no-passes", f->no_passes, "No fusion and folding");
  command->add_flag("--layers", f->layers, "A table of every kernel");
  command->add_flag("--json", f->json, "One JSON object");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
