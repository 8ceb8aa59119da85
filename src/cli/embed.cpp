// resnet embed
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/images.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/stdin_paths.h"
#include "core/atomic_file.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json_line.h"
#include "core/text.h"
#include "formats/csv.h"
#include "formats/npy.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

namespace fs = std::filesystem;

struct Flags {
  std::string model, out, part = "val";
  std::vector<std::string> paths;
  DataSpec data;
  EmbedOptions options;
  ScaleFlag scale_16bit;
  bool no_pool = false;
  bool json = false;
};

std::string csv_of(const Embeddings& e, const std::vector<std::string>& labels) {
  const std::span<const float> values = e.features.as<float>();
  const std::size_t width = values.size() / e.names.size();
  std::string text = labels.empty() ? "path" : "path,label";
  for (std::size_t k = 0; k < width; ++k) text += fmt::format(",f{}", k);
  text += "\n";
  for (std::size_t i = 0; i < e.names.size(); ++i) {
    text += csv_field(e.names[i]);
    if (!labels.empty()) text += "," + csv_field(labels[i]);
    for (const float v : values.subspan(i * width, width)) text += fmt::format(",{}", v);
    text += "\n";
  }
  return text;
}

// What is named on the command line and on standard input, or comes from there.
DatasetPtr images_of(const Flags& f, std::vector<BadImage>& skipped) {
  std::vector<fs::path> paths;
  std::vector<EncodedImage> given;
  for (const std::string& p : f.paths) {
    if (p != "-") {
      paths.emplace_back(p);
      continue;
    }
    if (auto image = image_from(std::cin)) {
      given.push_back(*std::move(image));
      continue;
    }
    StdinPaths from_input(std::cin);
    for (std::string line; from_input.next(line);) {
      try {
        const auto found = list_images(line);
        if (found.empty()) fail(ErrorCode::kNotFound, "there are no images in this folder");
        std::ranges::copy(found, std::back_inserter(paths));
      } catch (const Error&) {
        skipped.push_back({.index = -1, .name = line, .reason = "no image, and no folder of them"});
      }
    }
  }
  if (paths.empty() && given.empty()) {
    fail(ErrorCode::kBadData, "standard input names no image, and is none");
  }
  return image_files(paths, std::move(given));
}

int run(Flags& f) {
  require_extension("-o", f.out, {".npy", ".csv"});
  // A pipe gets the table, which needs no other file beside it.
  const std::string extension =
      is_stream(f.out) ? ".csv" : lower(fs::path(f.out).extension().string());
  if (f.paths.empty() == f.data.source.empty()) {
    fail(ErrorCode::kInvalidArgument,
         "expected images or --data DATA, {} (see resnet embed --help)",
         f.paths.empty() ? "got neither" : "got both");
  }
  catch_signals();
  ProgressLine line;
  ModelFile model = open_model(f.model, line);
  f.scale_16bit.apply(model.preprocessing);
  f.options.eval.note = notes_to(line);
  f.options.pool = !f.no_pool;
  f.options.eval.stop = &stop_requested();
  f.options.eval.progress = [&](std::int64_t done, std::int64_t images) {
    line.show(static_cast<double>(done) / static_cast<double>(images),
              fmt::format("{}/{} images", done, images));
  };
  Embeddings e;
  std::vector<BadImage> skipped;
  std::vector<std::string> labels;
  if (f.data.source.empty()) {
    EmbedOptions options = f.options;
    options.eval.max_bad_fraction = 1;  // they are listed
    e = embed(model, images_of(f, skipped), options);
  } else {
    f.data.image_size = model.preprocessing.height;
    fetch_data(f.data, line);
    const DataSplits data = open_data(f.data);
    const DatasetPtr part = f.part == "train" ? data.train : data.val;
    e = embed(model, part, f.options);
    for (const int label : e.labels) {
      labels.push_back(part->class_names()[static_cast<std::size_t>(label)]);
    }
  }
  line.clear();
  skipped.insert(skipped.end(), e.skipped.begin(), e.skipped.end());
  for (const BadImage& b : skipped) line.print(fmt::format("skipped {}: {}", b.name, b.reason));

  if (extension == ".csv") {
    write_file_atomic(f.out, csv_of(e, labels));
  } else {
    std::string paths, names;
    for (const std::string& name : e.names) paths += one_line(name) + "\n";
    for (const std::string& label : labels) names += one_line(label) + "\n";
    write_file_atomic(fs::path(f.out).replace_extension(".paths.txt"), paths);
    if (!labels.empty()) write_file_atomic(fs::path(f.out).replace_extension(".labels.txt"), names);
    write_npy(f.out, e.features);
  }
  if (f.json) {
    nlohmann::json bad = nlohmann::json::array();
    for (const BadImage& b : skipped) bad.push_back({{"name", b.name}, {"reason", b.reason}});
    const nlohmann::json object{{"out", f.out},
                                {"layer", f.options.layer},
                                {"shape", e.features.shape()},
                                {"skipped", bad}};
    print_out("{}\n", AsIs{json_line(object)});
  } else {
    print_out("{}: {} images, {} features each\n", f.out, e.names.size(),
              e.features.as<float>().size() / e.names.size());
  }
  return skipped.empty() ? kSuccess : kBadData;
}

}  // namespace

void add_embed(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command = add_command(
      app, "embed", "Write the features that a network computes of images",
      "  resnet embed runs/flowers holiday-images/ -o features.npy\n"
      "  find . -name '*.jpg' | resnet embed runs/flowers - --layer layer3 -o features.csv\n"
      "  resnet embed runs/c10 --data cifar-10-binary.tar.gz --part train -o train.npy\n"
      "Beside features.npy lie features.paths.txt and, with --data, features.labels.txt: a line a "
      "row.\n"
      "Unreadable images have no row, go to standard error and make the exit code 4.");
  command
      ->add_option("MODEL", f->model,
                   "A model file, the folder of a run, or weights by name (resnet weights list)")
      ->required();
  command->add_option("PATH", f->paths,
                      "Images, folders of images, pipes; - for one image or paths from stdin");
  command->add_option("-o,--out", f->out, "A .npy or .csv file")->required();
  command->add_option("--layer", f->options.layer,
                      "A layer, block or stage (resnet summary lists them); default: what the head "
                      "reads");
  command->add_flag("--no-pool", f->no_pool,
                    "Do not average over the image: [n, channels, height, width]");
  command->add_option("--data", f->data.source, "Labelled images, as for train");
  command->add_option("--part", f->part, "Of DATA: train or val")->capture_default_str();
  command
      ->add_option("--val-fraction", f->data.val_fraction,
                   "Share of DATA held out for validation if it has no val/")
      ->capture_default_str();
  command->add_option("--seed", f->data.seed, "Of the split of DATA and of galaxies")
      ->capture_default_str();
  command->add_option("--batch-size", f->options.eval.batch_size, "Images a step")
      ->capture_default_str();
  add_scale_16bit(*command, f->scale_16bit);
  add_dtype(*command, f->options.eval.dtype);
  add_threads(*command, f->options.eval.threads);
  add_json(*command, f->json, "One JSON object: out, layer, shape, skipped");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
