// Against a server of this process, good and bad. What arrives is compared byte for byte, and what
// is asked for is read from the requests.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include "http/http_server.h"
#include "resnet/download.h"
#include "resnet/error.h"

namespace resnet::test {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string read(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// 200 000 bytes that differ from place to place.
std::string make_body(unsigned seed = 1) {
  std::string body(200'000, '\0');
  for (char& c : body) {
    seed = seed * 1664525U + 1013904223U;
    c = static_cast<char>(seed >> 24);
  }
  return body;
}

class Fetch : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name :
         {"http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "RESNET_MIRROR"}) {
      ::unsetenv(name);
    }
    std::string name = (fs::temp_directory_path() / "resnet-fetch-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    home_ = name;
    write(home_ / "original", body_);
    sha_ = sha256_of(home_ / "original");
    options_.attempts = 3;
    options_.first_pause_seconds = 0.01;
    options_.warning = [this](const std::string& text) { warnings_.push_back(text); };
  }
  void TearDown() override { fs::remove_all(home_); }

  fs::path file() const { return home_ / "cache" / "file.bin"; }
  fs::path part() const { return file().string() + ".part"; }

  // What went wrong, as "code message", or "" when the file is there and right.
  std::string fetch_from(const std::string& url, std::uint64_t size = 0, std::string sha = "") {
    if (sha.empty()) sha = sha_;
    try {
      fetch({.url = url, .sha256 = sha, .size = size, .max_size = 1'000'000}, file(), options_);
    } catch (const Error& error) {
      code_ = error.code();
      const std::string message = error.what();
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
      return message;
    }
    EXPECT_EQ(read(file()), body_);
    EXPECT_FALSE(fs::exists(part()));
    EXPECT_FALSE(fs::exists(part().string() + ".tag"));
    return "";
  }

  fs::path home_;
  std::string body_ = make_body(), sha_;
  DownloadOptions options_;
  std::vector<std::string> warnings_;
  ErrorCode code_{};
};

#define EXPECT_HAS(text, fragment) EXPECT_NE((text).find(fragment), std::string::npos) << (text)

TEST(Sha256, KnownDigests) {
  const fs::path path = fs::temp_directory_path() / "resnet-sha256-test";
  write(path, "abc");  // FIPS 180-2, B.1
  EXPECT_EQ(sha256_of(path), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  write(path, "");
  EXPECT_EQ(sha256_of(path), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  fs::remove(path);
  EXPECT_THROW(sha256_of(path), Error);
}

TEST_F(Fetch, WholeFileThenNothing) {
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  std::uint64_t last = 0;
  options_.progress = [&](const DownloadProgress& p) {
    EXPECT_GE(p.received, last);
    EXPECT_EQ(p.total, body_.size());
    last = p.received;
  };
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(last, body_.size());
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  ASSERT_EQ(server.requests().size(), 1U);  // the second time it is there
  EXPECT_EQ(server.requests()[0].headers.at("user-agent"), "resnet.cpp");
}

TEST_F(Fetch, SizeNotKnownAndLeadingDigitsOfTheChecksum) {
  HttpServer server([&](const auto&, auto& c) {
    c.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body_);
  });
  EXPECT_EQ(fetch_from(server.url("/a"), 0, sha_.substr(0, 8)), "");
}

TEST_F(Fetch, FollowsRedirects) {
  HttpServer server([&](const auto& r, auto& c) {
    if (r.target == "/a") {
      c.respond("302 Found", "elsewhere", "Location: /b\r\n");
    } else {
      serve_file(r, c, body_, "\"1\"");
    }
  });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(server.requests().back().target, "/b");
}

TEST_F(Fetch, RefusesOtherProtocols) {
  HttpServer server([&](const auto&, auto& c) {
    c.respond("302 Found", "", "Location: file://" + (home_ / "original").string() + "\r\n");
  });
  EXPECT_HAS(fetch_from(server.url("/a")), "Protocol \"file\"");
  EXPECT_EQ(code_, ErrorCode::kIo);
  EXPECT_EQ(server.requests().size(), 1U);  // no second attempt
  for (const std::string& url :
       {"file://" + (home_ / "original").string(), std::string("ftp://a/b"), std::string("a")}) {
    EXPECT_HAS(fetch_from(url), "expected an address");
    EXPECT_EQ(code_, ErrorCode::kInvalidArgument);
  }
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(Fetch, EndlessRedirects) {
  HttpServer server(
      [&](const auto&, auto& c) { c.respond("302 Found", "", "Location: /again\r\n"); });
  EXPECT_HAS(fetch_from(server.url("/a")), "redirect");
}

TEST_F(Fetch, GoesOnAfterACut) {
  std::atomic<int> requests = 0;
  HttpServer server([&](const auto& r, auto& c) {
    if (requests++ == 0) {
      c.send("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: " + std::to_string(body_.size()) +
             "\r\n\r\n" + body_.substr(0, 70'000));
      return;  // the connection is cut
    }
    serve_file(r, c, body_, "\"1\"");
  });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(server.requests()[0].headers.count("range"), 0U);
  EXPECT_EQ(server.requests()[1].headers.at("range"), "bytes=70000-");
  EXPECT_EQ(server.requests()[1].headers.at("if-range"), "\"1\"");
  EXPECT_EQ(warnings_.size(), 1U);
}

TEST_F(Fetch, ManyCutsAreFineWhileItMoves) {
  HttpServer server([&](const auto& r, auto& c) {
    const auto range = r.headers.find("range");
    const std::size_t from = range == r.headers.end() ? 0 : std::stoul(range->second.substr(6));
    const std::string head = from == 0 ? "HTTP/1.1 200 OK\r\n"
                                       : "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes " +
                                             std::to_string(from) + "-199999/200000\r\n";
    c.send(head + "Content-Length: " + std::to_string(body_.size() - from) + "\r\n\r\n" +
           body_.substr(from, 25'000));
  });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(server.requests().size(), 8U);  // more than the three attempts without progress
}

TEST_F(Fetch, GoesOnInTheNextCall) {
  fs::create_directories(file().parent_path());
  write(part(), body_.substr(0, 123'456));
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_EQ(server.requests()[0].headers.at("range"), "bytes=123456-");
}

TEST_F(Fetch, ACompletePartNeedsNoNetwork) {
  fs::create_directories(file().parent_path());
  write(part(), body_);
  EXPECT_EQ(fetch_from(url_of_nobody() + "/a", body_.size()), "");
}

TEST_F(Fetch, ACompletePartOfUnknownSize) {  // the server answers 416
  fs::create_directories(file().parent_path());
  write(part(), body_);
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  EXPECT_EQ(fetch_from(server.url("/a")), "");
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(Fetch, StartsOverWhereTheServerKnowsNoRanges) {
  fs::create_directories(file().parent_path());
  write(part(), make_body(2).substr(0, 150'000));
  HttpServer server([&](const auto&, auto& c) { c.respond("200 OK", body_); });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(Fetch, StartsOverWhenTheFileHasChanged) {
  const std::string old = make_body(2);
  std::atomic<int> requests = 0;
  HttpServer server([&](const auto& r, auto& c) {
    if (requests++ == 0) {
      c.send("HTTP/1.1 200 OK\r\nETag: \"old\"\r\nContent-Length: 200000\r\n\r\n" +
             old.substr(0, 50'000));
      return;
    }
    serve_file(r, c, body_, "\"new\"");
  });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(server.requests()[1].headers.at("if-range"), "\"old\"");
}

TEST_F(Fetch, StartsOverWhenThePartWasOfAnotherFile) {  // and no ETag to tell
  fs::create_directories(file().parent_path());
  write(part(), make_body(2).substr(0, 150'000));
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(server.requests()[0].headers.count("range"), 1U);
  EXPECT_EQ(server.requests()[1].headers.count("range"), 0U);
}

TEST_F(Fetch, WrongChecksumIsRefusedAndRemoved) {
  const std::string other = make_body(3);
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, other, "\"1\""); });
  const std::string message = fetch_from(server.url("/a"), other.size());
  EXPECT_HAS(message, "SHA-256");
  EXPECT_HAS(message, sha_.substr(0, 16));
  EXPECT_EQ(code_, ErrorCode::kBadData);
  EXPECT_FALSE(fs::exists(file()));
  EXPECT_FALSE(fs::exists(part()));
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(Fetch, AnotherSizeIsRefusedBeforeTheBody) {
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  EXPECT_HAS(fetch_from(server.url("/a"), 123), "200000 bytes where 123 are expected");
  EXPECT_EQ(code_, ErrorCode::kBadData);
  EXPECT_FALSE(fs::exists(part()));
}

TEST_F(Fetch, AnEndlessBodyIsStopped) {
  for (const std::uint64_t size : {std::uint64_t{0}, std::uint64_t{500'000}}) {
    HttpServer server([&](const auto&, auto& c) {
      if (!c.send("HTTP/1.1 200 OK\r\n\r\n")) return;
      while (c.send(body_)) {
      }
    });
    EXPECT_HAS(fetch_from(server.url("/a"), size), "sends more than the");
    EXPECT_EQ(code_, ErrorCode::kBadData);
    EXPECT_FALSE(fs::exists(part()));
  }
}

TEST_F(Fetch, AnEndlessErrorPageIsLeft) {
  HttpServer server([&](const auto&, auto& c) {
    if (!c.send("HTTP/1.1 404 Not Found\r\n\r\n")) return;
    while (c.send(body_)) {
    }
  });
  EXPECT_HAS(fetch_from(server.url("/a")), "HTTP 404");
}

TEST_F(Fetch, AFileThatIsNotThere) {
  HttpServer server([&](const auto&, auto& c) { c.respond("404 Not Found", "no such page"); });
  const std::string message = fetch_from(server.url("/a"));
  EXPECT_HAS(message, "HTTP 404");
  EXPECT_HAS(message, "put it there as " + file().string());
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(Fetch, TriesAgainWhenTheServerIsBusy) {
  std::atomic<int> requests = 0;
  HttpServer server([&](const auto& r, auto& c) {
    if (requests++ < 2) {
      c.respond("503 Service Unavailable", "busy");
    } else {
      serve_file(r, c, body_, "\"1\"");
    }
  });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(warnings_.size(), 2U);
}

TEST_F(Fetch, GivesUpOnABrokenServer) {
  HttpServer server([&](const auto&, auto& c) { c.respond("500 Internal Server Error", ""); });
  EXPECT_HAS(fetch_from(server.url("/a")), "HTTP 500 (3 attempts)");
  EXPECT_EQ(code_, ErrorCode::kIo);
  EXPECT_EQ(server.requests().size(), 3U);
}

TEST_F(Fetch, HeedsRetryAfter) {
  std::atomic<int> requests = 0;
  HttpServer server([&](const auto& r, auto& c) {
    if (requests++ == 0) {
      c.respond("429 Too Many Requests", "", "Retry-After: 1\r\n");
    } else {
      serve_file(r, c, body_, "\"1\"");
    }
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

TEST_F(Fetch, AStalledServerIsLeftAndAskedAgain) {
  options_.stall_timeout_seconds = 1;
  std::atomic<int> requests = 0;
  HttpServer server([&](const auto& r, auto& c) {
    if (requests++ == 0) {
      c.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + body_.substr(0, 1000));
      c.stall();
      return;
    }
    serve_file(r, c, body_, "\"1\"");
  });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(server.requests()[1].headers.at("range"), "bytes=1000-");
}

TEST_F(Fetch, NobodyListens) {
  const std::string message = fetch_from(url_of_nobody() + "/a");
  EXPECT_HAS(message, "connect");
  EXPECT_HAS(message, "3 attempts");
  EXPECT_HAS(message, file().string());
  EXPECT_EQ(code_, ErrorCode::kIo);
  EXPECT_TRUE(fs::is_empty(file().parent_path()));
}

TEST_F(Fetch, Offline) {
  options_.offline = true;
  EXPECT_HAS(fetch_from("https://example.org/a"), "fetch https://example.org/a and put it there");
  EXPECT_EQ(code_, ErrorCode::kNotFound);
  EXPECT_FALSE(fs::exists(file().parent_path()));
  fs::create_directories(file().parent_path());
  write(file(), "wrong");
  EXPECT_HAS(fetch_from("https://example.org/a"), "damaged");
  EXPECT_EQ(code_, ErrorCode::kBadData);
  write(file(), body_);
  EXPECT_EQ(fetch_from("https://example.org/a"), "");
}

TEST_F(Fetch, ADamagedFileIsFetchedAgain) {
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  fs::create_directories(file().parent_path());
  std::string damaged = body_;
  damaged[1000] ^= 1;
  write(file(), damaged);
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_HAS(warnings_[0], "damaged");
}

TEST_F(Fetch, AMirrorReplacesTheHost) {
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  ::setenv("RESNET_MIRROR", server.url("/mirror/").c_str(), 1);
  EXPECT_EQ(fetch_from("https://example.org/models/a.bin", body_.size()), "");
  EXPECT_EQ(server.requests()[0].target, "/mirror/models/a.bin");
  ::unsetenv("RESNET_MIRROR");
}

TEST_F(Fetch, MoreThanTheDiskHas) {
  HttpServer server([&](const auto&, auto& c) {
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 4000000000000000000\r\n\r\n");
    c.stall();
  });
  constexpr std::uint64_t kHuge = 4'000'000'000'000'000'000;
  EXPECT_HAS(fetch_from(server.url("/a"), kHuge), "are free");
  EXPECT_EQ(code_, ErrorCode::kIo);
  EXPECT_TRUE(server.requests().empty());  // told before anything is asked for
}

TEST_F(Fetch, AFullDiskKeepsWhatHasArrived) {
  HttpServer server([&](const auto& r, auto& c) { serve_file(r, c, body_, "\"1\""); });
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{100'000, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = fetch_from(server.url("/a"), body_.size());
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_HAS(message, "needs 0.1 MB more");
  EXPECT_EQ(code_, ErrorCode::kIo);
  ASSERT_EQ(read(part()), body_.substr(0, 100'000));
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(server.requests().back().headers.at("range"), "bytes=100000-");
}

TEST_F(Fetch, StopKeepsWhatHasArrived) {
  std::atomic<bool> stop = false;
  std::atomic<int> requests = 0;
  HttpServer server([&](const auto& r, auto& c) {
    if (requests++ > 0) {
      serve_file(r, c, body_, "\"1\"");
      return;
    }
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + body_.substr(0, 80'000));
    while (!fs::exists(part()) || fs::file_size(part()) < 80'000) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    stop = true;
    c.stall();
  });
  options_.stop = &stop;
  EXPECT_HAS(fetch_from(server.url("/a"), body_.size()), "goes on from there");
  EXPECT_EQ(code_, ErrorCode::kInterrupted);
  EXPECT_EQ(fs::file_size(part()), 80'000U);
  stop = false;
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  EXPECT_EQ(server.requests()[1].headers.at("range"), "bytes=80000-");
}

TEST_F(Fetch, TwoAtOnceFetchOnce) {
  HttpServer server([&](const auto&, auto& c) {
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + body_.substr(0, 100'000));
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    c.send(body_.substr(100'000));
  });
  // flock() belongs to an open file: two threads exclude each other as two processes do.
  std::thread other([&] {
    EXPECT_NO_THROW(
        fetch({.url = server.url("/a"), .sha256 = sha_, .size = body_.size()}, file(), {}));
  });
  EXPECT_EQ(fetch_from(server.url("/a"), body_.size()), "");
  other.join();
  EXPECT_EQ(server.requests().size(), 1U);
  EXPECT_FALSE(fs::exists(part()));
}

TEST_F(Fetch, ChecksumsThatAreNone) {
  EXPECT_HAS(fetch_from("https://example.org/a", 0, "xyz"), "hexadecimal");
  EXPECT_EQ(code_, ErrorCode::kInvalidArgument);
}

TEST(CacheFolder, ByTheEnvironment) {
  ::setenv("HOME", "/home/somebody", 1);
  ::unsetenv("XDG_CACHE_HOME");
  ::unsetenv("RESNET_CACHE");
  EXPECT_EQ(cache_folder(), "/home/somebody/.cache/resnet");
  ::setenv("XDG_CACHE_HOME", "/xdg", 1);
  EXPECT_EQ(cache_folder(), "/xdg/resnet");
  ::setenv("RESNET_CACHE", "/own", 1);
  EXPECT_EQ(cache_folder(), "/own");
  EXPECT_EQ(cache_folder({.cache = "/mine"}), "/mine");
}

}  // namespace
}  // namespace resnet::test
