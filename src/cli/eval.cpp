// resnet eval
#include <fmt/format.h>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/images.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/file.h"
#include "formats/csv.h"
#include "resnet/train.h"

namespace resnet::cli {
namespace {

struct Flags {
  std::string model, data, predictions;
  std::uint64_t seed = 0;
  EvalOptions options;
  DataFetchFlags fetch;
  ViewFlags views;
  ScaleFlag scale_16bit;
  bool json = false;
};

// The classes that are mixed up most often.
void print_confusions(const EvalResult& r) {
  const std::size_t n = r.class_names.size();
  struct Pair {
    std::int64_t count;
    std::size_t truth, prediction;
  };
  std::vector<Pair> pairs;
  for (std::size_t t = 0; t < n; ++t) {
    for (std::size_t a = 0; a < n; ++a) {
      if (t != a && r.confusion[t * n + a] > 0) pairs.push_back({r.confusion[t * n + a], t, a});
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Pair& x, const Pair& y) { return x.count > y.count; });
  if (pairs.size() > 5) pairs.resize(5);
  if (!pairs.empty()) print_out("most frequent mistakes:\n");
  for (const Pair& p : pairs) {
    print_out("  {:>5}  {} taken for {}\n", p.count, r.class_names[p.truth],
              r.class_names[p.prediction]);
  }
}

void print_classes(const EvalResult& r) {
  const std::size_t n = r.class_names.size();
  if (n > 50) return;
  std::size_t width = 5;
  for (const std::string& name : r.class_names) width = std::max(width, printable(name).size());
  print_out("{:<{}}  {:>7}  {:>7}\n", "class", width, "images", "correct");
  for (std::size_t t = 0; t < n; ++t) {
    std::int64_t images = 0;
    for (std::size_t a = 0; a < n; ++a) images += r.confusion[t * n + a];
    if (images == 0) continue;
    print_out("{:<{}}  {:>7}  {:>5.1f} %\n", r.class_names[t], width, images,
              100.0 * static_cast<double>(r.confusion[t * n + t]) / static_cast<double>(images));
  }
}

int run(Flags& f) {
  catch_signals();
  if (!f.predictions.empty()) require_extension("--predictions", f.predictions, {".csv"});
  f.options.views = f.views.views();
  ProgressLine line;
  ModelFile model = open_model(f.model, line, f.fetch.cache);
  f.scale_16bit.apply(model.preprocessing);
  f.options.note = notes_to(line);
  f.options.stop = &stop_requested();
  f.options.progress = [&](std::int64_t done, std::int64_t images) {
    line.show(static_cast<double>(done) / static_cast<double>(images),
              fmt::format("{}/{} images", done, images));
  };
  DataSpec data{.source = f.data, .seed = f.seed};
  apply(f.fetch, data);
  fetch_data(data, line);
  if (data.image_size == 0) data.image_size = model.preprocessing.height;
  const DatasetPtr images = open_test_data(data, model.class_names);
  if (f.options.scales.empty()) {
    note_equal_crops(f.views.crops, model.preprocessing, images->image_size());
  }
  std::string table = "name,label,prediction,probability\n";
  if (!f.predictions.empty()) {
    f.options.each = [&](const LabelledPrediction& a) {
      const auto name = [&](int c) {
        return csv_field(model.class_names[static_cast<std::size_t>(c)]);
      };
      table += fmt::format("{},{},{},{:.6g}\n", csv_field(images->name(a.index)), name(a.label),
                           name(a.prediction), a.probability);
    };
  }
  const EvalResult r = evaluate(model, images, f.options);
  if (!f.predictions.empty()) write_file_atomic(f.predictions, table);
  line.clear();
  for (const BadImage& b : r.skipped) line.print(fmt::format("skipped {}: {}", b.name, b.reason));
  if (f.json) {
    print_out("{}\n", AsIs{to_json(r)});
    return kSuccess;
  }
  print_out("{} images: top-1 {:.2f} %, top-5 {:.2f} %, loss {:.4f} ({:.0f} images/s)\n", r.images,
            100 * r.top1, 100 * r.top5, r.loss, static_cast<double>(r.images) / r.seconds);
  print_classes(r);
  print_confusions(r);
  return kSuccess;
}

}  // namespace

void add_eval(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command = add_command(app, "eval", "Evaluate a model on labelled images",
                                  "  resnet eval runs/c10 cifar-10-binary.tar.gz\n"
                                  "  resnet eval model.safetensors flowers/val --json\n"
                                  "  resnet eval runs/c10 cifar10 --predictions predictions.csv");
  command
      ->add_option("MODEL", f->model,
                   "A model file, the folder of a run, or weights by name (resnet weights list)")
      ->required();
  command
      ->add_option("DATA", f->data,
                   "As for train; its val or test part where it has one, else all of it")
      ->required();
  command->add_option("--batch-size", f->options.batch_size, "Images a step")
      ->capture_default_str();
  command->add_option("--predictions", f->predictions,
                      "Write this CSV: name, label, prediction and probability of each image");
  add_views(*command, f->views, f->options.scales);
  add_scale_16bit(*command, f->scale_16bit);
  add_dtype(*command, f->options.dtype);
  add_threads(*command, f->options.threads);
  command
      ->add_option("--max-bad", f->options.max_bad_fraction,
                   "End when more than this share of images is unreadable")
      ->capture_default_str();
  command->add_option("--seed", f->seed, "The one given to train, which draws the galaxies")
      ->capture_default_str();
  add_data_fetch_flags(command, f->fetch);
  add_json(*command, f->json,
           "One JSON object: top1, top5, loss, images, …; accuracies are fractions");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
