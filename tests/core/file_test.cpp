#include "core/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "resnet/error.h"

namespace resnet {
namespace {

// A named pipe that a thread of its own fills.
class FilledPipe {
 public:
  explicit FilledPipe(std::string text)
      : path_(std::filesystem::temp_directory_path() /
              ("resnet-pipe-" + std::to_string(::getpid()))) {
    std::filesystem::remove(path_);
    if (::mkfifo(path_.c_str(), 0600) != 0) throw std::runtime_error("no pipe");
    std::signal(SIGPIPE, SIG_IGN);  // a reader may refuse it before all is written
    writer_ = std::thread([text = std::move(text), path = path_] { std::ofstream(path) << text; });
  }
  ~FilledPipe() {
    writer_.join();
    std::filesystem::remove(path_);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::thread writer_;
};

TEST(File, ReadsAPipeToItsEnd) {
  const std::string text(200'000, 'x');  // more than a pipe holds
  const FilledPipe pipe(text);
  EXPECT_EQ(read_text_file(pipe.path()), text);
}

TEST(File, ReadsNoMoreOfAPipeThanItsLimit) {
  const FilledPipe pipe(std::string(5000, 'x'));
  try {
    read_file(pipe.path(), 4999);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kBadData);
    EXPECT_NE(std::string(e.what()).find("4999"), std::string::npos) << e.what();
  }
}

TEST(File, APipeCannotBeReadByPosition) {
  const FilledPipe pipe("x");
  try {
    const ByteSource source(pipe.path());
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kBadData);
    EXPECT_NE(std::string(e.what()).find("pipe"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace resnet
