// resnet predict
#include <fmt/format.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/images.h"
#include "cli/print.h"
#include "cli/stdin_paths.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json_line.h"
#include "formats/image.h"
#include "resnet/predictor.h"

namespace resnet::cli {
namespace {

struct Flags {
  std::string model;
  std::vector<std::string> paths;
  int top = 3;
  EvalOptions options;
  ViewFlags views;
  ScaleFlag scale_16bit;
  bool json = false;
};

void print_bad(const Prediction& p) { print_err("resnet: {}: {}\n", p.path, p.error); }

void print(const Prediction& p) {
  std::string line = p.path.string() + ":";
  for (const ClassScore& c : p.classes) {
    line += fmt::format("  {} {:.1f} %", c.name, 100 * c.probability);
  }
  print_out("{}\n", line);
}

void print_json(const Prediction& p) {
  nlohmann::json object{{"path", p.path.string()}};
  if (!p.error.empty()) object["error"] = p.error;
  nlohmann::json classes = nlohmann::json::array();
  for (const ClassScore& c : p.classes) {
    classes.push_back({{"index", c.index}, {"name", c.name}, {"probability", c.probability}});
  }
  object["classes"] = classes;
  print_out("{}\n", AsIs{json_line(object)});
}

// An image from standard input, or paths, as many at a time as have arrived: a slow sender sees
// every prediction.
void predict_stream(Predictor& predictor, int top,
                    const std::function<void(const Prediction&)>& each) {
  if (auto image = image_from(std::cin)) {
    predictor.predict(image_files({}, {*std::move(image)}), top, each);
    return;
  }
  constexpr std::size_t kLot = 1024;
  std::vector<std::filesystem::path> lot;
  const auto flush = [&] {
    if (!lot.empty()) predictor.predict(lot, top, each);
    lot.clear();
  };
  StdinPaths paths(std::cin);
  for (std::string line; !stop_requested() && paths.next(line);) {
    try {
      if (list_images(line).empty()) {
        fail(ErrorCode::kNotFound, "there are no images in this folder");
      }
      lot.emplace_back(line);
    } catch (const Error&) {  // one wrong path does not end the stream
      flush();
      each({.path = line, .classes = {}, .error = "no image, and no folder of images"});
    }
    if (lot.size() >= kLot || std::cin.rdbuf()->in_avail() <= 0) flush();
  }
  flush();
}

// Of the image that stands for the others; {0, 0} when it cannot be read.
ImageSize size_of_first(const std::vector<std::filesystem::path>& paths) {
  try {
    for (const auto& path : paths) {
      const auto files = list_images(path);
      if (files.empty() || !std::filesystem::is_regular_file(files[0])) continue;
      const Image image = decode_image(read_file(files[0]), files[0].string(), ColorMode::kRgb);
      return {image.width, image.height};
    }
  } catch (const Error&) {  // said where it is predicted
  }
  return {};
}

int run(Flags& f) {
  catch_signals();
  f.options.views = f.views.views();
  ProgressLine line;
  f.options.stop = &stop_requested();
  f.options.note = notes_to(line);
  ModelFile model = open_model(f.model, line);
  f.scale_16bit.apply(model.preprocessing);
  const Preprocessing preprocessing = model.preprocessing;
  Predictor predictor(std::move(model), f.options);
  bool bad = false;
  const auto each = [&](const Prediction& p) {
    bad = bad || !p.error.empty();
    if (!p.error.empty()) print_bad(p);
    if (f.json) {
      print_json(p);
    } else if (p.error.empty()) {
      print(p);
    }
    std::fflush(stdout);
  };
  std::vector<std::filesystem::path> paths;
  bool stream = false;
  for (const std::string& p : f.paths) {
    if (p == "-") {
      stream = true;
    } else {
      paths.emplace_back(p);
    }
  }
  if (f.views.crops > 1 && f.options.scales.empty() && !paths.empty()) {
    note_equal_crops(f.views.crops, preprocessing, size_of_first(paths));
  }
  if (!paths.empty()) predictor.predict(paths, f.top, each);
  if (stream) predict_stream(predictor, f.top, each);
  if (stop_requested()) return kInterrupted;
  return bad ? kBadData : kSuccess;
}

}  // namespace

void add_predict(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, "predict", "Name what is in images",
                  "  resnet predict runs/flowers rose.jpg\n"
                  "  resnet predict runs/flowers holiday-images/ --top 1 --json\n"
                  "  find . -name '*.jpg' | resnet predict runs/flowers -\n"
                  "  curl -s https://example.org/rose.jpg | resnet predict runs/flowers -\n"
                  "Unreadable images go to standard error and make the exit code 4.");
  command
      ->add_option("MODEL", f->model,
                   "A model file, the folder of a run, or weights by name (resnet weights list)")
      ->required();
  command
      ->add_option("PATH", f->paths,
                   "Images, folders of images, pipes; - for one image or paths from stdin")
      ->required();
  command->add_option("--top", f->top, "Classes an image")->capture_default_str();
  command->add_option("--batch-size", f->options.batch_size, "Images a step")
      ->capture_default_str();
  add_views(*command, f->views, f->options.scales);
  add_scale_16bit(*command, f->scale_16bit);
  add_dtype(*command, f->options.dtype);
  add_threads(*command, f->options.threads);
  add_json(*command, f->json, "One JSON object a line: path, classes, and error if unreadable");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
