#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <system_error>
#include <vector>

#include "cli/app.h"

namespace {

// GNU OpenMP's threads spin for milliseconds where they wait for each other. When another process
// has one of the processors, what they wait for is not running, and everything takes several times
// as long. How long they spin is read when the library is loaded, hence the new start.
void limit_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || ::setenv("GOMP_SPINCOUNT", "2000", 1) != 0) return;
  ::execv(self.c_str(), argv);  // if it fails, things go on as they are
}

}  // namespace

int main(int argc, char** argv) {
  limit_spinning(argv);
  std::ios::sync_with_stdio(false);  // so that standard input tells how much has arrived
  return resnet::cli::run_program(std::vector<std::string>(argv + 1, argv + argc));
}
