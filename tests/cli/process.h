// Runs the binary `resnet` as a user does: a process with arguments, input and output.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace resnet::test {

struct Outcome {
  int code = 0;  ///< Exit code, or minus the signal that ended the process.
  std::string out, err;
};

/// A folder below the system's temporary one, removed at the end.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

struct Settings {
  std::string input = {};        ///< Standard input.
  std::size_t largest_file = 0;  ///< In bytes (RLIMIT_FSIZE): stands in for a full disk. 0: none.
  bool terminal = false;         ///< Standard error is a terminal.
  std::string out_path = {};     ///< Where standard output goes in place of Outcome::out.
  /// NAME=VALUE, over what the tests set.
  std::vector<std::string> environment = {};
  std::vector<int> ignored = {};  ///< Signals that are ignored from the start, as by nohup.
  std::size_t open_files = 0;     ///< RLIMIT_NOFILE; 0: as it is.
  bool one_processor = false;     ///< As by taskset -c.
  unsigned umask = 0;             ///< 0: as it is.
};

class Process {
 public:
  /// Starts `resnet arguments...` with `folder` as its current folder.
  Process(const std::filesystem::path& folder, const std::vector<std::string>& arguments,
          const Settings& settings = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  /// Waits until standard error holds `text`; false when the process ended without.
  bool wait_for_message(const std::string& text);
  void signal(int number) const;
  Outcome wait();

 private:
  std::string messages();

  TemporaryFolder files_;
  pid_t pid_ = -1;
  int terminal_ = -1;
  std::string shown_;  // on the terminal
};

Outcome run_resnet(const std::filesystem::path& folder, const std::vector<std::string>& arguments,
                   const Settings& settings = {});

std::string read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, const std::string& bytes);
/// A tar with one file (name, bytes) after another, as WebDataset writes them.
std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files);

}  // namespace resnet::test
