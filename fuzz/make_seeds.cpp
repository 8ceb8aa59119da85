// Writes a few sound inputs for each target: seeds FOLDER makes FOLDER/<target>/<seed>.
#include <fitsio.h>
#include <hdf5.h>

#include <cstdio>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "core/check.h"
#include "core/file.h"
#include "formats/bytes.h"
#include "formats/image.h"
#include "formats/npy.h"
#include "formats/onnx_file.h"
#include "formats/pack.h"
#include "formats/pickles.h"
#include "formats/safetensors.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& folder, const std::string& name, const ByteVector& bytes) {
  fs::create_directories(folder);
  write_file_atomic(folder / name, bytes);
}

/// A zip archive without checksums, as PyTorch may be told to write it, so that changes get past
/// them.
ByteVector without_checksums(ByteVector zip) {
  std::string text(reinterpret_cast<const char*>(zip.data()), zip.size());
  for (const auto& [signature, offset] : {std::pair("PK\1\2", 16), std::pair("PK\3\4", 14)}) {
    for (std::size_t at = 0; (at = text.find(signature, at)) != text.npos; ++at) {
      std::fill_n(zip.begin() + static_cast<std::ptrdiff_t>(at) + offset, 4, std::byte{});
    }
  }
  return zip;
}

void write_torch_seeds(const fs::path& root) {
  using namespace pickles;
  const fs::path golden = RESNET_TORCH_FILES;
  for (const char* name : {"zip.pth", "protocol4.pth"}) {
    const ByteVector zip = read_file(golden / name);
    write(root / "torch_file", name, without_checksums(zip));
  }
  const ByteVector legacy = read_file(golden / "legacy.pth");
  const auto magic = static_cast<std::ptrdiff_t>(kLegacyMagic.size());
  write(root / "torch_file", "legacy", {legacy.begin() + magic, legacy.end()});

  // The smallest of both kinds.
  const std::string object = dict("w", tensor({{2, 2}, {1, 2}})) + ".";
  const std::string storage(16, '\0');
  write_archive(root / "torch_file" / "small", object, {storage}, {{"m/byteorder", "big"}});
  write(root / "torch_file", "small", without_checksums(read_file(root / "torch_file" / "small")));
  write(root / "torch_file", "small_legacy",
        bytes_of("M\xe9\3.}." + object + "]" + text("0") + "a." + number(4, 8) + storage));

  // Objects that are not understood, beside a tensor and around one; and a deflated archive.
  const std::string thing = global("some.place", "Thing");
  const std::string opaque = "}" + text("w") + tensor({{2, 2}, {1, 2}}) + "s" + text("a") + thing +
                             "K\1\x85RNbs" + text("b") + global("__builtin__", "getattr") + thing +
                             text("Inner") + "\x86R)\x81" + text("k") + "K\1ss" + text("c") +
                             thing + tensor({{2}, {1}}) + "\x85}" + text("k") + "Ns\x92s.";
  write_archive(root / "torch_file" / "opaque", opaque, {storage});
  write(root / "torch_file", "opaque",
        without_checksums(read_file(root / "torch_file" / "opaque")));
  write(root / "torch_file", "deflated",
        pack(Packing::kZip, {{"m/data.pkl", bytes_of(object)}, {"m/data/0", bytes_of(storage)}}));
  write(root / "pickle", "opaque", bytes_of(opaque));

  write(root / "pickle", "object", bytes_of(object));
  write(root / "pickle", "protocol4",
        bytes_of("\x80\4\x95" + number(14, 8) +
                 "}\x94\x8c\1a\x94K\1\x85\x94"
                 "C\1bu."));
  write(root / "pickle", "stack_global",
        bytes_of("\x8c\x0b"
                 "collections\x8c\x0bOrderedDict\x93)\x81]K\1a}b."));
  write(root / "pickle", "numbers", bytes_of("(I01\nL5L\nF1.5\nM\1\2J\1\2\3\4\x8a\1\x80\x88Nl."));
  write(root / "pickle", "cycle", bytes_of("]q\1h\1a."));
}

