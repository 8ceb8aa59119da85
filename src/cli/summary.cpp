// resnet summary
#include <fmt/format.h>

#include <filesystem>
#include <new>
#include <nlohmann/json.hpp>
#include <optional>

#include "cli/command.h"
#include "cli/network.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/json_line.h"
#include "resnet/model_file.h"
#include "resnet/program.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

struct Flags {
  NetworkFlags network;
  std::int64_t batch = 32;
  bool json = false;
};

std::size_t planned_bytes(const Graph& graph) {
  auto variables = std::make_shared<Variables>();
  for (const Value v : graph.parameters()) {
    variables->set(graph.node(v).name, Tensor::zeros(graph.type(v).dtype, graph.shape(v)));
  }
  const Program program(graph, variables);
  const ProgramStats& s = program.stats();
  return s.arena_bytes + s.packed_bytes + s.variable_bytes;
}

std::size_t training_bytes(const ModelConfig& config, std::int64_t batch) {
  Graph g(Mode::kTraining);
  const Value image =
      g.input("image", {batch, config.channels, config.image_size, config.image_size});
  add_training_step(g, build_model(g, config, image), {});
  return planned_bytes(g);
}

int run(const Flags& f) {
  const ModelConfig config = network_config(f.network);
  const bool is_file = std::filesystem::exists(f.network.name);
  const ModelFile model = is_file ? map_model(f.network.name) : ModelFile{};
  const Graph graph =
      is_file ? inference_graph(model, 1, config.image_size) : inference_graph(config, 1);
  const bool trainable = model.quantization.empty();
  const std::vector<LayerSummary> layers = summarise(graph);
  std::int64_t parameters = 0, multiply_adds = 0, bytes = 0;
  for (const LayerSummary& l : layers) {
    parameters += l.parameters;
    multiply_adds += l.multiply_adds;
    bytes += l.bytes;
  }
  const std::size_t inference = planned_bytes(graph);
  std::optional<std::size_t> training;  // unless the plan itself is more than the machine has
  try {
    if (trainable) training = training_bytes(config, f.batch);
  } catch (const std::bad_alloc&) {
  }
  if (f.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const LayerSummary& l : layers) {
      list.push_back({{"name", l.name},
                      {"op", l.op},
                      {"output", l.output},
                      {"dtype", name_of(l.dtype)},
                      {"parameters", l.parameters},
                      {"bytes", l.bytes},
                      {"multiply_adds", l.multiply_adds}});
    }
    const nlohmann::json object{
        {"architecture", config.architecture},
        {"image_size", config.image_size},
        {"classes", config.classes},
        {"parameters", parameters},
        {"parameter_bytes", bytes},
        {"multiply_adds", multiply_adds},
        {"inference_bytes", inference},
        {"training_bytes", training ? nlohmann::json(*training) : nlohmann::json()},
        {"training_batch", f.batch},
        {"layers", list}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  std::size_t width = 5;
  for (const LayerSummary& l : layers) width = std::max(width, l.name.size());
  print_out("{:<{}}  {:<16} {:<5} {:<20} {:>12} {:>12} {:>14}\n", "layer", width, "op", "dtype",
            "output", "parameters", "bytes", "multiply-adds");
  for (const LayerSummary& l : layers) {
    print_out("{:<{}}  {:<16} {:<5} {:<20} {:>12} {:>12} {:>14}\n", l.name, width, l.op,
              name_of(l.dtype), to_string(l.output), l.parameters, l.bytes, l.multiply_adds);
  }
  print_out("\n{} for {}x{} images of {} channel(s), {} classes\n", config.architecture,
            config.image_size, config.image_size, config.channels, config.classes);
  print_out("parameters     {} ({}), {}\n", parameters,
            format_count(static_cast<double>(parameters)),
            format_bytes(static_cast<double>(bytes)));
  print_out("multiply-adds  {} an image\n", format_count(static_cast<double>(multiply_adds)));
  const std::string to_train =
      !trainable ? "cannot be trained"
                 : fmt::format("{} to train with batches of {}",
                               training ? format_bytes(static_cast<double>(*training))
                                        : "more than there is",
                               f.batch);
  print_out("memory         {} to predict one image, {}\n",
            format_bytes(static_cast<double>(inference)), to_train);
  return kSuccess;
}

}  // namespace

void add_summary(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  std::string names;
  for (const std::string& name : architectures()) names += (names.empty() ? "" : ", ") + name;
  CLI::App* command = add_command(app, "summary", "Show layers, shapes, parameters and memory",
                                  "  resnet summary resnet50\n"
                                  "  resnet summary resnet20 --shortcut B\n"
                                  "  resnet summary runs/c10\n"
                                  "Architectures: " +
                                      names);
  command->add_option("ARCH|MODEL", f->network.name, "An architecture, a model file or a run")
      ->required();
  add_network_flags(command, f->network);
  command->add_option("--batch-size", f->batch, "For the memory of training")
      ->capture_default_str();
  add_json(*command, f->json);
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
