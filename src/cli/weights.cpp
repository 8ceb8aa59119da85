// resnet weights
#include "formats/weights_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/check.h"
#include "core/json_line.h"
#include "core/text.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"

namespace resnet::cli {
namespace {

constexpr std::size_t kWidestName = 100;  // in the table; longer ones are cut
constexpr std::size_t kLongestText = 200;

struct ShowFlags {
  std::string path;
  bool json = false;
};

std::string size_text(std::int64_t elements) { return format_count(static_cast<double>(elements)); }

int show(const ShowFlags& f) {
  require_no_name(f.path);
  const WeightsFile file = describe_weights(find_weights(f.path));
  std::int64_t elements = 0;
  std::uint64_t bytes = 0;
  for (const WeightsEntry& e : file.entries) {
    const std::int64_t count = element_count(e.shape);
    elements += count;
    bytes +=
        e.foreign.empty() ? static_cast<std::uint64_t>(count) * size_of(e.dtype) : e.foreign_bytes;
  }
  if (f.json) {
    nlohmann::ordered_json tensors = nlohmann::ordered_json::array();
    for (const WeightsEntry& e : file.entries) {
      tensors.push_back({{"name", e.name}, {"dtype", type_name(e)}, {"shape", e.shape}});
    }
    const nlohmann::ordered_json object{
        {"format", file.format},     {"elements", elements},      {"bytes", bytes},
        {"metadata", file.metadata}, {"left_out", file.left_out}, {"tensors", std::move(tensors)}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  std::vector<std::string> names;
  std::size_t width = 6;
  for (const WeightsEntry& e : file.entries) {
    names.push_back(printable(e.name, kWidestName));
    width = std::max(width, names.back().size());
  }
  if (!names.empty()) print_out("{:<{}}  {:<5}  {}\n", "tensor", width, "type", "shape");
  for (std::size_t i = 0; i < names.size(); ++i) {
    const WeightsEntry& e = file.entries[i];
    print_out("{:<{}}  {:<5}  {}\n", names[i], width, type_name(e), to_string(e.shape));
  }
  for (const auto& [key, text] : file.metadata) {
    print_out("{}{} = {}\n", &key == &file.metadata.begin()->first && !names.empty() ? "\n" : "",
              printable(key, kWidestName), printable(text, kLongestText));
  }
  if (!file.left_out.empty()) print_out("\nleft out, since only their own code can read them:\n");
  for (const auto& [key, global] : file.left_out) {
    print_out("{}: an object of {}\n", printable(key, kWidestName),
              printable(global, kLongestText));
  }
  print_out("\n{}: {} tensors, {} elements, {}\n", file.format, file.entries.size(),
            size_text(elements), format_bytes(static_cast<double>(bytes)));
  return kSuccess;
}

struct ConvertFlags {
  std::string path, out;
  bool json = false;
};

int convert(const ConvertFlags& f) {
  const std::filesystem::path out = f.out;
  require_extension("--out", f.out, {".safetensors", ".pth", ".pt", ".th"});
  const std::string extension = lower(out.extension().string());
  const bool torch = extension == ".pth" || extension == ".pt" || extension == ".th";
  require_no_name(f.path);
  const WeightsFile file = read_weights(find_weights(f.path));
  for (const WeightsEntry& e : file.entries) {
    if (e.foreign.empty()) continue;
    fail(ErrorCode::kUnsupported,
         "{}: tensor '{}' has the element type {}, which cannot be written; convert it to F32 with "
         "the program that made it",
         f.path, printable(e.name, kWidestName), e.foreign);
  }
  if (torch) {
    write_torch_file(out, file.tensors);
  } else {
    write_safetensors(out, file.tensors, file.metadata);
  }
  if (f.json) {
    const nlohmann::json object{
        {"out", f.out}, {"tensors", file.tensors.size()}, {"left_out", file.left_out}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  print_out("{}: {} tensors{}\n", f.out, file.tensors.size(),
            file.left_out.empty()
                ? ""
                : fmt::format(", {} Python objects left out (resnet weights show names them)",
                              file.left_out.size()));
  return kSuccess;
}

}  // namespace

void add_weights(CLI::App& app, Action& action) {
  CLI::App* weights =
      add_command(app, "weights", "Fetch published weights, look into files of weights",
                  "  resnet weights list\n"
                  "  resnet weights get resnet50.tv2_in1k\n"
                  "  resnet weights show resnet50.pth\n"
                  "  resnet weights show runs/c10 --json\n"
                  "  resnet weights convert old.pth -o new.safetensors");
  weights->require_subcommand(1);
  add_pretrained(*weights, action);

  auto f = std::make_shared<ShowFlags>();
  CLI::App* command = add_command(
      *weights, "show",
      "List names, types and shapes of the tensors in a file; nothing in it is run",
      "  resnet weights show resnet50-0676ba61.pth\n"
      "  resnet weights show model.safetensors --json\n"
      "Reads safetensors, PyTorch's .pth, .pt and .th (old and new), ONNX, and our model files.");
  command->add_option("FILE", f->path, "A file of weights, or the folder of a run")->required();
  add_json(*command, f->json);
  command->callback([f, &action] { action = [f] { return show(*f); }; });

  auto c = std::make_shared<ConvertFlags>();
  command = add_command(*weights, "convert", "Write the tensors of a file in another format",
                        "  resnet weights convert checkpoint.pth -o checkpoint.safetensors\n"
                        "  resnet weights convert model.safetensors -o model.pth\n"
                        "Types, shapes, names and bits stay as they are.");
  command->add_option("FILE", c->path, "A file of weights, or the folder of a run")->required();
  command->add_option("-o,--out", c->out, "Ends in .safetensors, .pth, .pt or .th")->required();
  add_json(*command, c->json, "One JSON object: out, tensors, left_out");
  command->callback([c, &action] { action = [c] { return convert(*c); }; });
}

}  // namespace resnet::cli