/// Two images of 2 x 1 pixels, raw and as JPEG; as src/data/pack.cpp lays them out.
void write_pack_seeds(const fs::path& root) {
  fs::create_directories(root / "pack");
  for (const bool jpeg : {false, true}) {
    Image image(2, 1, 3);
    const ByteVector coded = encode_jpeg(image, 90);
    const auto length = static_cast<std::int64_t>(jpeg ? coded.size() : image.pixels.size());
    Tensor images = Tensor::zeros(DType::kU8, {2 * length});
    if (jpeg) {
      std::copy(coded.begin(), coded.end(), images.raw());
      std::copy(coded.begin(), coded.end(), images.raw() + length);
    }
    const auto integers = [](DType dtype, const Shape& shape, std::vector<std::int64_t> values) {
      Tensor tensor(dtype, shape);
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (dtype == DType::kI64) tensor.as<std::int64_t>()[i] = values[i];
        if (dtype == DType::kI32) tensor.as<std::int32_t>()[i] = static_cast<int>(values[i]);
      }
      return tensor;
    };
    write_safetensors(root / "pack" / (jpeg ? "jpeg" : "raw"),
                      {{"train.images", images},
                       {"train.offsets", integers(DType::kI64, {3}, {0, length, 2 * length})},
                       {"train.sizes", integers(DType::kI32, {2, 3}, {1, 2, 3, 1, 2, 3})},
                       {"train.labels", integers(DType::kI32, {2}, {0, 1})},
                       {"train.names", Tensor::zeros(DType::kU8, {2})},
                       {"train.name_offsets", integers(DType::kI64, {3}, {0, 1, 2})}},
                      {{"format", "resnet pack"},
                       {"version", "2"},
                       {"images", jpeg ? "jpeg" : "raw"},
                       {"classes", R"(["a","b"])"},
                       {"title", "seed"}});
  }
}

/// By the libraries that will read them.
void write_science_seeds(const fs::path& root) {
  fs::create_directories(root / "fits");
  std::vector<short> shorts(32 * 16);
  for (std::size_t i = 0; i < shorts.size(); ++i) shorts[i] = static_cast<short>(i * 37 % 101);
  std::vector<float> floats(shorts.begin(), shorts.end());
  for (const int compression : {0, RICE_1, GZIP_1, GZIP_2}) {
    for (const int bits : {SHORT_IMG, FLOAT_IMG}) {
      const auto path = root / "fits" / fmt::format("{}_{}", compression, bits);
      fs::remove(path);
      fitsfile* file = nullptr;
      int status = 0;
      long size[2] = {32, 16};
      fits_create_file(&file, path.c_str(), &status);
      if (compression != 0) fits_set_compression_type(file, compression, &status);
      fits_create_img(file, bits, 2, size, &status);
      fits_write_img(file, bits == SHORT_IMG ? TSHORT : TFLOAT, 1, 32 * 16,
                     bits == SHORT_IMG ? static_cast<void*>(shorts.data()) : floats.data(),
                     &status);
      fits_close_file(file, &status);
      if (status != 0) throw std::runtime_error("fits");
    }
  }
  fs::create_directories(root / "hdf5");
  for (const bool packed : {false, true}) {
    const auto path = root / "hdf5" / (packed ? "packed" : "plain");
    const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t size[] = {6, 4, 4};
    const hsize_t chunk[] = {4, 2, 2};
    if (packed) {
      H5Pset_chunk(plist, 3, chunk);
      H5Pset_shuffle(plist);
      H5Pset_deflate(plist, 6);
    }
    const std::vector<std::uint8_t> pixels(96, 7);
    for (const int rank : {3, 1}) {
      const hid_t space = H5Screate_simple(rank, size, nullptr);
      const hid_t data = H5Dcreate2(file, rank == 3 ? "x" : "y", H5T_STD_U8LE, space, H5P_DEFAULT,
                                    rank == 3 ? plist : H5P_DEFAULT, H5P_DEFAULT);
      H5Dwrite(data, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, pixels.data());
      H5Dclose(data);
      H5Sclose(space);
    }
    H5Pclose(plist);
    H5Fclose(file);
  }
}

