// Writes a few sound inputs for each target: seeds FOLDER makes FOLDER/<target>/<seed>.
#include <cstdio>
#include <filesystem>
#include <string>

#include "core/file.h"
#include "formats/bytes.h"
#include "formats/npy.h"
#include "formats/onnx_file.h"
#include "formats/pack.h"
#include "formats/safetensors.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& folder, const std::string& name, const ByteVector& bytes) {
  fs::create_directories(folder);
  write_file_atomic(folder / name, bytes);
}

void write_seeds(const fs::path& root) {
  for (const TestPicture& p : kPictures) write(root / "picture", p.name, from_hex(p.file));

  fs::create_directories(root / "safetensors");
  write_safetensors(root / "safetensors" / "empty", {});
  write_safetensors(root / "safetensors" / "some",
                    {{"fc.weight", Tensor::full({2, 3}, 1)},
                     {"n", Tensor::zeros(DType::kI64, {})},
                     {"mask", Tensor::zeros(DType::kBool, {1, 0})}},
                    {{"architecture", "resnet18"}, {"classes", "[\"a\", \"\\u00e9\"]"}});

  fs::create_directories(root / "onnx");
  write_onnx(root / "onnx" / "small",
             {.producer_name = "seeds",
              .graph_name = "net",
              .nodes = {{.op = "Conv",
                         .inputs = {"x", "w"},
                         .outputs = {"y"},
                         .attributes = {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}},
                                        {"alpha", 0.5F},
                                        {"mode", std::string("constant")},
                                        {"value", Tensor::full({2}, 1)}}}},
              .initializers = {{"w", Tensor::full({2, 3, 1, 1}, 1)},
                               {"n", Tensor::zeros(DType::kI64, {2})}},
              .inputs = {{"x", DType::kF32, {{-1, "batch"}, {3, ""}}}},
              .outputs = {{"y", DType::kF32, {}}},
              .metadata = {{"architecture", "resnet8"}}});

  write(root / "cifar", "cifar10", ByteVector(2 * 3073, std::byte{9}));
  write(root / "cifar", "cifar100", ByteVector(3074, std::byte{19}));

  const ByteVector labels = from_hex(
      "00000801"
      "00000003"
      "010203");
  const ByteVector images = from_hex(
      "00000803"
      "00000002"
      "00000001"
      "00000002"
      "01020304");
  write(root / "idx", "labels", labels);
  write(root / "idx", "images", images);

  fs::create_directories(root / "npy");
  write_npy(root / "npy" / "f32", Tensor::full({2, 3}, 1));
  write_npy(root / "npy" / "i64", Tensor::zeros(DType::kI64, {1}));

  write(root / "table", "metrics", bytes_of("epoch,val_top1,lr\r\n1,0.5,1e-3\r\n2,nan,-inf\r\n"));
  write(root / "table", "empty", bytes_of("epoch"));

  const ByteVector text = bytes_of("hello, hello, hello, hello");
  write(root / "gunzip", "text", gzip(text));
  write(root / "gunzip", "zeros", gzip(ByteVector(100'000)));
  ByteVector two = gzip(text);
  const ByteVector second = gzip(labels);
  two.insert(two.end(), second.begin(), second.end());
  write(root / "gunzip", "two", two);

  const std::vector<PackedFile> files = {
      {"a/", {}, AE_IFDIR}, {"a/b.txt", text}, {"skip~", text}, {"link", {}, AE_IFLNK}, {"0", {}}};
  write(root / "archive", "tar", pack(Packing::kTar, files));
  write(root / "archive", "tar.gz", pack(Packing::kTarGz, files));
  write(root / "archive", "zip", pack(Packing::kZip, files));
}

}  // namespace
}  // namespace resnet

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: seeds FOLDER\n", stderr);
    return 2;
  }
  resnet::write_seeds(argv[1]);
}
