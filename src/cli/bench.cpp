// resnet bench
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "cli/command.h"
#include "cli/network.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json_line.h"
#include "core/random.h"
#include "formats/plot.h"
#include "resnet/download.h"
#include "resnet/model_file.h"
#include "resnet/program.h"
#include "resnet/quantize.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

struct Flags {
  NetworkFlags network;
  std::string mode = "train", dtype = "f32", roofline;
  std::int64_t batch = 32;
  int steps = 0;  // 0: as many as it takes
  int warmup = 3;
  CompileOptions compile;
  bool tune = false, no_winograd = false, no_recompute = false, no_passes = false, layers = false,
       json = false;
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

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The value that this share of all does not exceed (nearest rank).
double percentile(const std::vector<double>& sorted, double share) {
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

// Kernels beside what the machine can do.
struct Layers {
  std::vector<StepProfile> steps;  // the median time of each over several runs
  MachinePeaks peaks;

  double floor(const StepProfile& s) const {
    return peaks.floor_seconds(s.dtype, s.flops, s.bytes);
  }
  double sum(auto of) const {
    double total = 0;
    for (const StepProfile& s : steps) total += of(s);
    return total;
  }
  double seconds() const {
    return sum([](const StepProfile& s) { return s.seconds; });
  }
  double floor() const {
    return sum([&](const StepProfile& s) { return floor(s); });
  }
};

std::vector<StepProfile> median_profile(Session& session, int runs) {
  std::vector<StepProfile> steps = session.profile();
  std::vector<std::vector<double>> seconds(steps.size());
  for (int i = 0; i < runs && !stop_requested(); ++i) {
    const std::vector<StepProfile> again = session.profile();
    for (std::size_t s = 0; s < steps.size(); ++s) seconds[s].push_back(again[s].seconds);
  }
  for (std::size_t s = 0; s < steps.size(); ++s) {
    if (!seconds[s].empty()) steps[s].seconds = median(std::move(seconds[s]));
  }
  return steps;
}

// What is worth a sum of its own.
std::string kind_of(const StepProfile& s) { return s.op + " " + s.kernel; }

void print_layers(const Layers& layers) {
  const auto line = [](auto... cells) {
    print_out("{:<26} {:<22} {:<30} {:<5} {:>9} {:>8} {:>6} {:>9} {:>7} {:>6} {:>9} {:>6}\n",
              cells...);
  };
  const auto row = [&](const StepProfile& s, double least, const std::string& peak,
                       const std::string& rate) {
    line(s.name, s.op, s.kernel, name_of(s.dtype), fmt::format("{:.3f}", 1e3 * s.seconds),
         s.flops > 0 ? fmt::format("{:.1f}", 1e-9 * s.flops / s.seconds) : "", peak,
         fmt::format("{:.2f}", 1e-6 * s.bytes), fmt::format("{:.1f}", 1e-9 * s.bytes / s.seconds),
         rate, fmt::format("{:.3f}", 1e3 * least), fmt::format("{:.2f}", s.seconds / least));
  };
  const MachinePeaks& peaks = layers.peaks;
  line("layer", "op", "kernel", "dtype", "ms", "GFLOP/s", "% peak", "MB", "GB/s", "% mem",
       "floor ms", "/floor");
  struct Kind {
    StepProfile total;
    double floor = 0;
  };
  std::map<std::string, Kind> kinds;
  for (const StepProfile& s : layers.steps) {
    row(s, layers.floor(s),
        s.flops > 0 ? fmt::format("{:.0f}", 100 * s.flops / s.seconds / peaks.operations(s.dtype))
                    : "",
        fmt::format("{:.0f}", 100 * s.bytes / s.seconds / peaks.bytes_per_second(s.bytes)));
    Kind& k = kinds[kind_of(s)];
    k.total.op = s.op, k.total.kernel = s.kernel, k.total.dtype = s.dtype;
    k.total.seconds += s.seconds, k.total.flops += s.flops, k.total.bytes += s.bytes;
    k.floor += layers.floor(s);
  }
  print_out("\n");
  std::vector<Kind> sorted;
  for (const auto& [name, k] : kinds) sorted.push_back(k);
  std::ranges::stable_sort(
      sorted, [](const Kind& a, const Kind& b) { return a.total.seconds > b.total.seconds; });
  for (Kind& k : sorted) {
    k.total.name = fmt::format("{:.1f} %", 100 * k.total.seconds / layers.seconds());
    row(k.total, k.floor,
        k.total.flops > 0 ? fmt::format("{:.0f}", 100 * k.total.flops / k.total.seconds /
                                                      peaks.operations(k.total.dtype))
                          : "",
        "");
  }
  print_out("\n{}, {} threads, measured: {:.0f} GFLOP/s f32, {:.0f} bf16, {:.0f} int8; memory",
            processor_name(), peaks.threads, 1e-9 * peaks.f32, 1e-9 * peaks.bf16,
            1e-9 * peaks.int8);
  for (const Bandwidth& b : peaks.bandwidth) {
    print_out(" {}: {:.0f}", format_bytes(static_cast<double>(b.bytes)),
              1e-9 * std::max(b.read, b.triad));
  }
  print_out(" GB/s\n");
}

nlohmann::json to_json(const MachinePeaks& peaks) {
  nlohmann::json object{
      {"threads", peaks.threads},
      {"gflops",
       {{"f32", 1e-9 * peaks.f32}, {"bf16", 1e-9 * peaks.bf16}, {"int8", 1e-9 * peaks.int8}}},
      {"bandwidth", nlohmann::json::array()}};
  for (const Bandwidth& b : peaks.bandwidth) {
    object["bandwidth"].push_back({{"bytes", b.bytes},
                                   {"read_gb_per_second", 1e-9 * b.read},
                                   {"triad_gb_per_second", 1e-9 * b.triad}});
  }
  return object;
}

nlohmann::json to_json(const Layers& layers) {
  nlohmann::json list = nlohmann::json::array();
  for (const StepProfile& s : layers.steps) {
    list.push_back(
        {{"name", s.name},
         {"op", s.op},
         {"kernel", s.kernel},
         {"dtype", name_of(s.dtype)},
         {"milliseconds", 1e3 * s.seconds},
         {"flops", s.flops},
         {"bytes", s.bytes},
         {"gflops", 1e-9 * s.flops / s.seconds},
         {"gb_per_second", 1e-9 * s.bytes / s.seconds},
         {"share_of_peak", s.flops / s.seconds / layers.peaks.operations(s.dtype)},
         {"share_of_bandwidth", s.bytes / s.seconds / layers.peaks.bytes_per_second(s.bytes)},
         {"floor_milliseconds", 1e3 * layers.floor(s)}});
  }
  return list;
}

// The layers that multiply, under what the machine's arithmetic and memory allow (Williams,
// Waterman & Patterson 2009).
Plot roofline(const Layers& layers, const std::string& title) {
  Plot plot;
  plot.title = title;
  plot.x = {.label = "operations a byte", .log = true};
  plot.y = {.label = "GFLOP/s by the direct count", .log = true};
  plot.width = 860, plot.height = 520;
  std::map<std::string, PlotSeries> kinds;
  std::set<DType> dtypes;
  double least = 1, most = 1;
  for (const StepProfile& s : layers.steps) {
    if (s.flops <= 0 || s.seconds <= 0) continue;
    PlotSeries& kind = kinds[fmt::format("{} {}", s.op, name_of(s.dtype))];
    kind.x.push_back(s.flops / s.bytes);
    kind.y.push_back(1e-9 * s.flops / s.seconds);
    least = std::min(least, kind.x.back()), most = std::max(most, kind.x.back());
    dtypes.insert(s.dtype);
  }
  const auto roof = [&](DType dtype, const Bandwidth& b) {
    const double peak = layers.peaks.operations(dtype), rate = std::max(b.read, b.triad);
    const double ridge = peak / rate;
    PlotSeries line;
    line.name = fmt::format("{} peak {:.0f} GFLOP/s, {} of memory {:.0f} GB/s", name_of(dtype),
                            1e-9 * peak, format_bytes(static_cast<double>(b.bytes)), 1e-9 * rate);
    line.x = {std::min(least, ridge / 2), ridge, std::max(2 * ridge, most)};
    for (const double x : line.x) line.y.push_back(1e-9 * std::min(peak, x * rate));
    plot.series.push_back(std::move(line));
  };
  for (const DType dtype : dtypes) {
    roof(dtype, layers.peaks.bandwidth.back());
    roof(dtype, layers.peaks.bandwidth[1]);
  }
  for (auto& [name, kind] : kinds) {
    kind.name = name;
    kind.points = true;
    plot.series.push_back(std::move(kind));
  }
  return plot;
}

ModelFile drawn_model(const ModelConfig& config) {
  Variables variables;
  initialise(inference_graph(config, 1), variables, 0);
  ModelFile model;
  model.config = config;
  model.weights = from_variables(variables, config);
  return model;
}

// One step as a program of one's own would take it: for inference with the images handed over and
// the logits copied out.
class Step {
 public:
  Step(const Flags& f, const ModelConfig& config, std::optional<ModelFile> model)
      : infer_(f.mode == "infer"),
        image_(normal_tensor({f.batch, config.channels, config.image_size, config.image_size})),
        session_(make_session(f, config, std::move(model))) {
    session_.set_input("image", image_);
    if (infer_) return;
    session_.set_input("targets", one_hot(f.batch, config.classes));
    session_.set_input("lr", 0.01);
  }
  double seconds() {
    const auto start = std::chrono::steady_clock::now();
    if (infer_) session_.share_input("image", image_);
    session_.run();
    if (infer_) session_.output("logits");
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  Session& session() { return session_; }

 private:
  static Session make_session(const Flags& f, const ModelConfig& config,
                              std::optional<ModelFile> model) {
    if (!model && f.dtype == "int8") model = drawn_model(config);
    if (!model) {
      const Graph graph = graph_of(f, config);
      auto variables = std::make_shared<Variables>();
      initialise(graph, *variables, 0);
      return {graph, std::move(variables), f.compile};
    }
    if (f.dtype == "int8" && model->quantization.empty()) {
      const Tensor image =
          normal_tensor({1, config.channels, config.image_size, config.image_size});
      model = quantize_model(*model, std::span(&image, 1));
    }
    return {inference_graph(*model, f.batch, config.image_size), to_variables(*model), f.compile};
  }
  bool infer_;
  Tensor image_;
  Session session_;
};

std::vector<double> timed_steps(Step& step, const Flags& f) {
  for (int i = 0; i < f.warmup && !stop_requested(); ++i) step.seconds();
  std::vector<double> seconds;
  constexpr int kFewest = 10, kMost = 1000;
  constexpr double kLongest = 3;  // seconds, unless there are fewer steps
  double total = 0;
  const auto enough = [&] {
    const int done = static_cast<int>(seconds.size());
    if (f.steps > 0) return done == f.steps;
    return done == kMost || (done >= kFewest && total >= kLongest);
  };
  while (!enough() && !stop_requested()) {
    seconds.push_back(step.seconds());
    total += seconds.back();
  }
  if (stop_requested()) fail(ErrorCode::kInterrupted, "interrupted after {} steps", seconds.size());
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

void check_flags(const Flags& f) {
  if (!f.roofline.empty()) require_extension("--roofline", f.roofline, {".svg"});
  if (f.dtype == "int8" && f.mode == "train") {
    fail(ErrorCode::kInvalidArgument, "--dtype int8 is for inference; add --mode infer");
  }
}

int run(Flags& f) {
  check_flags(f);
  catch_signals();
  f.compile.winograd = !f.no_winograd;
  if (f.tune) f.compile.kernels = cache_folder() / "kernels.txt";
  f.compile.recompute = !f.no_recompute;
  f.compile.passes = !f.no_passes;
  if (f.dtype == "bf16") f.compile.dtype = DType::kBF16;
  const ModelConfig config = network_config(f.network);
  std::optional<ModelFile> model;
  if (f.mode == "infer" && std::filesystem::exists(f.network.name)) {
    model = map_model(f.network.name);  // weights as `predict` has them
    if (!model->quantization.empty()) f.dtype = "int8";
  }
  Step step(f, config, std::move(model));
  const std::vector<double> seconds = timed_steps(step, f);
  const double middle = seconds[seconds.size() / 2];
  const auto batch = static_cast<double>(f.batch);
  const std::size_t rss = peak_rss();  // before the probes take theirs
  const bool deep = f.layers || !f.roofline.empty();
  Layers layers;
  constexpr int kProfiles = 5;
  layers.steps = median_profile(step.session(), deep ? kProfiles : 0);
  if (deep) layers.peaks = measure_peaks(f.compile.threads);
  if (!f.roofline.empty()) {
    const std::string title = fmt::format("{} {} {}, batch {}, on {} threads", config.architecture,
                                          f.mode, f.dtype, f.batch, layers.peaks.threads);
    write_file_atomic(f.roofline, draw_svg(roofline(layers, title)));
  }
  const double flops = layers.sum([](const StepProfile& s) { return s.flops; });
  const ProgramStats& stats = step.session().program().stats();
  if (f.json) {
    nlohmann::json object{{"architecture", config.architecture},
                          {"mode", f.mode},
                          {"dtype", f.dtype},
                          {"batch", f.batch},
                          {"image_size", config.image_size},
                          {"processor", processor_name()},
                          {"threads", f.compile.threads},
                          {"steps", seconds.size()},
                          {"images_per_second", batch / middle},
                          {"images_per_second_best", batch / seconds.front()},
                          {"milliseconds", 1e3 * middle},
                          {"latency_milliseconds",
                           {{"least", 1e3 * seconds.front()},
                            {"p50", 1e3 * percentile(seconds, 0.5)},
                            {"p95", 1e3 * percentile(seconds, 0.95)},
                            {"p99", 1e3 * percentile(seconds, 0.99)},
                            {"most", 1e3 * seconds.back()}}},
                          {"gflops", flops / middle * 1e-9},
                          {"arena_bytes", stats.arena_bytes},
                          {"packed_bytes", stats.packed_bytes},
                          {"variable_bytes", stats.variable_bytes},
                          {"peak_rss_bytes", rss}};
    if (deep) {
      object["peaks"] = to_json(layers.peaks);
      object["layers"] = to_json(layers);
      object["layers_milliseconds"] = 1e3 * layers.seconds();
      object["floor_milliseconds"] = 1e3 * layers.floor();
    }
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  if (f.layers) print_layers(layers);
  if (deep) {
    print_out(
        "floor of a step {:.2f} ms; the kernels take {:.2f} times as long, the step {:.2f} times "
        "({:.2f} ms outside of kernels)\n\n",
        1e3 * layers.floor(), layers.seconds() / layers.floor(), middle / layers.floor(),
        1e3 * std::max(0.0, middle - layers.seconds()));
  }
  print_out("{} {} {}, batch {}, {}x{}: {:.1f} images/s (median of {} steps; best {:.1f})\n",
            config.architecture, f.mode, f.dtype, f.batch, config.image_size, config.image_size,
            batch / middle, seconds.size(), batch / seconds.front());
  print_out("time of a step: {:.2f} ms, 95 % within {:.2f}, 99 % within {:.2f}; {:.1f} GFLOP/s\n",
            1e3 * middle, 1e3 * percentile(seconds, 0.95), 1e3 * percentile(seconds, 0.99),
            flops / middle * 1e-9);
  const auto bytes = [](std::size_t n) { return format_bytes(static_cast<double>(n)); };
  print_out("memory: activations {}, packed weights {}, variables {}, process at most {}\n",
            bytes(stats.arena_bytes), bytes(stats.packed_bytes), bytes(stats.variable_bytes),
            bytes(rss));
  return kSuccess;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, "bench", "Time training or inference on synthetic images",
                  "  resnet bench --arch resnet50 --batch-size 32\n"
                  "  resnet bench --arch resnet20 --batch-size 128 --threads 2 --layers\n"
                  "  resnet bench runs/c10 --mode infer --batch-size 1 --json\n"
                  "  resnet bench c10-int8.safetensors --mode infer    a quantised model");
  command->add_option("--arch,MODEL", f->network.name, "An architecture, a model file or a run")
      ->capture_default_str();
  add_network_flags(command, f->network);
  command->add_option("--mode", f->mode, "train or infer")->capture_default_str();
  command->add_option("--batch-size,--batch", f->batch, "Images a step")->capture_default_str();
  command
      ->add_option("--dtype", f->dtype,
                   "Of activations: f32, bf16 or, for inference, int8 (quantised models: always)")
      ->capture_default_str();
  command->add_option("--steps", f->steps, "Steps that are timed; default: 10, or more within 3 s");
  command->add_option("--warmup", f->warmup, "Steps before them")->capture_default_str();
  add_threads(*command, f->compile.threads);
  command->add_flag("--tune", f->tune, "Measure which kernels are the fastest, and remember it");
  command->add_flag("--no-winograd", f->no_winograd, "Direct convolutions only");
  command->add_flag("--no-recompute", f->no_recompute, "Keep every activation");
  command->add_flag("--no-passes", f->no_passes, "No fusion and folding");
  command->add_flag("--layers", f->layers,
                    "A table of every kernel beside the machine's measured peaks");
  command->add_option("--roofline", f->roofline,
                      "Draw the layers under the machine's roofs into this .svg");
  add_json(*command, f->json);
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
