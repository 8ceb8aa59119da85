// Weights and data sets by name, from a server of this process in the place of the publishers'.
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "cli/process.h"
#include "http/http_server.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;

#define EXPECT_HAS(text, fragment) EXPECT_NE((text).find(fragment), std::string::npos) << (text)

class FetchCommand : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY"}) ::unsetenv(name);
    ::setenv("RESNET_CACHE", (home_.path() / "cache").c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("RESNET_CACHE");
    ::unsetenv("RESNET_MIRROR");
  }
  void mirror(const std::string& url) { ::setenv("RESNET_MIRROR", url.c_str(), 1); }
  Outcome resnet(const std::vector<std::string>& words, const Settings& settings = {}) {
    return run_resnet(home_.path(), words, settings);
  }
  fs::path part() const { return home_.path() / "cache/weights/resnet18-f37072fd.pth.part"; }

  TemporaryFolder home_;
  static constexpr std::size_t kSize = 46830571;  // of resnet18-f37072fd.pth
  static constexpr std::size_t kSent = 3'000'000;
};

TEST_F(FetchCommand, Lists) {
  const Outcome table = resnet({"weights", "list"});
  EXPECT_EQ(table.code, 0) << table.err;
  EXPECT_HAS(table.out, "resnet50.tv2_in1k         80.86  95.43    224");
  const auto weights = nlohmann::json::parse(resnet({"weights", "list", "--json"}).out);
  ASSERT_GE(weights.size(), 41U);
  EXPECT_EQ(weights[0].at("name"), "resnet18.a1_in1k");
  EXPECT_EQ(weights[0].at("interpolation"), "bicubic");
  EXPECT_HAS(resnet({"data", "list"}).out, "cifar10");
  const auto data = nlohmann::json::parse(resnet({"data", "list", "--json"}).out);
  EXPECT_EQ(data[0].at("files")[0].at("url"),
            "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz");
}

TEST_F(FetchCommand, CtrlCKeepsThePartAndTheNextCallGoesOn) {
  std::atomic<int> requests = 0;
  HttpServer server([&](const HttpRequestSeen& r, HttpConnection& c) {
    if (requests++ == 0) {
      c.send("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: " + std::to_string(kSize) +
             "\r\n\r\n" + std::string(kSent, 'x'));
      c.stall();
      return;
    }
    EXPECT_EQ(r.target, "/models/resnet18-f37072fd.pth");
    EXPECT_EQ(r.headers.at("range"), "bytes=" + std::to_string(kSent) + "-");
    EXPECT_EQ(r.headers.at("if-range"), "\"1\"");
    c.respond("404 Not Found", "");
  });
  mirror(server.url());
  Process first(home_.path(), {"weights", "get", "resnet18"});
  for (int i = 0; i < 1000 && (!fs::exists(part()) || fs::file_size(part()) < kSent); ++i) {
    ::usleep(10'000);
  }
  first.signal(SIGINT);
  const Outcome stopped = first.wait();
  EXPECT_EQ(stopped.code, 130) << stopped.err;
  EXPECT_HAS(stopped.err, "goes on from there");
  EXPECT_EQ(stopped.out, "");
  ASSERT_EQ(fs::file_size(part()), kSent);

  const Outcome second = resnet({"weights", "get", "resnet18"});
  EXPECT_EQ(second.code, 5) << second.err;
  EXPECT_HAS(second.err, "HTTP 404");
  EXPECT_EQ(requests, 2);
  EXPECT_EQ(fs::file_size(part()), kSent);
}

TEST_F(FetchCommand, FullDisk) {
  HttpServer server([&](const HttpRequestSeen&, HttpConnection& c) {
    c.send("HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(kSize) + "\r\n\r\n" +
           std::string(kSent, 'x'));
    c.stall();
  });
  mirror(server.url());
  const Outcome r = resnet({"weights", "get", "resnet18"}, {.largest_file = 1'000'000});
  EXPECT_EQ(r.code, 5) << r.err;
  EXPECT_HAS(r.err, "resnet: cannot write " + part().string());
  EXPECT_HAS(r.err, "MB more; free some space");
  EXPECT_EQ(fs::file_size(part()), 1'000'000U);
}

TEST_F(FetchCommand, WrongChecksum) {
  HttpServer server([&](const HttpRequestSeen&, HttpConnection& c) {
    c.respond("200 OK", "these are no labels");
  });
  mirror(server.url());
  const Outcome size = resnet({"data", "get", "mnist"});
  EXPECT_EQ(size.code, 4) << size.err;
  EXPECT_HAS(size.err, "19 bytes where 9912422 are expected");
  const Outcome sum = resnet({"weights", "get", "resnet18.a1_in1k"});  // of no known size
  EXPECT_EQ(sum.code, 4) << sum.err;
  EXPECT_HAS(sum.err, "SHA-256");
  EXPECT_TRUE(fs::is_empty(home_.path() / "cache/weights"));
}

TEST_F(FetchCommand, DataByNameWithoutFetching) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"train", "cifar10"}, {"data", "stats", "cifar10"}}) {
    const Outcome r = resnet(words);
    EXPECT_EQ(r.code, 3) << r.err;
    EXPECT_HAS(r.err, "cifar10 is not in " + (home_.path() / "cache/data/cifar10").string());
    EXPECT_HAS(r.err, "--download");
  }
  EXPECT_FALSE(fs::exists(home_.path() / "cache"));
}

TEST_F(FetchCommand, DownloadFlagFetches) {
  HttpServer server(
      [&](const HttpRequestSeen&, HttpConnection& c) { c.respond("404 Not Found", ""); });
  mirror(server.url());
  const std::string cache = (home_.path() / "mine").string();
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"train", "cifar10", "--download", "--cache", cache},
        {"data", "check", "cifar10", "--download", "--cache", cache}}) {
    const Outcome r = resnet(words);
    EXPECT_EQ(r.code, 5) << r.err;
    EXPECT_HAS(r.err, "/~kriz/cifar-10-binary.tar.gz: the server answers HTTP 404");
    EXPECT_HAS(r.err, cache + "/data/cifar10/cifar-10-binary.tar.gz");
  }
  EXPECT_EQ(server.requests().size(), 2U);
}

TEST_F(FetchCommand, WeightsByNameAreFetched) {
  HttpServer server(
      [&](const HttpRequestSeen&, HttpConnection& c) { c.respond("404 Not Found", ""); });
  mirror(server.url());
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"eval", "resnet18", "galaxies"},
        {"predict", "resnet18.tv_in1k", "a.png"},
        {"embed", "ResNet18_Weights.IMAGENET1K_V1", "a.png", "-o", "a.npy"}}) {
    const Outcome r = resnet(words);
    EXPECT_EQ(r.code, 5) << r.err;
    EXPECT_HAS(r.err, "/models/resnet18-f37072fd.pth: the server answers HTTP 404");
  }
  EXPECT_EQ(server.requests().size(), 3U);
}

TEST_F(FetchCommand, NamesThatAreNone) {
  const Outcome r = resnet({"weights", "get", "resnet50.a1"});
  EXPECT_EQ(r.code, 3);
  EXPECT_HAS(r.err, "did you mean resnet50.a1_in1k?");
}

}  // namespace
}  // namespace resnet::test
