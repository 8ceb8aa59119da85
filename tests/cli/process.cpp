#include "cli/process.h"

#include <fcntl.h>
#include <pty.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace resnet::test {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kLongestSeconds = 300;  // a process that hangs is ended

// In the child: file descriptor `number` becomes the file.
void redirect(int number, const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags, 0600);
  if (file < 0 || ::dup2(file, number) < 0) ::_exit(99);
  ::close(file);
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string name = (fs::temp_directory_path() / "resnet-cli-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code error;
  fs::remove_all(path_, error);
}

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_file(const fs::path& path, const std::string& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out << bytes;
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

Process::Process(const fs::path& folder, const std::vector<std::string>& arguments,
                 const Settings& settings) {
  const std::string in = files_.path() / "in", err = files_.path() / "err";
  const std::string out =
      settings.out_path.empty() ? (files_.path() / "out").string() : settings.out_path;
  write_file(in, settings.input);
  std::vector<std::string> words{RESNET_BINARY};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int screen = -1;
  winsize size{.ws_row = 24, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
  if (settings.terminal && ::openpty(&terminal_, &screen, nullptr, nullptr, &size) != 0) {
    throw std::runtime_error("no pseudoterminal");
  }
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("cannot fork");
  if (pid_ == 0) {
    if (::chdir(folder.c_str()) != 0) ::_exit(99);
    redirect(STDIN_FILENO, in, O_RDONLY);
    redirect(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
    if (screen >= 0) {
      ::dup2(screen, STDERR_FILENO);
      ::close(screen);
      ::close(terminal_);
    } else {
      redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
    }
    if (settings.largest_file > 0) {
      const rlimit limit{settings.largest_file, settings.largest_file};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (settings.open_files > 0) {
      const rlimit limit{settings.open_files, settings.open_files};
      ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (settings.one_processor) {
      cpu_set_t allowed, one;
      ::sched_getaffinity(0, sizeof allowed, &allowed);
      CPU_ZERO(&one);
      for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
        if (CPU_ISSET(i, &allowed)) CPU_SET(i, &one);
      }
      ::sched_setaffinity(0, sizeof one, &one);
    }
    if (settings.umask > 0) ::umask(settings.umask);
    for (const int number : settings.ignored) ::signal(number, SIG_IGN);
    // Tiny kernels: on a busy machine threads would mostly wait for each other.
    ::setenv("OMP_NUM_THREADS", "1", 1);
    ::setenv("TERM", "xterm", 1);
    ::unsetenv("NO_COLOR");
    for (const std::string& variable : settings.environment) {
      ::putenv(const_cast<char*>(variable.c_str()));
    }
    ::alarm(kLongestSeconds);
    ::execv(argv[0], argv.data());
    ::_exit(99);
  }
  if (screen >= 0) ::close(screen);
}

Process::~Process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (terminal_ >= 0) ::close(terminal_);
}

std::string Process::messages() {
  return terminal_ >= 0 ? shown_ : read_file(files_.path() / "err");
}

bool Process::wait_for_message(const std::string& text) {
  while (messages().find(text) == std::string::npos) {
    siginfo_t info{};
    if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
        info.si_pid != 0) {
      return messages().find(text) != std::string::npos;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

void Process::signal(int number) const { ::kill(pid_, number); }

Outcome Process::wait() {
  if (terminal_ >= 0) {
    std::array<char, 4096> part{};
    for (ssize_t n = 0; (n = ::read(terminal_, part.data(), part.size())) > 0;) {
      shown_.append(part.data(), static_cast<std::size_t>(n));
    }
  }
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
          read_file(files_.path() / "out"), messages()};
}

Outcome run_resnet(const fs::path& folder, const std::vector<std::string>& arguments,
                   const Settings& settings) {
  return Process(folder, arguments, settings).wait();
}

std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string tar;
  for (const auto& [name, bytes] : files) {
    std::string header(512, '\0');
    const auto put = [&](std::size_t at, const std::string& text) {
      header.replace(at, text.size(), text);
    };
    const auto octal = [](std::size_t value, int digits) {
      std::array<char, 32> text{};
      std::snprintf(text.data(), text.size(), "%0*zo", digits, value);
      return std::string(text.data());
    };
    put(0, name);
    put(100, "0000644");
    put(124, octal(bytes.size(), 11));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, std::string("ustar\0"
                         "00",
                         8));
    std::size_t sum = 0;
    for (const char c : header) sum += static_cast<unsigned char>(c);
    put(148, octal(sum, 6) + '\0' + ' ');
    tar += header + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
  }
  return tar + std::string(1024, '\0');
}

}  // namespace resnet::test
