// resnet export
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/fetch.h"
#include "cli/print.h"
#include "cli/progress.h"
#include "core/json_line.h"
#include "resnet/model_file.h"
#include "resnet/weights.h"

namespace resnet::cli {
namespace {

struct Flags {
  std::string model, to, out;
  OnnxExportOptions onnx;
  bool json = false;
};

int run(const Flags& f) {
  if (f.to == "torch") {
    require_extension("-o", f.out, {".pth", ".pt", ".th"});
  } else {
    require_extension("-o", f.out, {f.to == "onnx" ? ".onnx" : ".safetensors"});
  }
  ProgressLine line;
  const ModelFile model = open_model(f.model, line);
  if (f.to == "torch") {
    export_torch(f.out, model);
  } else if (f.to == "safetensors") {
    export_safetensors(f.out, model);
  } else {
    export_onnx(f.out, model, f.onnx);
  }
  if (f.json) {
    const nlohmann::json object{{"out", f.out},
                                {"to", f.to},
                                {"architecture", model.config.architecture},
                                {"classes", model.config.classes}};
    print_out("{}\n", AsIs{json_line(object)});
    return kSuccess;
  }
  print_out("{}\n", f.out);
  return kSuccess;
}

}  // namespace

void add_export(CLI::App& app, Action& action) {
  auto f = std::make_shared<Flags>();
  CLI::App* command =
      add_command(app, "export", "Write a model for other programs",
                  "  resnet export runs/c10 --to onnx -o c10.onnx\n"
                  "  resnet export c10-int8.safetensors --to onnx -o c10-int8.onnx   int8, too\n"
                  "  resnet export resnet50.safetensors --to torch -o resnet50.pth\n"
                  "In Python: torchvision.models.resnet50().load_state_dict(\n"
                  "               torch.load(\"resnet50.pth\", weights_only=True))");
  command
      ->add_option("MODEL", f->model,
                   "A model file, the folder of a run, or weights by name (resnet weights list)")
      ->required();
  command->add_option("--to", f->to, "onnx, torch or safetensors")->required();
  command->add_option("-o,--out", f->out, "The file to write")->required();
  command->add_flag("--fold-batch-norm", f->onnx.fold_batch_norm,
                    "onnx: into the convolutions; runtimes do that when they load");
  command->add_flag("--any-size", f->onnx.any_size, "onnx: images of any size");
  add_json(*command, f->json, "One JSON object: out, to, architecture, classes");
  command->callback([f, &action] { action = [f] { return run(*f); }; });
}

}  // namespace resnet::cli
