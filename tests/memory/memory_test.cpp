// Whatever allocation fails: an Error (kOutOfMemory) or the right result, no half of a file, and
// the same succeeds when memory is back. What fails is operator new, of C++: our code, the standard
// library, protobuf and much of oneDNN. What libraries take from malloc is not tried: those of
// images, archives and HDF5, and oneDNN's own buffers and generated code; nor what oneDNN takes
// by operator new in the threads of OpenMP, where it ends the process itself.
//
// A run takes 3,000 to 40,000 allocations, one failing in each run. First comes one of every place
// in the code (ten calls deep), then all others, both in a random order from a fixed seed, for
// as many seconds as the test has; RESNET_MEMORY_SECONDS gives each more.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>

#include "core/file.h"
#include "formats/image.h"
#include "formats/safetensors.h"
#include "formats/support.h"
#include "memory/allocations.h"
#include "resnet/resnet.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

void write(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string digest(const std::map<std::string, Tensor>& tensors) {
  std::string text;
  for (const auto& [name, t] : tensors) {
    text += name;
    text.append(reinterpret_cast<const char*>(t.raw()), t.bytes());
  }
  return text;
}

// What the library makes of it; the test's own memory does not fail.
auto in_library(const auto& call) {
  const Counting counting;
  return call();
}

double seconds_or(double otherwise) {
  const char* text = ::getenv("RESNET_MEMORY_SECONDS");
  return text == nullptr ? otherwise : std::stod(text);
}

class Memory : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    temporary = new TemporaryFolder();
    home = temporary->path();
    const DataSplits data = open_data({.source = "galaxies:train=16,val=4,size=16"});
    for (std::int64_t i = 0; i < data.train->size(); ++i) {
      const fs::path folder = home / "images" / (i % 2 == 0 ? "even" : "odd");
      fs::create_directories(folder);
      const std::vector<std::byte> png = encode_png(data.train->image(i));
      write(folder / (std::to_string(i) + ".png"),
            {reinterpret_cast<const char*>(png.data()), png.size()});
    }
    train(tiny_run(home / "run"));
    const ModelFile model = load_model(home / "run");
    export_torch(home / "m.pth", model);
    export_safetensors(home / "m.safetensors", model);
    export_onnx(home / "m.onnx", model);
    // The same as two shards.
    const Safetensors whole = read_safetensors(home / "m.safetensors");
    std::map<std::string, Tensor> halves[2];
    std::string map;
    for (const auto& [name, tensor] : whole.tensors) {
      const bool second = name > "layer2";
      halves[second ? 1 : 0].emplace(name, tensor);
      map +=
          (map.empty() ? "" : ",") + ("\"" + name) +
          (second ? R"(":"s-00002-of-00002.safetensors")" : R"(":"s-00001-of-00002.safetensors")");
    }
    write_safetensors(home / "s-00001-of-00002.safetensors", halves[0], {});
    write_safetensors(home / "s-00002-of-00002.safetensors", halves[1], {});
    write(home / "s.safetensors.index.json", R"({"weight_map":{)" + map + "}}");
  }
  static void TearDownTestSuite() { delete temporary; }

  static TrainOptions tiny_run(const fs::path& out) {
    TrainOptions o;
    o.data.source = (home / "images").string();
    o.data.image_size = 16;
    o.model.architecture = "resnet8";
    o.model.image_size = 16;
    o.batch_size = 4;
    o.epochs = 2;
    o.loader_threads = 2;
    o.threads = 1;
    o.out = out;
    o.overwrite = true;
    return o;
  }

  using Work = std::function<std::string(const fs::path& folder)>;
  using Check = std::function<void(const fs::path& folder)>;

  /// Lets allocations of `work`, by itself or with all after it, fail for `seconds`. `work` returns
  /// all of what it found or made; `check` looks at what lies in `folder` after each failure;
  /// `again` is what must then succeed with the same result.
  static void try_all(double seconds, const Check& prepare, const Work& work, const Check& check,
                      Work again = nullptr) {
    seconds = seconds_or(seconds);
    if (!again) again = work;
    const fs::path folder = home / "work";
    const auto fresh = [&] {
      fs::remove_all(folder);
      fs::create_directory(folder);
      prepare(folder);
    };
    fresh();
    const std::string expected = work(folder);  // and what is made once is made
    fresh();
    note_places();
    ASSERT_EQ(work(folder), expected) << "the same each time";
    const std::int64_t all = allocations();
    std::vector<std::int64_t> numbers = noted_places(), rest;
    const std::size_t places = numbers.size();
    for (std::int64_t n = 1; n <= all; ++n) {
      if (!std::ranges::binary_search(numbers, n)) rest.push_back(n);
    }
    std::mt19937 random(7);
    std::ranges::shuffle(numbers, random);
    std::ranges::shuffle(rest, random);
    numbers.insert(numbers.end(), rest.begin(), rest.end());
    // And before all, late ones: when files are there.
    for (const std::int64_t part : {100, 20, 10}) numbers.insert(numbers.begin(), all - all / part);

    const std::int64_t live = live_allocations();
    std::size_t tried = 0, errors = 0;
    const Clock::time_point start = Clock::now();
    for (const std::int64_t n : numbers) {
      if (std::chrono::duration<double>(Clock::now() - start).count() > seconds) break;
      const bool for_good = ++tried % 2 == 0;
      fresh();
      std::optional<ErrorCode> code;
      std::string found, message;
      fail_allocation(n, for_good);
      try {
        found = work(folder);
      } catch (const Error& e) {
        code = e.code();
        message = e.what();
      }  // another exception fails the test
      fail_allocation(0);
      errors += code ? 1 : 0;
      ASSERT_EQ(code.value_or(ErrorCode::kOutOfMemory), ErrorCode::kOutOfMemory)
          << message << ' ' << n;
      ASSERT_TRUE(code || found == expected) << "another result, allocation " << n;
      for (const auto& e : fs::recursive_directory_iterator(folder)) {
        ASSERT_FALSE(e.path().filename().string().starts_with(".resnet-"))
            << e.path() << " is left, allocation " << n;
      }
      check(folder);
      if (tried % 8 == 1 || fs::exists(folder / "run" / "last.safetensors")) {
        ASSERT_EQ(again(folder), expected) << "after allocation " << n;
      }
      ASSERT_FALSE(HasFailure()) << "allocation " << n << " of " << all;
    }
    std::printf("%zu of %lld allocations failed, at %zu places; %zu errors\n", tried,
                static_cast<long long>(all), places, errors);
    EXPECT_GT(errors, 0U);
    EXPECT_GE(tried, std::min<std::size_t>(places, 20));
    EXPECT_LT(live_allocations() - live, 2000) << "what failed is not freed";
  }

  static void nothing(const fs::path& folder) { EXPECT_TRUE(fs::is_empty(folder)) << folder; }
  static void empty(const fs::path&) {}

  static TemporaryFolder* temporary;
  static fs::path home;
};
TemporaryFolder* Memory::temporary = nullptr;
fs::path Memory::home;

