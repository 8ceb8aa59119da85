#include "formats/torch_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "formats/memory.h"
#include "formats/pack.h"
#include "formats/pickles.h"
#include "formats/support.h"

namespace resnet {
namespace {

constexpr std::array kDTypes = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16, DType::kI8,
                                DType::kU8,  DType::kI32, DType::kI64, DType::kBool};

void expect_same(const Tensor& a, const Tensor& b, const std::string& name) {
  EXPECT_EQ(a.dtype(), b.dtype()) << name;
  EXPECT_EQ(a.shape(), b.shape()) << name;
  ASSERT_EQ(a.bytes(), b.bytes()) << name;
  if (a.bytes() > 0) {
    EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << name;
  }
}

TEST(TorchFile, ReadsBackWhatItWrote) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.pth";
  std::map<std::string, Tensor> tensors;
  for (const DType dtype : kDTypes) {
    Tensor t(dtype, {3, 5, 2});
    for (std::size_t k = 0; k < t.bytes(); ++k) t.raw()[k] = static_cast<std::byte>(k * 31 + 7);
    tensors["layer1.0." + std::string(name_of(dtype))] = t;
  }
  tensors["scalar"] = Tensor::full({}, 3);
  tensors["nothing"] = Tensor(DType::kF32, {0, 4});
  tensors["ünïcode \"quoted\"\n"] = Tensor::full({2}, 1.5F);
  write_torch_file(path, tensors);

  const WeightsFile file = read_weights(path);
  EXPECT_EQ(file.format, "PyTorch zip");
  EXPECT_TRUE(file.metadata.empty());
  ASSERT_EQ(file.entries.size(), tensors.size());
  ASSERT_EQ(file.tensors.size(), tensors.size());
  auto entry = file.entries.begin();
  for (const auto& [name, t] : tensors) {
    expect_same(file.tensors.at(name), t, name);
    EXPECT_EQ(entry->name, name);
    EXPECT_EQ(entry->dtype, t.dtype());
    EXPECT_EQ((entry++)->shape, t.shape());
  }
  const WeightsFile description = describe_weights(path);
  EXPECT_EQ(description.entries.size(), tensors.size());
  EXPECT_TRUE(description.tensors.empty());
}

TEST(TorchFile, RefusesToWriteANameThatIsNotUtf8) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "m.pth";
  expect_error(ErrorCode::kInvalidArgument, {"m.pth", "\\xff"}, [&] {
    write_torch_file(path, {{"a\xff", Tensor::full({}, 1)}});
  });
  EXPECT_FALSE(std::filesystem::exists(path));
}

std::vector<float> floats(const Tensor& t) {
  const Tensor f = t.cast(DType::kF32);
  return {f.as<float>().begin(), f.as<float>().end()};
}

