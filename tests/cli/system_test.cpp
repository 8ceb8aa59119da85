// What the system around the binary does to it: outputs that are no files, file systems that lack
// functions, signals, terminals, limits.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <future>
#include <nlohmann/json.hpp>

#include "cli/process.h"
#include "http/http_server.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

#define EXPECT_HAS(text, fragment) EXPECT_NE((text).find(fragment), std::string::npos) << (text)
#define EXPECT_HAS_NOT(text, fragment) EXPECT_EQ((text).find(fragment), std::string::npos) << (text)

Words operator+(Words a, const Words& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

mode_t mode_of(const fs::path& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

class System : public testing::Test {
 protected:
  // One trained run and some images for all tests.
  static void SetUpTestSuite() {
    home = new TemporaryFolder;
    EXPECT_EQ(resnet(tiny_run("run")).code, 0);
    EXPECT_EQ(resnet({"data", "galaxies", "--out", "images", "--count", "32", "--size", "16"}).code,
              0);
    for (const auto& e : fs::recursive_directory_iterator(home->path() / "images")) {
      if (e.is_regular_file()) images.push_back(e.path());
    }
    std::sort(images.begin(), images.end());
  }
  static void TearDownTestSuite() { delete home; }

  static Words tiny_run(const std::string& out, const std::string& epochs = "1") {
    return {"train",        "galaxies:train=32,val=16,size=16",
            "--arch",       "resnet8",
            "--epochs",     epochs,
            "--batch-size", "16",
            "--out",        out};
  }
  static Outcome resnet(const Words& words, const Settings& settings = {}) {
    return run_resnet(home->path(), words, settings);
  }
  static fs::path at(const std::string& name) { return home->path() / name; }
  static std::string image(std::size_t i) { return images.at(i).string(); }

  static TemporaryFolder* home;
  static std::vector<fs::path> images;
};
TemporaryFolder* System::home = nullptr;
std::vector<fs::path> System::images;

// --------------------------------------------------------------------------------------- outputs

TEST_F(System, StandardOutputGetsTheFileAndNothingElse) {
  struct Case {
    Words words;
    std::string file;
  };
  const std::vector<Case> cases = {
      {{"export", "run", "--to", "safetensors"}, "a.safetensors"},
      {{"export", "run", "--to", "torch"}, "a.pth"},
      {{"export", "run", "--to", "onnx"}, "a.onnx"},
      {{"weights", "convert", "run"}, "b.safetensors"},
      {{"import", "run"}, "c.safetensors"},
      {{"plot", "run"}, "a.svg"},
      {{"plot", "run", "--json"}, "b.svg"},
      {{"embed", "run", image(0), image(1)}, "a.csv"},
      {{"data", "tensor", image(0), "--size", "8", "--resize", "8"}, "a.npy"},
      {{"data", "pack", "images"}, "a.pack"},  // is written out of order
      {{"data", "pack", "images", "--json"}, "b.pack"},
  };
  for (const auto& [words, file] : cases) {
    Words to_file = words, to_stdout = words;
    to_file.insert(to_file.end(), {"-o", file});
    to_stdout.insert(to_stdout.end(), {"-o", "/dev/stdout"});
    const Outcome first = resnet(to_file);
    ASSERT_EQ(first.code, 0) << first.err;
    const Outcome second = resnet(to_stdout);
    EXPECT_EQ(second.code, 0) << second.err;
    EXPECT_TRUE(second.out == read_file(at(file)))
        << words[0] << " " << file << ": " << second.out.substr(0, 200);
    EXPECT_NE(second.err, "") << "what is said goes to standard error";
  }
  EXPECT_FALSE(fs::exists("/dev/stdout.csv"));
}

TEST_F(System, TablesAndChartsGoToPipes) {
  const Words eval = {"eval", "run", "galaxies:train=32,val=16,size=16", "--predictions"};
  const Outcome r = resnet(eval + Words{"/dev/stdout"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out.find("name,label,prediction,probability\n"), 0U) << r.out;
  EXPECT_HAS(r.err, "top-1");
  const Outcome lr = resnet({"find-lr", "galaxies:train=32,val=16,size=16", "--arch", "resnet8",
                             "--batch-size", "16", "--steps", "10", "-o", "/dev/stdout"});
  EXPECT_EQ(lr.code, 0) << lr.err;
  EXPECT_EQ(lr.out.find("<svg"), 0U) << lr.out.substr(0, 100);
  EXPECT_EQ(lr.out.rfind("</svg>\n"), lr.out.size() - 7) << "and nothing behind it";
}

TEST_F(System, APipeIsWrittenToWhateverItsName) {
  const fs::path pipe = at("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  auto reader = std::async(std::launch::async, [&] { return read_file(pipe); });
  const Outcome r = resnet({"export", "run", "--to", "onnx", "-o", "pipe"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(resnet({"export", "run", "--to", "onnx", "-o", "p.onnx"}).code, 0);
  EXPECT_TRUE(reader.get() == read_file(at("p.onnx")));
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(r.out, "pipe\n");
}

TEST_F(System, ANullDeviceIsNoFileThatExists) {
  const Outcome r = resnet({"quantize", "run", "galaxies:train=32,val=16,size=16", "--calibration",
                            "minmax", "-o", "/dev/null"});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(System, LinksKeepPointing) {
  fs::create_directories(at("store"));
  fs::create_symlink("store/v1.safetensors", at("latest.safetensors"));  // nothing there yet
  for (int i = 0; i < 2; ++i) {
    const Outcome r = resnet({"export", "run", "--to", "safetensors", "-o", "latest.safetensors"});
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(fs::read_symlink(at("latest.safetensors")), "store/v1.safetensors");
    EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(at("store/v1.safetensors"))));
  }
}

TEST_F(System, TheUmaskHoldsForEveryFileOfARun) {
  ASSERT_EQ(resnet(tiny_run("private"), {.umask = 077}).code, 0);
  for (const auto& e : fs::directory_iterator(at("private"))) {
    EXPECT_EQ(mode_of(e.path()), 0600U) << e.path();
  }
  ASSERT_EQ(resnet(tiny_run("group"), {.umask = 002}).code, 0);
  for (const auto& e : fs::directory_iterator(at("group"))) {
    EXPECT_EQ(mode_of(e.path()), 0664U) << e.path();
  }
}

TEST_F(System, LongNames) {
  const std::string name = std::string(237, 'n') + ".safetensors";  // 249 bytes
  const Outcome r = resnet({"export", "run", "--to", "safetensors", "-o", name});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_TRUE(fs::exists(at(name)));
  // A run is called after its data unless somebody says how.
  fs::rename(at("images"), at(std::string(250, 'd')));
  const Outcome run = resnet({"train", std::string(250, 'd'), "--arch", "resnet8", "--epochs", "1",
                              "--batch-size", "4", "--image-size", "16"});
  EXPECT_EQ(run.code, 0) << run.err;
  fs::rename(at(std::string(250, 'd')), at("images"));
}

// ---------------------------------------------------------------------------------- file systems

Settings refusing(const std::string& functions, int error) {
  return {.environment = {std::string("LD_PRELOAD=") + RESNET_REFUSE, "REFUSE=" + functions,
                          "REFUSE_ERRNO=" + std::to_string(error),
                          // The preloaded library comes before the sanitizer's.
                          "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0"}};
}

TEST_F(System, FileSystemsWithoutFsyncAndFchmodAreWarnedOfOnce) {
  for (const int error : {EPERM, ENOTSUP, EINVAL, ENOSYS}) {
    const std::string out = "refused-" + std::to_string(error);
    const Outcome r = resnet(tiny_run(out), refusing("fchmod,fsync", error));
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(count(r.err, "warning:"), 1U) << r.err;
    EXPECT_HAS(r.err, "fsync");
    EXPECT_EQ(resnet({"predict", out, image(0)}).code, 0);
  }
}

TEST_F(System, AFileThatKeepsItsPermissionsIsReplacedWithoutFchmod) {
  const Words words = {"export", "run", "--to", "safetensors", "-o", "kept.safetensors"};
  ASSERT_EQ(resnet(words).code, 0);
  fs::permissions(at("kept.safetensors"), fs::perms(0666));  // which the umask takes away
  const Outcome r = resnet(words, refusing("fchmod", EPERM));
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_HAS(r.err, "fchmod");
}

TEST_F(System, FileSystemsWithoutRename) {
  for (const int error : {ENOSYS, EBUSY, EXDEV}) {  // EBUSY: a file that is a mount of its own
    write_file(at("there.safetensors"), std::string(100'000'00, 'x'));
    const Outcome r = resnet({"export", "run", "--to", "safetensors", "-o", "there.safetensors"},
                             refusing("rename", error));
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_EQ(count(r.err, "warning:"), 1U) << r.err;
    EXPECT_EQ(resnet({"export", "run", "--to", "safetensors", "-o", "same.safetensors"}).code, 0);
    EXPECT_TRUE(read_file(at("there.safetensors")) == read_file(at("same.safetensors")));
  }
  for (const auto& e : fs::directory_iterator(home->path())) {
    EXPECT_HAS_NOT(e.path().filename().string(), ".resnet-");
  }
}

TEST_F(System, ADiskThatFailsIsAnErrorAndLeavesTheOldFile) {
  write_file(at("old.safetensors"), "old");
  const Words words = {"export", "run", "--to", "safetensors", "-o", "old.safetensors"};
  for (const auto& [function, error] :
       {std::pair{"fsync", EIO}, {"fsync", ENOSPC}, {"rename", EACCES}}) {
    const Outcome r = resnet(words, refusing(function, error));
    EXPECT_EQ(r.code, 5) << r.err;
    EXPECT_EQ(read_file(at("old.safetensors")), "old");
  }
  for (const auto& e : fs::directory_iterator(home->path())) {
    EXPECT_HAS_NOT(e.path().filename().string(), ".resnet-");
  }
}

TEST_F(System, FileSystemsWithoutMmapAreRead) {
  const Outcome plain = resnet({"predict", "run", image(0), "--json"});
  const Outcome r = resnet({"predict", "run", image(0), "--json"}, refusing("mmap", ENODEV));
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_EQ(r.out, plain.out);
}

TEST_F(System, FileSystemsWithoutLocksAreFetchedTo) {
  HttpServer server(
      [](const HttpRequestSeen&, HttpConnection& c) { c.respond("404 Not Found", ""); });
  Settings settings = refusing("flock", ENOLCK);
  settings.environment.push_back("RESNET_MIRROR=" + server.url());
  settings.environment.push_back("RESNET_CACHE=" + at("cache").string());
  for (const char* name : {"http_proxy=", "all_proxy=", "ALL_PROXY="}) {
    settings.environment.emplace_back(name);
  }
  const Outcome r = resnet({"weights", "get", "resnet18"}, settings);
  EXPECT_EQ(r.code, 5);
  EXPECT_HAS(r.err, "404");
}

// --------------------------------------------------------------------------------------- signals

TEST_F(System, ASignalThatIsIgnoredAtTheStartStaysIgnored) {
  for (const int number : {SIGHUP, SIGINT}) {
    const std::string out = "ignored-" + std::to_string(number);
    Process process(home->path(), tiny_run(out, "4"), {.ignored = {number}});
    ASSERT_TRUE(process.wait_for_message("epoch 1/4"));
    process.signal(number);
    const Outcome r = process.wait();
    EXPECT_EQ(r.code, 0) << r.err;
    EXPECT_HAS(r.err, "epoch 4/4");
  }
  Process process(home->path(), tiny_run("stopped", "400"), {.ignored = {SIGHUP}});
  ASSERT_TRUE(process.wait_for_message("epoch "));
  process.signal(SIGTERM);  // the others work as ever
  EXPECT_EQ(process.wait().code, 130);
}

TEST_F(System, DrawingGoesOnWithoutItsTerminal) {
  Process process(home->path(),
                  {"data", "galaxies", "--out", "many", "--count", "200", "--size", "64"},
                  {.ignored = {SIGHUP}});
  while (!fs::exists(at("many"))) ::usleep(1000);
  process.signal(SIGHUP);
  EXPECT_EQ(process.wait().code, 0);
}

// ------------------------------------------------------------------------------------- terminals

TEST_F(System, TerminalsThatAreNotDrawnOverGetPlainLines) {
  const std::vector<Words> commands = {
      tiny_run("terminal") + Words{"--overwrite"},
      {"eval", "run", "galaxies:train=32,val=16,size=16"},
      {"find-lr", "galaxies:train=32,val=16,size=16", "--arch", "resnet8", "--batch-size", "16",
       "--steps", "10", "-o", "lr.svg"},
      {"data", "galaxies", "--out", "drawn", "--count", "8", "--size", "16"},
      {"data", "pack", "images", "-o", "t.pack"},
      {"embed", "run", image(0), "-o", "t.csv"},
  };
  for (const Words& words : commands) {
    EXPECT_HAS(resnet(words, {.terminal = true}).err, "\x1b[K");
    for (const char* variable : {"TERM=dumb", "TERM=", "NO_COLOR=1"}) {
      const Outcome r = resnet(words, {.terminal = true, .environment = {variable}});
      EXPECT_EQ(r.code, 0) << r.err;
      EXPECT_HAS_NOT(r.err, "\x1b");
    }
  }
  EXPECT_HAS(resnet(commands[1], {.terminal = true, .environment = {"NO_COLOR="}}).err, "\x1b[K");
}

// ---------------------------------------------------------------------------------------- limits

TEST_F(System, MoreShardsThanFilesMayBeOpen) {
  for (int i = 0; i < 100; ++i) {
    const bool val = i % 4 == 3;
    std::vector<std::pair<std::string, std::string>> files;
    for (const std::size_t p : {0U, 4U}) {
      const std::string stem = std::to_string(p);
      files.emplace_back(stem + ".png", read_file(images[(p + static_cast<std::size_t>(i)) % 8]));
      files.emplace_back(stem + ".cls", std::to_string((p / 4 + static_cast<std::size_t>(i)) % 2));
    }
    write_file(at("shards") / ((val ? "val-" : "train-") + std::to_string(1000 + i) + ".tar"),
               tar_of(files));
  }
  const Words words = {"train", "shards",       "--arch", "resnet8",          "--epochs",
                       "1",     "--batch-size", "16",     "--loader-threads", "4"};
  const Outcome r = resnet(words + Words{"--out", "of-shards"}, {.open_files = 64});
  EXPECT_EQ(r.code, 0) << r.err;
  EXPECT_HAS_NOT(r.err, "skipped");
  const Outcome pack = resnet({"data", "pack", "shards", "-o", "s.pack"}, {.open_files = 24});
  EXPECT_EQ(pack.code, 0) << pack.err;
  EXPECT_HAS_NOT(pack.err, "skipped");
#ifndef __SANITIZE_ADDRESS__  // sanitizers need descriptors of their own to check an address
  // The limit itself: said, and no image is blamed for it.
  for (const std::size_t limit : {5U, 6U, 7U, 8U, 9U, 10U}) {
    const Outcome few =
        resnet(words + Words{"--out", "few-" + std::to_string(limit)}, {.open_files = limit});
    if (few.code == 0) continue;
    EXPECT_EQ(few.code, 5) << limit << few.err;
    EXPECT_HAS(few.err, "ulimit -n");
  }
#endif
}

TEST_F(System, AffinityLimitsTheThreads) {
  const auto threads = [&](const std::string& variable) {
    const Outcome r = resnet({"bench", "resnet8", "--steps", "1", "--warmup", "0", "--batch-size",
                              "1", "--mode", "infer", "--roofline", "r.svg", "--json"},
                             {.environment = {variable}, .one_processor = true});
    EXPECT_EQ(r.code, 0) << r.err;
    return nlohmann::json::parse(r.out).at("peaks").at("threads").get<int>();
  };
  EXPECT_EQ(threads("OMP_NUM_THREADS="), 1);
  EXPECT_EQ(threads("OMP_NUM_THREADS=2"), 2);
}

}  // namespace
}  // namespace resnet::test