TEST_F(Memory, Loading) {
  const fs::path file = home / "run";
  try_all(
      4, empty,
      [&](const fs::path&) { return digest(in_library([&] { return load_model(file); }).weights); },
      nothing);
}

TEST_F(Memory, Importing) {
  for (const char* name : {"m.pth", "m.safetensors", "m.onnx", "s.safetensors.index.json"}) {
    SCOPED_TRACE(name);
    const fs::path file = home / name;
    try_all(
        4, empty,
        [&](const fs::path&) {
          return digest(in_library([&] { return import_model(file); }).model.weights);
        },
        nothing);
  }
}

TEST_F(Memory, Saving) {
  const ModelFile model = load_model(home / "run");
  const std::vector<std::pair<std::string, std::function<void(const fs::path&)>>> cases = {
      {"m.safetensors", [&](const fs::path& p) { export_safetensors(p, model); }},
      {"m.pth", [&](const fs::path& p) { export_torch(p, model); }},
      {"m.onnx", [&](const fs::path& p) { export_onnx(p, model); }},
      {"run/model.safetensors", [&](const fs::path& p) { save_model(p, model); }},
  };
  for (const auto& [name, save] : cases) {
    SCOPED_TRACE(name);
    const std::string whole = read_text_file(home / name);
    const auto file = [](const fs::path& folder) { return folder / "file"; };
    try_all(
        3, [&](const fs::path& folder) { write(file(folder), "the old one"); },
        [&, &save = save](const fs::path& folder) {
          const fs::path path = file(folder);
          in_library([&, &save = save] {
            save(path);
            return 0;
          });
          return std::string("saved");
        },
        [&](const fs::path& folder) {
          const std::string found = read_text_file(file(folder));
          EXPECT_TRUE(found == "the old one" || found == whole);
        });
  }
}

TEST_F(Memory, Predicting) {
  const ModelFile model = load_model(home / "run");
  EvalOptions options;
  options.threads = 1;
  const std::vector<fs::path> paths = {home / "images" / "even", home / "images/odd/1.png"};
  try_all(
      8, empty,
      [&](const fs::path&) {
        std::ostringstream text;
        for (const Prediction& p : in_library([&] { return predict(model, paths, 3, options); })) {
          text << p.path << " " << p.error << ":";
          for (const ClassScore& c : p.classes) text << " " << c.name << " " << c.probability;
        }
        return text.str();
      },
      nothing);
}

TEST_F(Memory, Training) {
  std::size_t resumed = 0;
  const auto run = [](const TrainOptions& options) {
    return digest(load_model(in_library([&] { return train(options); }).model).weights);
  };
  try_all(
      16, empty, [&](const fs::path& folder) { return run(tiny_run(folder / "run")); },
      [](const fs::path& folder) {
        if (!fs::exists(folder / "run")) return;
        for (const auto& e : fs::directory_iterator(folder / "run")) {  // each is whole
          const std::string name = e.path().filename();
          if (name == "model.safetensors") load_model(e.path());
          if (name == "last.safetensors") resume_options(folder / "run");
          if (name == "config.json") train_options_from_json(read_text_file(e.path()));
        }
      },
      [&](const fs::path& folder) {
        if (!fs::exists(folder / "run" / "last.safetensors")) return run(tiny_run(folder / "run"));
        ++resumed;
        return run(resume_options(folder / "run"));
      });
  EXPECT_GT(resumed, 0U);
}

}  // namespace
}  // namespace resnet::test