/// What make_torch_files.py puts into each of its checkpoints.
void expect_checkpoint(const WeightsFile& file) {
  using Floats = std::vector<float>;
  const auto at = [&](const std::string& name) {
    return file.tensors.at("state_dict.module." + name);
  };
  Floats x(24);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  EXPECT_EQ(at("conv1.weight").shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(floats(at("conv1.weight")), x);
  EXPECT_EQ(at("conv1.tied").raw(), at("conv1.weight").raw());  // one tensor
  EXPECT_EQ(at("transposed").shape(), (Shape{4, 3, 2}));
  EXPECT_EQ(floats(at("transposed")), (Floats{0, 12, 4, 16, 8,  20, 1, 13, 5, 17, 9,  21,
                                              2, 14, 6, 18, 10, 22, 3, 15, 7, 19, 11, 23}));
  EXPECT_EQ(floats(at("slice")), (Floats{16, 18, 20, 22}));
  EXPECT_EQ(floats(at("expanded")), (Floats{0, 0, 0}));
  EXPECT_EQ(floats(at("parameter")), (Floats{0.5F, 0.5F}));
  EXPECT_EQ(at("num_batches_tracked").shape(), Shape{});
  EXPECT_EQ(at("num_batches_tracked").as<std::int64_t>()[0], 7);
  EXPECT_EQ(at("nothing").shape(), (Shape{0, 3}));
  const std::pair<const char*, DType> kinds[] = {
      {"float64", DType::kF64}, {"float16", DType::kF16}, {"bfloat16", DType::kBF16},
      {"int8", DType::kI8},     {"uint8", DType::kU8},    {"int32", DType::kI32},
      {"int64", DType::kI64}};
  for (const auto& [name, dtype] : kinds) {
    EXPECT_EQ(at(name).dtype(), dtype);
    EXPECT_EQ(floats(at(name)), (Floats{3, 2, 1, 0, 1, 2, 3})) << name;
  }
  EXPECT_EQ(at("bool").dtype(), DType::kBool);
  EXPECT_EQ(floats(at("bool")), (Floats{1, 0, 1}));
  EXPECT_EQ(floats(file.tensors.at("optimizer.state.0.momentum_buffer")), (Floats{1, 1}));

  const std::map<std::string, std::string> metadata = {
      {"epoch", "90"},
      {"best_acc1", "76.25"},
      {"arch", "resnet20"},
      {"done", "True"},
      {"none", "None"},
      {"args.lr", "0.1"},
      {"args.milestones", "[30, 60]"},
      {"optimizer.param_groups.0.lr", "0.01"},
      {"optimizer.param_groups.0.params", "[0, 1]"},
      {"state_dict.module.int16", "(a tensor [2] of torch.ShortStorage, which is not read)"}};
  EXPECT_EQ(file.metadata, metadata);
}

TEST(TorchFile, ReadsWhatPyTorchWrote) {
  const std::filesystem::path golden = RESNET_TORCH_FILES;
  const std::pair<const char*, const char*> files[] = {{"zip.pth", "PyTorch zip"},
                                                       {"protocol4.pth", "PyTorch zip"},
                                                       {"legacy.pth", "PyTorch legacy"},
                                                       {"legacy_protocol4.pth", "PyTorch legacy"}};
  for (const auto& [name, format] : files) {
    SCOPED_TRACE(name);
    const WeightsFile file = read_weights(golden / name);
    EXPECT_EQ(file.format, format);
    expect_checkpoint(file);
    const WeightsFile description = describe_weights(golden / name);
    ASSERT_EQ(description.entries.size(), file.tensors.size());
    EXPECT_EQ(description.entries.front().name, "state_dict.module.conv1.weight");
    EXPECT_EQ(description.metadata, file.metadata);
    for (const WeightsEntry& e : description.entries) {
      EXPECT_EQ(file.tensors.at(e.name).shape(), e.shape);
      EXPECT_EQ(file.tensors.at(e.name).dtype(), e.dtype);
    }
  }
  expect_error(ErrorCode::kBadData, {"torch.nn.modules.linear.Linear", "state_dict()"},
               [&] { read_weights(golden / "whole_model.pth"); });
}

// Every shorter file and every file with one byte changed is refused or read, and nothing else.
TEST(TorchFile, DamagedFilesAreRefused) {
  for (const char* name : {"zip.pth", "legacy.pth"}) {
    const ByteVector sound = read_file(std::filesystem::path(RESNET_TORCH_FILES) / name);
    const bool zip = sound[0] == std::byte{'P'};
    const auto read = [&](const ByteVector& bytes) {
      const ByteSource source(bytes, "x.pth");
      return zip ? read_torch_zip(source, ReadWeights::kAll)
                 : read_torch_legacy(source, ReadWeights::kAll);
    };
    expect_checkpoint(read(sound));
    for (std::size_t size = 15; size < sound.size(); ++size) {
      const ByteVector shorter(sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_THROW(read(shorter), Error) << name << " of " << size;
    }
    int refused = 0;
    for (std::size_t i = 15; i < sound.size(); ++i) {
      ByteVector changed = sound;
      changed[i] ^= std::byte{0x41};
      try {
        read(changed);
      } catch (const Error& e) {
        EXPECT_NE(e.code(), ErrorCode::kInternal) << e.what();
        ++refused;
      }
    }
    EXPECT_GT(refused, 1000) << name;
  }
}

/// A PyTorch archive around a pickle, in a temporary folder.
class HandMade : public testing::Test {
 protected:
  WeightsFile read(const std::string& pickle, const std::vector<std::string>& storages = {},
                   std::vector<std::pair<std::string, std::string>> others = {}) {
    pickles::write_archive(path_, pickle, storages, std::move(others));
    return read_weights(path_);
  }
  void expect_refused(const std::string& pickle, std::string_view why,
                      const std::vector<std::string>& storages = {std::string(16, '\0')}) {
    const std::int64_t growth = peak_growth([&] {
      expect_error(ErrorCode::kBadData, {"x.pth", why}, [&] { read(pickle, storages); });
      expect_error(ErrorCode::kBadData, {"x.pth", why}, [&] { describe_weights(path_); });
    });
    EXPECT_LT(growth, std::int64_t{400} << 20) << why;
  }
  std::string one(const pickles::TensorPickle& t) {
    return pickles::dict("w", pickles::tensor(t)) + ".";
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.path() / "x.pth";
};

TEST_F(HandMade, NothingRuns) {
  const auto marker = folder_.path() / "marker";
  const std::string command = pickles::text("touch " + marker.string());
  expect_refused("cposix\nsystem\n" + command + "\x85R.", "posix.system");
  expect_refused(pickles::dict("a", "cos\nsystem\n" + command + "\x85R") + ".", "os.system");
  expect_refused("c__builtin__\neval\n" + command + "\x85R.", "__builtin__.eval");
  EXPECT_FALSE(std::filesystem::exists(marker));
  // Text in a tensor's place is no call either.
  expect_refused("ctorch._utils\n_rebuild_tensor_v2\n" + command + "\x85R.", "lacks its storage");
}

TEST_F(HandMade, WhatIsNotUnderstoodIsLeftOut) {
  using namespace pickles;
  const std::vector<std::string> storage = {std::string(16, '\0')};
  const std::string thing = global("some.place", "Thing");
  const std::string when =
      global("datetime", "datetime") + "C\x0a" + std::string(10, '\7') + "\x85R";
  const std::string config = global("omegaconf.dictconfig", "DictConfig") + ")\x81}" +
                             text("_content") + dict("lr", "K\1") + "sb";
  const WeightsFile file =
      read("}" + text("state_dict") + dict("w", tensor({{2}, {1}})) + "s" + text("epoch") + "K\5s" +
               text("when") + when + "s" + text("hyper_parameters") + "}" + text("lr") + "K\1s" +
               text("optimizer") + global("functools", "partial") + thing + "\x85R(" + thing + ")" +
               "}Ntbs" + text("config") + config + "ss" + text("callbacks") + "}" + thing + "K\1s" +
               text("b") + "]" + thing + "as" + "s.",
           storage);
  EXPECT_EQ(file.entries.size(), 1U);
  EXPECT_EQ(file.tensors.at("state_dict.w").size(), 2);
  EXPECT_EQ(
      file.metadata,
      (std::map<std::string, std::string>{
          {"epoch", "5"}, {"hyper_parameters.lr", "1"}, {"callbacks.some.place.Thing", "1"}}));
  EXPECT_EQ(file.left_out, (std::map<std::string, std::string>{
                               {"when", "datetime.datetime"},
                               {"hyper_parameters.optimizer", "functools.partial"},
                               {"hyper_parameters.config", "omegaconf.dictconfig.DictConfig"},
                               {"callbacks.b.0", "some.place.Thing"}}));
  EXPECT_EQ(describe_weights(path_).left_out, file.left_out);
}

TEST_F(HandMade, TensorsThatDependOnWhatIsNotUnderstoodAreLeftOut) {
  using namespace pickles;
  const std::vector<std::string> storage = {std::string(16, '\0')};
  const std::string good = text("w") + tensor({{2}, {1}}) + "s";
  const std::string thing = global("some.place", "Thing");
  const auto left_out = [&](const std::string& value) {
    const WeightsFile file = read("}" + good + text("x") + value + "s.", storage);
    EXPECT_EQ(file.entries.size(), 1U);
    return file.left_out.at("x");
  };
  const std::string place =
      "(" + text("storage") + thing + text("0") + text("cpu") + integer(4) + "tQ";
  const std::string rebuild = global("torch._utils", "_rebuild_tensor_v2");
  EXPECT_EQ(left_out(rebuild + "(" + place + integer(0) + tuple({2}) + tuple({1}) + "tR"),
            "some.place.Thing");
  EXPECT_EQ(left_out(rebuild + "(" + thing + ")R" + integer(0) + tuple({2}) + tuple({1}) + "tR"),
            "some.place.Thing");
  const std::string from_type = global("torch._tensor", "_rebuild_from_type_v2");
  EXPECT_EQ(left_out(from_type + "(" + rebuild + thing + "(" + place + integer(0) + tuple({2}) +
                     tuple({1}) + "tNtR"),
            "some.place.Thing");
  EXPECT_EQ(left_out(from_type + "(" + thing + thing + ")NtR"), "some.place.Thing");
  EXPECT_EQ(left_out(thing + tensor({{2}, {1}}) + "\x85R"), "some.place.Thing");
  // Nothing else is there: the file is refused by what it depends on.
  const std::string alone =
      from_type + "(" + thing + rebuild + "(" + text("s") + tuple({2}) + "tR" + ")NtR";
  expect_refused(alone + ".", "some.place.Thing");
  expect_refused(dict("w", from_type + "(" + rebuild + thing + "(" + place + integer(0) +
                               tuple({2}) + tuple({1}) + "tNtR") +
                     ".",
                 "some.place.Thing");
}

// The state dict itself is inside an object, or is one.
TEST_F(HandMade, AWholeModelGetsAdvice) {
  using namespace pickles;
  for (const char* module : {"torchvision.models.resnet", "__main__", "ultralytics.nn.tasks"}) {
    const std::string name = std::string(module) + ".Net";
    const std::string net = global(module, "Net") + ")\x81" + dict("w", tensor({{2}, {1}})) + "b";
    expect_refused(net + ".", name);
    expect_refused(net + ".", "state_dict()");
    expect_refused(dict("model", net) + ".", name);
    expect_refused(
        "}" + text("when") + global("datetime", "date") + "C\1x\x85Rs" + text("model") + net + "s.",
        name);
    expect_refused(global(module, "Net") + ".", name);
  }
  // Beside good weights, a module among the hyperparameters does no harm.
  const WeightsFile file = read(
      "}" + text("state_dict") + dict("w", tensor({{2}, {1}})) + "s" + text("hyper_parameters") +
          dict("loss", global("torch.nn.modules.loss", "CrossEntropyLoss") + ")\x81" +
                           dict("weight", tensor({{2}, {1}})) + "b") +
          "s.",
      {std::string(16, '\0')});
  EXPECT_EQ(file.entries.size(), 1U);
  EXPECT_EQ(file.left_out.at("hyper_parameters.loss"), "torch.nn.modules.loss.CrossEntropyLoss");
}

TEST_F(HandMade, StridesAndOffsets) {
  const float values[] = {1, 2, 3, 4};
  const std::string storage(reinterpret_cast<const char*>(values), sizeof(values));
  const auto w = [&](const pickles::TensorPickle& t) {
    return floats(read(one(t), {storage}).tensors.at("w"));
  };
  EXPECT_EQ(w({{2}, {1}, 2}), (std::vector<float>{3, 4}));
  EXPECT_EQ(w({{2, 2}, {1, 2}}), (std::vector<float>{1, 3, 2, 4}));
  EXPECT_EQ(w({{2, 2}, {1, 1}, 1}), (std::vector<float>{2, 3, 3, 4}));
  EXPECT_EQ(w({{1, 1, 4}, {77, 99, 1}}), (std::vector<float>{1, 2, 3, 4}));
  EXPECT_EQ(w({{}, {}, 3}), (std::vector<float>{4}));
  EXPECT_EQ(w({{3}, {0}, 1}), (std::vector<float>{2, 2, 2}));
  // Where there is one element, the way to the next does not matter.
  EXPECT_EQ(w({{2, 2, 1}, {1, 2, INT64_MAX}}), (std::vector<float>{1, 3, 2, 4}));
}

TEST_F(HandMade, TheTypeOfATypedTensorIsAType) {
  const auto typed = [](const std::string& dtype) {
    using namespace pickles;
    return dict("w", global("torch._utils", "_rebuild_tensor_v3") + "((" + text("storage") +
                         global("torch", "UntypedStorage") + text("0") + text("cpu") + integer(16) +
                         "tQ" + integer(0) + tuple({2}) + tuple({1}) + "\x89" +
                         global("collections", "OrderedDict") + ")R" + dtype + "tR") +
           ".";
  };
  const float values[] = {1, 2, 3, 4};
  const std::string storage(reinterpret_cast<const char*>(values), sizeof(values));
  EXPECT_EQ(floats(read(typed(pickles::global("torch", "float32")), {storage}).tensors.at("w")),
            (std::vector<float>{1, 2}));
  for (const std::string& dtype : {std::string("N"), pickles::integer(6), pickles::text("floating"),
                                   pickles::text("torch.float32")}) {
    expect_refused(typed(dtype), "has no element type");
  }
}

TEST_F(HandMade, BigEndian) {
  const std::string storage("\x3f\x80\0\0\x40\0\0\0", 8);
  const WeightsFile file = read(one({{2}, {1}}), {storage}, {{"m/byteorder", "big"}});
  EXPECT_EQ(floats(file.tensors.at("w")), (std::vector<float>{1, 2}));
  expect_error(ErrorCode::kBadData, {"byte order", "middle"}, [&] {
    read(one({{2}, {1}}), {storage}, {{"m/byteorder", "middle"}});
  });
}

TEST_F(HandMade, TensorsThatDoNotFitTheirStorage) {  // of 4 elements
  const std::int64_t huge = std::int64_t{1} << 60;
  expect_refused(one({{5}, {1}}), "does not fit its storage of 4 elements");
  expect_refused(one({{2}, {4}}), "does not fit");
  expect_refused(one({{1}, {1}, 4}), "does not fit");
  expect_refused(one({{4}, {1}, 1}), "does not fit");
  expect_refused(one({{huge}, {1}}), "does not fit");
  expect_refused(one({{huge}, {0}}), "its tensors would take");  // 2^62 bytes of one element
  expect_refused(one({{huge * 2}, {0}}), "does not fit");
  expect_refused(one({{huge, huge}, {0, 0}}), "does not fit");
  expect_refused(one({{huge, huge, 0}, {0, 0, 0}}), "does not fit");
  expect_refused(one({{2}, {huge * 4}}), "does not fit");
  expect_refused(one({{3, 3}, {INT64_MAX / 2, INT64_MAX / 2}}), "does not fit");
  expect_refused(one({{2}, {1}, INT64_MAX}), "does not fit");
  expect_refused(one({{2}, {1}, -1}), "no number from 0");
  expect_refused(one({{-2}, {1}}), "no number from 0");
  expect_refused(one({{2}, {-1}}), "no number from 0");
  expect_refused(one({{2}, {1, 1}}), "no stride for each size");
  expect_refused(one({std::vector<std::int64_t>(65, 1), std::vector<std::int64_t>(65, 1)}),
                 "no sound shape");
  expect_refused(one({{2}, {1}, 0, "7"}), "storage '7', which the file lacks");
  expect_refused(one({{2}, {1}, 0, "../data.pkl"}), "which the file lacks");
  expect_refused(one({{4}, {1}, 0, "0", "DoubleStorage"}), "storage of 2 elements");
  EXPECT_TRUE(read(one({{0}, {1}, 0}), {""}).tensors.at("w").empty());
}

TEST_F(HandMade, OverlappingViewsStayNearTheFile) {
  const std::string storage(1 << 20, '\0');
  std::string pickle = "}";
  for (int i = 0; i < 64; ++i) {
    pickle += pickles::text(std::to_string(i)) + pickles::tensor({{(1 << 18) - i}, {1}, i}) + "s";
  }
  expect_refused(pickle + ".", "its tensors would take", {storage});
  // Few elements that lie far apart cost reading instead.
  pickle = "}";
  for (int i = 0; i < 64; ++i) {
    pickle += pickles::text(std::to_string(i)) + pickles::tensor({{2}, {(1 << 18) - 1}}) + "s";
  }
  expect_refused(pickle + ".", "its tensors would take", {storage});
}

TEST_F(HandMade, CyclesAndDepth) {
  expect_refused("]q\1h\1a.", "contains itself");
  expect_refused("}q\1" + pickles::text("a") + "h\1s.", "contains itself");
  expect_refused("ccollections\nOrderedDict\n)Rq\1" + pickles::text("a") + "h\1s.",
                 "contains itself");
  expect_refused("]q\1ctorch\nSize\nh\1\x85Ra.", "contains itself");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "}" + pickles::text("a");
  expect_refused(deep + "N" + std::string(100'000, 's') + ".", "lie more than 64 deep");
}

// Ten references to ten references to …: a thousand bytes that unfold to 10^30 values.
TEST_F(HandMade, SharingIsBounded) {
  for (const std::string& name : {std::string("a"), std::string(10'000, 'n')}) {
    std::string bomb = "Nq" + std::string(1, '\0');
    for (char level = 1; level <= 30; ++level) {
      bomb += "0}";
      for (int i = 0; i < 10; ++i) {
        bomb += pickles::text(name + std::to_string(i)) + "h" +
                std::string(1, static_cast<char>(level - 1)) + "s";
      }
      bomb += "q" + std::string(1, level);
    }
    expect_refused(bomb + ".", "unfold to more than memory should hold");
  }
  std::string lists = "](";
  for (int i = 0; i < 600'000; ++i) lists += "N";
  lists += "eq\1";
  lists += "0](";
  for (int i = 0; i < 600'000; ++i) lists += "h\1";
  expect_refused(lists + "e.", "unfold to more than memory should hold");
}

TEST_F(HandMade, TheSameNameTwice) {
  const std::string t = pickles::tensor({{2}, {1}});
  expect_refused("}" + pickles::text("a") + t + "s" + pickles::text("a") + t + "s.",
                 "is there twice");
  expect_refused(
      "}" + pickles::text("a.b") + t + "s" + pickles::text("a") + pickles::dict("b", t) + "s.",
      "'a.b' is there twice");
}

TEST_F(HandMade, OtherShapesOfDictionaries) {
  const std::vector<std::string> storage = {std::string(16, '\0')};
  const std::string t = pickles::tensor({{2}, {1}});
  const auto only_name = [&](const std::string& pickle) {
    const WeightsFile file = read(pickle + ".", storage);
    EXPECT_EQ(file.tensors.size(), 1U);
    return file.entries.at(0).name;
  };
  EXPECT_EQ(only_name(t), "tensor");
  EXPECT_EQ(only_name("]" + t + "a"), "0");
  EXPECT_EQ(only_name("]K\1a" + t + "a"), "1");
  EXPECT_EQ(only_name("ccollections\nOrderedDict\n]" + pickles::text("w") + t +
                      "\x86"
                      "a\x85R"),
            "w");
  EXPECT_EQ(only_name("ccollections\ndefaultdict\nc__builtin__\nlist\n\x85R" + pickles::text("w") +
                      t + "s"),
            "w");
  EXPECT_EQ(only_name("cargparse\nNamespace\n)\x81}" + pickles::text("w") + t + "sb"), "w");
  EXPECT_EQ(only_name("}K\1K\2\x86" + t + "s"), "#0");
  EXPECT_EQ(only_name("}K\x05" + t + "s"), "5");
  expect_refused("ccollections\nOrderedDict\n]K\1a\x85R.", "no pair");
}

TEST_F(HandMade, NumbersOfNumPy) {
  const std::string dtype = "cnumpy\ndtype\n" + pickles::text("f8") + "\x89\x88\x87R";
  const std::string half("\0\0\0\0\0\0\xe0?", 8);
  std::string utf8;
  for (const char c : half) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (byte >= 0x80) utf8 += static_cast<char>(0xc0 | byte >> 6);
    utf8 += static_cast<char>(byte >= 0x80 ? 0x80 | (byte & 0x3f) : byte);
  }
  const std::string scalar = "cnumpy.core.multiarray\nscalar\n" + dtype;
  EXPECT_EQ(read(pickles::dict("acc", scalar + "C\x08" + half + "\x86R") + ".").metadata.at("acc"),
            "0.5");
  EXPECT_EQ(read(pickles::dict("acc", scalar + "c_codecs\nencode\n" + pickles::text(utf8) +
                                          pickles::text("latin1") + "\x86R\x86R") +
                 ".")
                .metadata.at("acc"),
            "0.5");
  EXPECT_EQ(read(pickles::dict("acc", scalar + "K\1\x86R") + ".").metadata.at("acc"),
            "(numpy.core.multiarray.scalar)");
}

TEST_F(HandMade, TorchScriptAndOtherArchives) {
  expect_error(ErrorCode::kUnsupported, {"TorchScript", "state_dict()"}, [&] {
    read("}.", {}, {{"m/constants.pkl", ")."}});
  });
  expect_error(ErrorCode::kUnsupported, {"TorchScript"}, [&] {
    read("}.", {}, {{"m/code/__torch__.py", "x"}});
  });
  write_zip(path_, std::vector<ZipContent>{{"a.npy", {}}});
  expect_error(ErrorCode::kBadData, {"no data.pkl"}, [&] { read_weights(path_); });
}

// As a file is that somebody put through another zip program: deflated, in a folder of its own or
// in none, with entries for folders.
TEST_F(HandMade, ArchivesThatWerePackedAgainAreRead) {
  using namespace pickles;
  const std::string pickle = dict("w", tensor({{2, 2}, {1, 2}})) + ".";
  const float values[] = {1, 2, 3, 4};
  const std::string_view storage(reinterpret_cast<const char*>(values), sizeof(values));
  for (const std::string root : {"", "archive/", "downloads/resnet50/"}) {
    SCOPED_TRACE(root);
    folder_.write("x.pth", pack(Packing::kZip, {{"top/", {}, AE_IFDIR},
                                                {root + "data.pkl", bytes_of(pickle)},
                                                {root + "byteorder", bytes_of("little")},
                                                {root + "data/0", bytes_of(storage)},
                                                {"__MACOSX/" + root + "data.pkl", bytes_of("x")}}));
    EXPECT_EQ(floats(read_weights(path_).tensors.at("w")), (std::vector<float>{1, 3, 2, 4}));
    EXPECT_EQ(describe_weights(path_).entries.at(0).name, "w");
  }
}

// Zeros shrink a thousandfold; what the tensors take is compared with what was unpacked.
TEST_F(HandMade, ADeflatedStorageMayBeMuchLargerThanTheFile) {
  folder_.write("x.pth", pack(Packing::kZip, {{"m/data.pkl", bytes_of(one({{1 << 24}, {1}}))},
                                              {"m/data/0", ByteVector(std::size_t{4} << 24)}}));
  ASSERT_LT(std::filesystem::file_size(path_), std::uint64_t{1} << 20);
  EXPECT_EQ(read_weights(path_).tensors.at("w").size(), 1 << 24);
}

TEST_F(HandMade, DeflatedBombsAreRefused) {
  folder_.write("x.pth", pack(Packing::kZip, {{"m/data.pkl", bytes_of(one({{4}, {1}}))},
                                              {"m/data/0", ByteVector(std::size_t{300} << 20)}}));
  const std::int64_t growth = peak_growth([&] {
    expect_error(ErrorCode::kBadData, {"x.pth", "'m/data/0'", "more than the limit"},
                 [&] { read_weights(path_); });
  });
  EXPECT_LT(growth, std::int64_t{64} << 20);
}

TEST_F(HandMade, DamagedDeflatedEntriesAreRefused) {
  std::string storage;
  for (int i = 0; i < 4096; ++i) storage += static_cast<char>(i * i % 251);
  const ByteVector sound = pack(Packing::kZip, {{"m/data.pkl", bytes_of(one({{1024}, {1}}))},
                                                {"m/data/0", bytes_of(storage)}});
  const auto read = [](const ByteVector& bytes) {
    return read_torch_zip(ByteSource(bytes, "x.pth"), ReadWeights::kAll);
  };
  EXPECT_EQ(read(sound).entries.size(), 1U);
  for (std::size_t size = 0; size < sound.size(); size += 7) {
    EXPECT_THROW(read({sound.begin(), sound.begin() + static_cast<std::ptrdiff_t>(size)}), Error);
  }
  int refused = 0;
  for (std::size_t i = 0; i < sound.size(); ++i) {
    ByteVector changed = sound;
    changed[i] ^= std::byte{0x41};
    try {
      read(changed);
    } catch (const Error& e) {
      EXPECT_NE(e.code(), ErrorCode::kInternal) << e.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(sound.size()) / 2);
}

TEST_F(HandMade, AnArchiveAroundAFileOfWeightsIsNamed) {
  const auto says = [&](ErrorCode code, std::initializer_list<std::string_view> parts) {
    expect_error(code, parts, [&] { read_weights(path_); });
    expect_error(code, parts, [&] { describe_weights(path_); });
  };
  using enum ErrorCode;
  folder_.write("x.pth", pack(Packing::kZip, {{"w/ResNet.PTH", {}}, {"w/readme.txt", {}}}));
  says(kUnsupported, {"x.pth", "'w/ResNet.PTH' and 1 more", "unpack it"});
  folder_.write("x.pth", pack(Packing::kZip, {{"a/data.pkl", {}}, {"b/data.pkl", {}}}));
  says(kBadData, {"x.pth", "'a/data.pkl'", "'b/data.pkl'"});
  folder_.write("x.pth", pack(Packing::kZip, {}));
  says(kUnsupported, {"x.pth", "without files"});
  folder_.write("x.pth", pack(Packing::kTar, {{"w/a.pth", {}}}));
  says(kUnsupported, {"x.pth", "tar archive that holds 'w/a.pth'", "unpack it"});
  folder_.write("x.pth", pack(Packing::kTarGz, {{"w/a.pth", {}}}));
  says(kUnsupported, {"x.pth", "tar archive that holds 'w/a.pth'", "unpack it"});
  folder_.write("x.pth", pack(Packing::kTar, {{"sys_info", {}}, {"pickle", {}}}));
  says(kUnsupported, {"x.pth", "before version 0.1.10"});
  folder_.write("x.pth", gzip(bytes_of("weights")));
  says(kUnsupported, {"x.pth", "packed with gzip"});
  folder_.write("x.pth", bytes_of("BZh91AY&SY"));
  says(kUnsupported, {"x.pth", "unpack it first"});
}

TEST_F(HandMade, DeflatedEntriesOfAnotherSizeAreRefused) {
  const std::string name = "m/data.pkl";
  const std::string body = "\xab\xd5\x03\x00";
  const auto fields = [&](std::uint64_t unpacked) {
    return pickles::number(20, 2) + pickles::number(0, 2) + pickles::number(8, 2) +
           pickles::number(0, 4) + pickles::number(0, 4) + pickles::number(body.size(), 4) +
           pickles::number(unpacked, 4) + pickles::number(name.size(), 2) + pickles::number(0, 2);
  };
  for (const std::uint64_t unpacked :
       {std::uint64_t{2}, std::uint64_t{100} << 20, std::uint64_t{0xfffffffe}}) {
    const std::string local = "PK\x03\x04" + fields(unpacked) + name + body;
    const std::string directory =
        "PK\x01\x02" + pickles::number(20, 2) + fields(unpacked) + std::string(14, '\0') + name;
    const std::string end = "PK\x05\x06" + pickles::number(0, 4) + pickles::number(1, 2) +
                            pickles::number(1, 2) + pickles::number(directory.size(), 4) +
                            pickles::number(local.size(), 4) + pickles::number(0, 2);
    folder_.write("x.pth", bytes_of(local + directory + end));
    const std::int64_t growth = peak_growth([&] {
      expect_error(ErrorCode::kBadData, {"x.pth", "m/data.pkl"}, [&] { read_weights(path_); });
    });
    EXPECT_LT(growth, std::int64_t{64} << 20);
  }
}

}  // namespace
}  // namespace resnet
