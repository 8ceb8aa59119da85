// resnet data list | get | galaxies | pack | stats | check | tensor
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <limits>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/images.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "cli/values.h"
#include "core/check.h"
#include "core/file.h"
#include "core/json_line.h"
#include "formats/image.h"
#include "formats/npy.h"
#include "resnet/data.h"
#include "resnet/model_file.h"
#include "resnet/pack.h"

namespace resnet::cli {
namespace {

struct Flags {
  std::string source, out = "galaxies", part = "val";
  std::int64_t count = 100;
  int size = 32;
  double val_fraction = 0.2;
  std::uint64_t seed = 0;
  int threads = 2;
  bool json = false;
  std::vector<std::string> paths;
  std::string model, interpolation = "bilinear";
  Preprocessing preprocessing;
  bool as_stored = false;
  int tensor_size = 224;
  int crops = 1;
  bool flip = false;
  DataFetchFlags fetch;
  PackOptions pack;
  ScaleFlag scale_16bit;
  std::string pack_format = "raw";
};

int draw_galaxies(const Flags& f) {
  namespace fs = std::filesystem;
  const DataSplits splits = open_data(
      {.source = fmt::format("galaxies:{}={},size={},seed={}", f.part, f.count, f.size, f.seed)});
  const Dataset& data = f.part == "train" ? *splits.train : *splits.val;
  catch_signals();
  ProgressLine line;
  std::int64_t drawn = 0;
  for (std::int64_t i = 0; i < data.size() && !stop_requested(); ++i) {
    const std::string& name = data.class_names()[static_cast<std::size_t>(data.label(i))];
    const fs::path folder = fs::path(f.out) / name;
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) fail(ErrorCode::kIo, "cannot create {}: {}", folder.string(), error.message());
    write_file_atomic(folder / fmt::format("galaxy-{:06}.png", i), encode_png(data.image(i)));
    ++drawn;
    line.show(static_cast<double>(drawn) / static_cast<double>(data.size()),
              fmt::format("{}/{} galaxies", drawn, data.size()));
  }
  line.clear();
  if (drawn < data.size()) {
    fail(ErrorCode::kInterrupted, "interrupted after {} of {} galaxies", drawn, data.size());
  }
  if (f.json) {
    const nlohmann::json object{
        {"out", f.out}, {"images", data.size()}, {"classes", data.class_names()}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  print_out("{} galaxies of {} classes in {}\n", data.size(), data.class_names().size(), f.out);
  return kSuccess;
}

// What a network sees of images, for other programs.
int write_tensor(const Flags& f) {
  require_extension("--out", f.out, {".npy"});
  Preprocessing prep = f.preprocessing;
  if (!f.model.empty()) {
    prep = load_model(f.model).preprocessing;
  } else {
    prep.width = prep.height = f.tensor_size;
    prep.interpolation = parse_interpolation(f.interpolation);
    prep.upright = !f.as_stored;
  }
  f.scale_16bit.apply(prep);
  std::vector<std::filesystem::path> paths;
  std::vector<EncodedImage> given;
  for (const std::string& path : f.paths) {
    auto image = path == "-" ? image_from(std::cin) : std::nullopt;
    if (image) {
      given.push_back(*std::move(image));
    } else {
      paths.emplace_back(path);
    }
  }
  const DatasetPtr images = image_files(paths, std::move(given));
  const auto rows = images->size();
  LoaderOptions load = evaluation_options(static_cast<int>(std::min<std::int64_t>(rows, 16)),
                                          processors_or(f.threads));
  load.views = evaluation_views(f.crops, f.flip);
  load.max_bad_fraction = 1;
  Shape shape{rows, prep.channels, prep.height, prep.width};
  if (load.views.size() > 1) shape.insert(shape.begin() + 1, std::ssize(load.views));
  Tensor tensor(DType::kF32, shape);
  const std::span<float> out = tensor.as<float>();
  const std::size_t size = out.size() / static_cast<std::size_t>(rows);
  Loader loader(images, prep, Augmentation{}, load);
  catch_signals();
  ProgressLine line;
  std::size_t done = 0;
  Batch batch;
  loader.start_epoch(0);
  while (loader.next(batch)) {
    if (stop_requested()) fail(ErrorCode::kInterrupted, "interrupted after {} images", done);
    const std::span<const float> values = batch.images.as<float>();
    for (std::size_t row = 0; row < static_cast<std::size_t>(batch.count); ++row, ++done) {
      const std::span<float> to = out.subspan(done * size, size);
      if (batch.labels[row] < 0) {
        std::ranges::fill(to, std::numeric_limits<float>::quiet_NaN());
      } else {
        std::ranges::copy(values.subspan(row * size, size), to.begin());
      }
    }
    line.show(static_cast<double>(done) / static_cast<double>(rows),
              fmt::format("{}/{} images", done, rows));
  }
  const std::vector<BadImage> unreadable = loader.bad_images();
  for (const BadImage& b : unreadable) {
    line.print(fmt::format("unreadable: {}: {}", b.name, b.reason));
  }
  const std::string clipped = to_note(loader.clipped());
  if (!clipped.empty()) line.note("note: " + clipped);
  const std::int64_t bad = std::ssize(unreadable);
  line.clear();
  write_npy(f.out, tensor);
  if (f.json) {
    const nlohmann::json object{{"out", f.out}, {"shape", tensor.shape()}, {"unreadable", bad}};
    print_out("{}\n", AsIs{json_line(object)});
    return bad > 0 ? kBadData : kSuccess;
  }
  print_out("{} of {} images in {}{}\n", rows - bad, rows, f.out,
            bad > 0 ? "; rows of unreadable ones are NaN" : "");
  return bad > 0 ? kBadData : kSuccess;
}

Scale16Bit scale_of(const Flags& f) {
  Preprocessing p;
  f.scale_16bit.apply(p);
  return p.scale_16bit;
}

void note_clipped(const ClippedImages& clipped) {
  const std::string text = to_note(clipped);
  if (!text.empty()) note(text);
}

// The data of `stats` and `check`, fetched if that is asked for.
DataSplits open(const Flags& f) {
  DataSpec spec{.source = f.source, .seed = f.seed, .val_fraction = f.val_fraction};
  apply(f.fetch, spec);
  ProgressLine line;
  fetch_data(spec, line);
  return open_data(spec);
}

int pack(const Flags& f) {
  // Other endings are asked first what kind of data they are.
  require_extension("-o", f.out, {".pack", ".safetensors", ""});
  PackOptions options = f.pack;
  options.interpolation = parse_interpolation(f.interpolation);
  options.upright = !f.as_stored;
  options.scale_16bit = scale_of(f);
  options.format = parse_pack_format(f.pack_format);
  options.threads = processors_or(f.threads);
  options.stop = &stop_requested();
  catch_signals();
  ProgressLine line;
  DataSpec spec{.source = f.source, .seed = f.seed};
  apply(f.fetch, spec);
  fetch_data(spec, line);
  options.progress = [&](std::int64_t done, std::int64_t total) {
    line.show(static_cast<double>(done) / static_cast<double>(total),
              fmt::format("{}/{} images", done, total));
  };
  const PackReport r = pack_data(spec, f.out, options);
  line.clear();
  for (const BadImage& b : r.skipped) line.print(fmt::format("skipped {}: {}", b.name, b.reason));
  note_clipped(r.clipped);
  if (f.json) {
    nlohmann::json skipped = nlohmann::json::array();
    for (const BadImage& b : r.skipped) {
      skipped.push_back({{"name", b.name}, {"reason", b.reason}});
    }
    const nlohmann::json object{
        {"out", f.out}, {"images", r.images}, {"bytes", r.bytes}, {"skipped", skipped}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  print_out("{}\n{}: {} images, {}{}\n", r.description, f.out, r.images,
            format_bytes(static_cast<double>(r.bytes)),
            r.skipped.empty() ? "" : fmt::format("; {} skipped", r.skipped.size()));
  return kSuccess;
}

std::uint64_t size_of(const KnownData& data) {
  std::uint64_t total = 0;
  for (const KnownData::File& file : data.files) {
    if (file.download.size == 0) return 0;
    total += file.download.size;
  }
  return total;
}

int list_data(const Flags& f) {
  nlohmann::json list = nlohmann::json::array();
  for (const KnownData& data : known_data()) {
    const std::uint64_t size = size_of(data);
    if (!f.json) {
      print_out("{:<15} {}\n{:15} {}; licence: {}\n{:15} {}\n", data.name, data.title, "",
                size > 0 ? format_bytes(static_cast<double>(size)) : "size not known", data.licence,
                "", data.citation);
      continue;
    }
    nlohmann::json files = nlohmann::json::array();
    for (const KnownData::File& file : data.files) {
      files.push_back({{"url", file.download.url}, {"sha256", file.download.sha256}});
    }
    list.push_back({{"name", data.name},
                    {"title", data.title},
                    {"size", size > 0 ? nlohmann::json(size) : nlohmann::json()},
                    {"licence", data.licence},
                    {"citation", data.citation},
                    {"files", files}});
  }
  if (f.json) print_out("{}\n", AsIs{json_line(list)});
  return kSuccess;
}

int get_known_data(const Flags& f) {
  ProgressLine line;
  const std::filesystem::path path = get_data(f.source, download_options(line, f.fetch.cache));
  line.clear();
  if (f.json) {
    const nlohmann::json object{{"name", f.source}, {"path", path.string()}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  print_out("{}\n", path.string());
  return kSuccess;
}

int print_statistics(const Flags& f) {
  const DataSplits splits = open(f);
  const Statistics s = measure_statistics(*splits.train, processors_or(f.threads), scale_of(f));
  note_clipped(s.clipped);
  if (f.json) {
    const nlohmann::json object{{"mean", s.mean},
                                {"std", s.std},
                                {"images", s.images},
                                {"unreadable", s.unreadable},
                                {"classes", splits.train->class_names()},
                                {"train", splits.train->size()},
                                {"val", splits.val->size()}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  print_out("{}\n", splits.description);
  print_out("mean  {:.4f}, {:.4f}, {:.4f}\n", s.mean[0], s.mean[1], s.mean[2]);
  print_out("std   {:.4f}, {:.4f}, {:.4f}\n", s.std[0], s.std[1], s.std[2]);
  print_out("over the {} readable training images{}\n", s.images,
            s.unreadable > 0 ? fmt::format("; {} cannot be read", s.unreadable) : "");
  return kSuccess;
}

nlohmann::json part_json(const PartReport& r, const std::vector<std::string>& classes) {
  nlohmann::json counts = nlohmann::json::object(), bad = nlohmann::json::array();
  for (std::size_t c = 0; c < classes.size(); ++c) counts[classes[c]] = r.class_counts[c];
  for (const BadImage& b : r.bad) bad.push_back({{"name", b.name}, {"reason", b.reason}});
  return {{"classes", counts},
          {"unreadable", bad},
          {"smallest", {r.smallest.width, r.smallest.height}},
          {"largest", {r.largest.width, r.largest.height}}};
}

void print_part(const char* title, const PartReport& r, const std::vector<std::string>& classes) {
  std::int64_t total = 0;
  for (const std::int64_t n : r.class_counts) total += n;
  print_out("{}: {} images, {}x{} to {}x{}\n", title, total, r.smallest.width, r.smallest.height,
            r.largest.width, r.largest.height);
  for (std::size_t c = 0; c < classes.size(); ++c) {
    print_out("  {:>7}  {}\n", r.class_counts[c], classes[c]);
  }
  for (const BadImage& b : r.bad) print_out("  unreadable: {}: {}\n", b.name, b.reason);
}

int check(const Flags& f) {
  const DataSplits splits = open(f);
  const DataReport r = check_data(splits, processors_or(f.threads), scale_of(f));
  note_clipped(r.train.clipped);
  note_clipped(r.val.clipped);
  const std::vector<std::string>& classes = splits.train->class_names();
  if (f.json) {
    const nlohmann::json object{{"train", part_json(r.train, classes)},
                                {"val", part_json(r.val, classes)},
                                {"duplicates", r.duplicates}};
    print_out("{}\n", AsIs{json_line(object)});
  } else {
    print_out("{}\n", splits.description);
    print_part("train", r.train, classes);
    print_part("val", r.val, classes);
    for (const auto& [train, val] : r.duplicates) {
      print_out("  in both parts: {} and {}\n", train, val);
    }
    const std::size_t bad = r.train.bad.size() + r.val.bad.size();
    print_out("{} unreadable, {} in both parts\n", bad, r.duplicates.size());
  }
  return r.train.bad.empty() && r.val.bad.empty() ? kSuccess : kBadData;
}

}  // namespace

void add_data(CLI::App& app, Action& action) {
  CLI::App* data =
      add_command(app, "data", "Fetch, draw, pack, measure and check data sets, preprocess images",
                  "  resnet data list\n"
                  "  resnet data get cifar10\n"
                  "  resnet data galaxies --out galaxies/ --count 700\n"
                  "  resnet data pack photos/ -o photos.pack\n"
                  "  resnet data stats flowers/\n"
                  "  resnet data check flowers/");
  data->require_subcommand(1);
  auto f = std::make_shared<Flags>();
  const auto on = [&](CLI::App* command, int (*work)(const Flags&)) {
    command->callback([f, work, &action] { action = [f, work] { return work(*f); }; });
  };

  const auto add_scale = [&](CLI::App* command) { add_scale_16bit(*command, f->scale_16bit); };

  CLI::App* list = add_command(*data, "list", "The data sets that are known by name",
                               "  resnet data list --json");
  add_json(*list, f->json, "One JSON array");
  on(list, list_data);

  CLI::App* get =
      add_command(*data, "get", "Fetch a data set into the cache, verify it, say where it is",
                  "  resnet data get cifar10");
  get->add_option("NAME", f->source, "As data list has it")->required();
  add_cache_flag(get, f->fetch.cache);
  add_json(*get, f->json, "One JSON object: name, path");
  on(get, get_known_data);

  CLI::App* galaxies = add_command(*data, "galaxies", "Draw galaxies as PNG, one folder a class",
                                   "  resnet data galaxies --out galaxies/ --count 700 --size 128");
  galaxies->add_option("--out", f->out, "Folder")->capture_default_str();
  galaxies->add_option("--count", f->count, "Images in all")->capture_default_str();
  galaxies->add_option("--size", f->size, "Side in pixels; train takes 32, too")
      ->capture_default_str();
  galaxies->add_option("--part", f->part, "The images that train would use: train or val")
      ->capture_default_str();
  galaxies->add_option("--seed", f->seed, "Other galaxies")->capture_default_str();
  add_json(*galaxies, f->json, "One JSON object: out, images, classes");
  on(galaxies, draw_galaxies);

  CLI::App* packs = add_command(
      *data, "pack", "Put a data set into one file of resized images that is fast to read",
      "  resnet data pack photos/ -o photos.pack\n"
      "  resnet train photos.pack --arch resnet50\n"
      "  resnet data pack imagenet/ -o imagenet.pack --shorter-side 320 --format jpeg --threads 8\n"
      "Raw pixels evaluate to the same bits as the images themselves if the network resizes to "
      "the\nsame length. Unreadable images are left out and go to standard error. The file has "
      "its name\nwhen it is complete.");
  packs->add_option("DATA", f->source, "As for train; all its parts are packed")->required();
  packs->add_option("-o,--out", f->out, "The file to write")->required();
  CLI::Option* shorter = packs
                             ->add_option("--shorter-side", f->pack.shorter_side,
                                          "Shrink images whose shorter side is longer; 0: none")
                             ->capture_default_str();
  packs->add_option("--size", f->pack.size, "Squares of this side, resized and cut from the centre")
      ->excludes(shorter);
  packs
      ->add_option("--format", f->pack_format,
                   "raw: exact; jpeg: a tenth of the room, to be decoded again")
      ->capture_default_str();
  packs->add_option("--quality", f->pack.quality, "Of jpeg")->capture_default_str();
  packs->add_option("--interpolation", f->interpolation, "nearest, bilinear or bicubic")
      ->capture_default_str();
  packs->add_flag("--as-stored", f->as_stored, "Do not turn by EXIF orientation");
  add_threads(*packs, f->threads, "Images that are worked on at once; 0: all processors");
  packs->add_option("--seed", f->seed, "Of galaxies")->capture_default_str();
  add_scale(packs);
  add_data_fetch_flags(packs, f->fetch);
  add_json(*packs, f->json, "One JSON object: out, images, bytes, skipped");
  on(packs, pack);

  CLI::App* stats = add_command(*data, "stats", "Measure mean and standard deviation",
                                "  resnet data stats flowers/ --json");
  CLI::App* checks =
      add_command(*data, "check",
                  "Decode every image; list what is unreadable or in both parts (exit 4 if any "
                  "is unreadable)",
                  "  resnet data check flowers/");
  for (CLI::App* command : {stats, checks}) {
    command->add_option("DATA", f->source, "As for train")->required();
    command->add_option("--seed", f->seed, "Of the split")->capture_default_str();
    command
        ->add_option("--val-fraction", f->val_fraction,
                     "Share held out for validation if the data has no val/")
        ->capture_default_str();
    add_threads(*command, f->threads, "Images that are decoded at once; 0: all processors");
    add_scale(command);
    add_data_fetch_flags(command, f->fetch);
    add_json(*command, f->json);
  }
  on(stats, print_statistics);
  on(checks, check);

  CLI::App* tensor = add_command(
      *data, "tensor", "Write what a network sees of images as a NumPy array",
      "  resnet data tensor flowers/ --model runs/flowers --out flowers.npy\n"
      "  resnet data tensor a.jpg b.png --size 224 --resize 256 --as-stored --out ab.npy\n"
      "The array is [images, channels, height, width], in the order of the paths, f32; with "
      "several "
      "crops\n[images, crops, channels, height, width].");
  tensor->add_option("PATH", f->paths, "Images, folders of images, pipes; - for one from stdin")
      ->required();
  tensor->add_option("-o,--out", f->out, "The .npy file")->required();
  CLI::Option* model =
      tensor->add_option("--model", f->model, "Preprocess as this model file or run does");
  const auto setting = [&](CLI::Option* option) { option->capture_default_str()->excludes(model); };
  Preprocessing& p = f->preprocessing;
  setting(tensor->add_option("--size", f->tensor_size, "Side of the crop"));
  setting(
      tensor->add_option("--resize", p.resize, "Length of the shorter side before; 0: as it is"));
  setting(tensor->add_option("--interpolation", f->interpolation, "nearest, bilinear or bicubic"));
  setting(tensor->add_option("--channels", p.channels, "3: RGB, 1: grey"));
  const auto colour = [&](const char* name, std::array<float, 3>& value) {
    tensor
        ->add_option_function<std::string>(
            name, [&value](const std::string& text) { value = per_channel(text); },
            "Of values in 0 to 1: R,G,B, or one for all; default: ImageNet's")
        ->excludes(model);
  };
  colour("--mean", p.mean);
  colour("--std", p.std);
  tensor->add_flag("--as-stored", f->as_stored, "Do not turn by EXIF orientation")->excludes(model);
  tensor
      ->add_option("--crops", f->crops, "1: centre; 5: and corners; 10: and of the mirrored image")
      ->capture_default_str();
  tensor->add_flag("--flip", f->flip, "Also of the mirrored image");
  add_threads(*tensor, f->threads, "Images that are decoded at once; 0: all processors");
  add_scale(tensor);
  add_json(*tensor, f->json, "One JSON object: out, shape, unreadable");
  on(tensor, write_tensor);
}

}  // namespace resnet::cli
