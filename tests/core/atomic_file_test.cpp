#include "core/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <future>
#include <sstream>
#include <thread>

#include "core/file.h"
#include "core/os_error.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

class AtomicFiles : public testing::Test {
 protected:
  AtomicFiles() {
    std::string name = (fs::temp_directory_path() / "atomic-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder = name;
  }
  ~AtomicFiles() override {
    ::umask(before);
    fs::remove_all(folder);
  }

  static std::string text_of(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
  }
  static mode_t mode_of(const fs::path& path) {
    struct stat info {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 07777;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& e : fs::directory_iterator(folder)) all.push_back(e.path().filename());
    std::ranges::sort(all);
    return all;
  }
  using Names = std::vector<std::string>;

  fs::path folder;
  mode_t before = ::umask(022);
};

TEST_F(AtomicFiles, ANewFileHasThePermissionsOfTheUmask) {
  for (const mode_t mask : {mode_t{022}, mode_t{077}, mode_t{002}, mode_t{027}}) {
    ::umask(mask);
    const fs::path path = folder / std::to_string(mask);
    write_file_atomic(path, std::string_view("x"));
    EXPECT_EQ(mode_of(path), 0666 & ~mask);
  }
}

TEST_F(AtomicFiles, AFileThatIsReplacedKeepsItsPermissions) {
  const fs::path path = folder / "a";
  for (const mode_t mode : {0600U, 0664U, 0444U, 0755U}) {
    fs::remove(path);
    write_file_atomic(path, std::string_view("old"));
    ASSERT_EQ(::chmod(path.c_str(), mode), 0);
    write_file_atomic(path, std::string_view("new"));
    EXPECT_EQ(mode_of(path), mode);
    EXPECT_EQ(text_of(path), "new");
  }
}

TEST_F(AtomicFiles, ASecretFileIsNeverOpenToOthersWhileItIsWritten) {
  const fs::path path = folder / "a";
  write_file_atomic(path, std::string_view("old"));
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  AtomicFile file(path);
  for (const std::string& name : names()) {
    EXPECT_EQ(mode_of(folder / name), 0600U) << name;
  }
}

TEST_F(AtomicFiles, ALinkKeepsPointingAndItsTargetIsReplaced) {
  fs::create_directory(folder / "store");
  write_file_atomic(folder / "store" / "v1", std::string_view("old"));
  fs::create_symlink("store/v1", folder / "current");  // relative, of two steps
  fs::create_symlink("current", folder / "latest");
  write_file_atomic(folder / "latest", std::string_view("new"));
  EXPECT_EQ(fs::read_symlink(folder / "latest"), "current");
  EXPECT_EQ(fs::read_symlink(folder / "current"), "store/v1");
  EXPECT_EQ(text_of(folder / "store" / "v1"), "new");
}

TEST_F(AtomicFiles, ALinkToNothingMakesItsTarget) {
  fs::create_directory(folder / "store");
  fs::create_symlink(folder / "store" / "v2", folder / "current");
  write_file_atomic(folder / "current", std::string_view("new"));
  EXPECT_TRUE(fs::is_symlink(folder / "current"));
  EXPECT_EQ(text_of(folder / "store" / "v2"), "new");
}

TEST_F(AtomicFiles, LinksInACircleAreAnError) {
  fs::create_symlink("b", folder / "a");
  fs::create_symlink("a", folder / "b");
  EXPECT_THROW(write_file_atomic(folder / "a", std::string_view("x")), Error);
  EXPECT_EQ(names(), (Names{"a", "b"}));
}

TEST_F(AtomicFiles, APipeIsWrittenToAndStays) {
  const fs::path pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_TRUE(is_stream(pipe));
  const std::string text(300'000, 'x');  // more than a pipe holds
  auto reader = std::async(std::launch::async, [&] { return text_of(pipe); });
  AtomicFile file(pipe);
  file.append(std::as_bytes(std::span(text)));
  file.overwrite(1, std::as_bytes(std::span("yz", 2)));  // no pipe could seek
  file.commit();
  std::string expected = text;
  expected.replace(1, 2, "yz");
  EXPECT_EQ(reader.get(), expected);
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(names(), Names{"pipe"});
}

TEST_F(AtomicFiles, APipeGetsNothingOfWhatFailed) {
  const fs::path pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  auto reader = std::async(std::launch::async, [&] { return text_of(pipe); });
  EXPECT_THROW(write_file_atomic(pipe,
                                 [](const ByteSink& sink) {
                                   sink(std::as_bytes(std::span("half", 4)));
                                   throw std::runtime_error("no more");
                                 }),
               std::runtime_error);
  EXPECT_EQ(reader.get(), "");
}

TEST_F(AtomicFiles, DevicesStayDevices) {
  EXPECT_TRUE(is_stream("/dev/null"));
  write_file_atomic("/dev/null", std::string_view("x"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  fs::create_symlink("/dev/null", folder / "nowhere");
  EXPECT_TRUE(is_stream(folder / "nowhere"));
  write_file_atomic(folder / "nowhere", std::string_view("x"));
  EXPECT_TRUE(fs::is_symlink(folder / "nowhere"));
}

TEST_F(AtomicFiles, ADescriptorIsWrittenWhereItStands) {
  const fs::path path = folder / "log";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::write(fd, "first ", 6), 6);
  for (const char* place : {"/dev/fd/", "/proc/self/fd/"}) {
    const std::string name = place + std::to_string(fd);
    EXPECT_TRUE(is_stream(name)) << name;
    write_file_atomic(name, std::string_view("second "));
  }
  ::close(fd);
  EXPECT_EQ(text_of(path), "first second second ");
  EXPECT_EQ(names(), Names{"log"});
}

TEST_F(AtomicFiles, ANameMayBeAsLongAsTheSystemAllows) {
  for (const std::size_t length : {249U, 255U}) {
    const fs::path path = folder / std::string(length, 'n');
    write_file_atomic(path, std::string_view("x"));
    EXPECT_EQ(text_of(path), "x");
  }
  EXPECT_THROW(write_file_atomic(folder / std::string(256, 'n'), std::string_view("x")), Error);
  EXPECT_EQ(names().size(), 2U);
}

TEST_F(AtomicFiles, AFolderIsNoFile) {
  for (const fs::path& path : {folder, folder / "", fs::path("")}) {
    EXPECT_THROW(write_file_atomic(path, std::string_view("x")), Error) << path;
  }
  EXPECT_EQ(names(), Names{});
}

TEST_F(AtomicFiles, LeftoversAreRemovedUnlessSomebodyWrites) {
  write_file_atomic(folder / ".resnet-12345678", std::string_view("of a killed process"));
  write_file_atomic(folder / ".resnet-notes", std::string_view("somebody's own"));
  AtomicFile busy(folder / "model");
  busy.append(std::as_bytes(std::span("x", 1)));
  for (const std::string& name : names()) remove_leftover(folder / name);
  EXPECT_EQ(names().size(), 2U) << "the one that is busy, and the notes";
  busy.commit();
  EXPECT_EQ(names(), (Names{".resnet-notes", "model"}));
}

TEST(OsErrors, TooManyOpenFilesSaysTheLimitAndWhatHelps) {
  try {
    fail_os("open", "x.tar", EMFILE);
  } catch (const TooManyOpenFiles& e) {
    EXPECT_NE(std::string(e.what()).find("ulimit -n"), std::string::npos) << e.what();
    EXPECT_EQ(e.code(), ErrorCode::kIo);
  }
  EXPECT_THROW(fail_os("open", "x.tar", EMFILE), TooManyOpenFiles);
}

}  // namespace
}  // namespace resnet
