// resnet weights list | get
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/json_line.h"
#include "resnet/pretrained.h"

namespace resnet::cli {
namespace {

struct WeightsFlags {
  std::string name, out, cache;
  bool json = false;
};

int list_weights(const WeightsFlags& f) {
  if (!f.json) {
    print_out("{:<24} {:>6} {:>6} {:>6} {:>9}  {:<12} {}\n", "name", "top-1", "top-5", "input",
              "size", "licence", "SHA-256");
  }
  nlohmann::json list = nlohmann::json::array();
  for (const Pretrained& p : pretrained()) {
    const Preprocessing& prep = p.preprocessing;
    if (!f.json) {
      // The first digits are enough to see; how many are verified is what matters here.
      print_out("{:<24} {:>6.2f} {:>6.2f} {:>6} {:>9}  {:<12} {}\n", p.name, 100 * p.top1,
                100 * p.top5, prep.width,
                p.file.size > 0 ? format_bytes(static_cast<double>(p.file.size)) : "-", p.licence,
                p.file.sha256.size() == 64 ? p.file.sha256.substr(0, 8) + "… (all 64)"
                                           : p.file.sha256 + " (first 8)");
      continue;
    }
    list.push_back({{"name", p.name},
                    {"alias", p.alias},
                    {"architecture", p.architecture},
                    {"publisher", p.publisher},
                    {"url", p.file.url},
                    {"sha256", p.file.sha256},
                    {"size", p.file.size > 0 ? nlohmann::json(p.file.size) : nlohmann::json()},
                    {"licence", p.licence},
                    {"top1", p.top1},
                    {"top5", p.top5},
                    {"input", prep.width},
                    {"resize", prep.resize},
                    {"interpolation", name_of(prep.interpolation)},
                    {"mean", prep.mean},
                    {"std", prep.std}});
  }
  if (f.json) print_out("{}\n", AsIs{json_line(list)});
  return kSuccess;
}

void print_path(const WeightsFlags& f, const std::string& path) {
  if (!f.json) {
    print_out("{}\n", path);
    return;
  }
  const nlohmann::json object{{"name", f.name}, {"path", path}};
  print_out("{}\n", AsIs{json_line(object)});
}

int get_weights(const WeightsFlags& f) {
  if (!f.out.empty()) claim_output(f.out);
  ProgressLine line;
  const DownloadOptions options = download_options(line, f.cache);
  if (f.out.empty()) {
    const std::filesystem::path file = get_pretrained(f.name, options);
    line.clear();
    print_path(f, file.string());
    return kSuccess;
  }
  const ModelFile model = load_pretrained(f.name, options);
  line.clear();
  save_model(f.out, model);
  print_path(f, f.out);
  return kSuccess;
}

}  // namespace

void add_pretrained(CLI::App& weights, Action& action) {
  auto f = std::make_shared<WeightsFlags>();
  const auto on = [&](CLI::App* command, int (*work)(const WeightsFlags&)) {
    command->callback([f, work, &action] { action = [f, work] { return work(*f); }; });
  };
  CLI::App* list = add_command(weights, "list",
                               "What there is: torchvision's and timm's networks trained on "
                               "ImageNet, with their published accuracy",
                               "  resnet weights list --json");
  add_json(*list, f->json, "One JSON array");
  on(list, list_weights);

  CLI::App* get =
      add_command(weights, "get", "Fetch weights into the cache, verify them, say where they are",
                  "  resnet weights get resnet50.tv2_in1k\n"
                  "  resnet weights get resnet50.tv2_in1k -o resnet50.safetensors");
  get->add_option("NAME", f->name, "As weights list has it")->required();
  get->add_option("-o,--out", f->out, "Also make this model file of them, for eval and predict");
  add_cache_flag(get, f->cache);
  add_json(*get, f->json, "One JSON object: name, path");
  on(get, get_weights);
}

}  // namespace resnet::cli