void write_seeds(const fs::path& root) {
  write_torch_seeds(root);
  for (const TestImage& p : kImages) write(root / "image", p.name, from_hex(p.file));

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

  // A little of everything that a network may have; too small to be one.
  using Ints = std::vector<std::int64_t>;
  const auto list = [](const Ints& v) {
    return Tensor::from<std::int64_t>({std::ssize(v)}, std::span(v));
  };
  fs::create_directories(root / "onnx_graph");
  write_onnx(
      root / "onnx_graph" / "small",
      {.nodes = {{.op = "Identity", .inputs = {"v"}, .outputs = {"v2"}},
                 {.op = "Conv",
                  .inputs = {"x", "w", "v2"},
                  .outputs = {"a"},
                  .attributes = {{"pads", Ints{1, 1, 1, 1}}, {"strides", Ints{1, 1}}}},
                 {.op = "BatchNormalization",
                  .inputs = {"a", "v", "v", "v", "v"},
                  .outputs = {"b"}},
                 {.op = "Relu", .inputs = {"b"}, .outputs = {"c"}},
                 {.op = "MaxPool",
                  .inputs = {"c"},
                  .outputs = {"d"},
                  .attributes = {{"kernel_shape", Ints{3, 3}}, {"pads", Ints{1, 1, 1, 1}}}},
                 {.op = "Slice", .inputs = {"d", "zero", "end", "two", "two"}, .outputs = {"e"}},
                 {.op = "ConstantOfShape", .inputs = {"two"}, .outputs = {"f"}},
                 {.op = "Concat",
                  .inputs = {"pad", "two"},
                  .outputs = {"g"},
                  .attributes = {{"axis", std::int64_t{0}}}},
                 {.op = "Pad", .inputs = {"e", "pad"}, .outputs = {"h"}},
                 {.op = "Add", .inputs = {"h", "h"}, .outputs = {"i"}},
                 {.op = "GlobalAveragePool", .inputs = {"i"}, .outputs = {"j"}},
                 {.op = "Flatten", .inputs = {"j"}, .outputs = {"k"}},
                 {.op = "MatMul", .inputs = {"k", "m"}, .outputs = {"l"}},
                 {.op = "Add", .inputs = {"l", "v"}, .outputs = {"y"}}},
       .initializers = {{"w", Tensor::full({2, 1, 3, 3}, 1)},
                        {"v", Tensor::full({2}, 1)},
                        {"m", Tensor::full({4, 2}, 1)},
                        {"zero", list({0})},
                        {"end", list({INT64_MAX})},
                        {"two", list({2})},
                        {"pad", list({0, 1, 0, 0, 0, 1, 0, 0})}},
       .inputs = {{"x", DType::kF32, {{-1, "batch"}, {1, ""}, {8, ""}, {8, ""}}}},
       .outputs = {{"y", DType::kF32, {}}}});

  // As tf2onnx writes Keras' networks, with its weights in nodes.
  const auto constant = [](const char* name, const char* attribute, OnnxAttribute value) {
    return OnnxNode{.op = "Constant", .outputs = {name}, .attributes = {{attribute, value}}};
  };
  const OnnxModel keras{
      .nodes = {constant("w", "value", Tensor::full({1, 1, 1, 2}, 1)),
                constant("v", "value_floats", std::vector<float>{1, 2}),
                constant("pad", "value_ints", Ints{0, 1, 1, 0, 0, 1, 1, 0}),
                constant("zero", "value_float", 0.0F),
                constant("one", "value_int", Ints::value_type{1}),
                constant("text", "value_string", std::string("none")),
                {.op = "Transpose",
                 .inputs = {"w"},
                 .outputs = {"oihw"},
                 .attributes = {{"perm", Ints{3, 2, 0, 1}}}},
                {.op = "Pad", .inputs = {"x", "pad", "zero"}, .outputs = {"a"}},
                {.op = "Transpose",
                 .inputs = {"a"},
                 .outputs = {"b"},
                 .attributes = {{"perm", Ints{0, 3, 1, 2}}}},
                {.op = "Conv",
                 .inputs = {"b", "oihw"},
                 .outputs = {"c"},
                 .attributes = {{"auto_pad", std::string("SAME_UPPER")}, {"strides", Ints{2, 2}}}},
                {.op = "Transpose",
                 .inputs = {"c"},
                 .outputs = {"d"},
                 .attributes = {{"perm", Ints{0, 2, 3, 1}}}},
                {.op = "Mul", .inputs = {"d", "v"}, .outputs = {"e"}},
                {.op = "Add", .inputs = {"e", "v"}, .outputs = {"f"}},
                {.op = "Relu", .inputs = {"f"}, .outputs = {"g"}},
                {.op = "ReduceMean",
                 .inputs = {"g"},
                 .outputs = {"h"},
                 .attributes = {{"axes", Ints{1, 2}}, {"keepdims", std::int64_t{0}}}},
                {.op = "Transpose", .inputs = {"m"}, .outputs = {"n"}},
                {.op = "MatMul", .inputs = {"h", "n"}, .outputs = {"y"}}},
      .initializers = {{"m", Tensor::full({3, 2}, 1)}},
      .inputs = {{"x", DType::kF32, {{-1, "batch"}, {8, ""}, {8, ""}, {1, ""}}}},
      .outputs = {{"y", DType::kF32, {}}}};
  for (const char* target : {"onnx", "onnx_graph"}) write_onnx(root / target / "keras", keras);

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
  write(root / "kernel_table", "two",
        bytes_of("resnet kernels 1\nconv2d x [1, 16, 8, 8]\twinograd-4\nconv2d y\tblocked\n"));

  write(root / "timm_config", "resnet50d",
        bytes_of(R"({"architecture":"resnet50d","num_classes":2,"pretrained_cfg":{"input_size":)"
                 R"([3,224,224],"crop_pct":0.95,"interpolation":"bicubic","mean":[0.485,0.456,)"
                 R"(0.406],"std":[0.229,0.224,0.225],"label_names":["a","b"]}})"));
  // fuzz_model_file: after "int8" the bytes of scales, 1 each; then as in regressions/model_file.
  const std::string description =
      "resnet8\n"
      R"({"channels":3,"dropout":0.0,"head_hidden":0,"image_size":32,"layers_per_skip":0,)"
      R"("shortcut":"default","splice":"","stride_on_first_1x1":false,"zero_gamma":false})"
      "\n"
      R"({"channels":3,"height":32,"interpolation":"bicubic","mean":[0.485,0.456,0.406],)"
      R"("resize":36,"std":[0.229,0.224,0.225],"width":40})"
      "\n"
      R"(["a","b"])"
      "\n"
      R"({"data":"x","top1":"0.9"})";
  write(root / "model_file", "int8", bytes_of("int8 \n" + description));
  std::string scales = "int8 ";
  for (int i = 0; i < 64; ++i) scales += std::string("\0\0\x80\x3f", 4);
  write(root / "model_file", "int8_scales", bytes_of(scales + "\n" + description));
  write(root / "shard_index", "two",
        bytes_of(R"({"metadata":{"total_size":9},"weight_map":{"a":"m-1-of-2.bin","b":"c"}})"));
  write(root / "shard_index", "twice", bytes_of(R"({"weight_map":{"a":"x","a":"y"}})"));
  write(root / "shard_index", "name", bytes_of("model-00001-of-00003.safetensors"));
  write(root / "csv", "semicolons", bytes_of("\xef\xbb\xbfpath;label\ra,1.png;\"a;b\"\r"));
  write(root / "csv", "tabs", bytes_of("path\tlabel\n1.png\tcat\n"));
  write(root / "csv", "bars", bytes_of("1.png|a,b|train\n2.png|c|val\n"));
  write(root / "csv", "utf16",
        bytes_of(std::string("\xff\xfe"
                             "a\0,\0b\0",
                             8)));
  write(root / "csv", "quoted", bytes_of("path,label\r\n\"a,1.png\",\"say \"\"cat\"\"\"\n\nb,c"));

  write_pack_seeds(root);
  write_science_seeds(root);

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

  const std::vector<PackedFile> samples = {{"d/1.jpg", text},
                                           {std::string(200, 'l') + ".cls", text}};
  write(root / "tar", "pax", pack(Packing::kTar, samples));
  write(root / "tar", "gnu", pack(Packing::kTarGnu, samples));
  write(root / "tar", "ustar", pack(Packing::kTarUstar, {{"1.cls", labels}}));
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
