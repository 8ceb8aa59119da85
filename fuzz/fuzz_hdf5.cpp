// What we ask of libhdf5 about a hostile file. It parses files only, so the input becomes one in
// memory-backed storage.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "formats/hdf5.h"
#include "fuzz.h"

/// The library forgets memory when a file is damaged.
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5"; }

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  static const int file = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  fuzz::require(::ftruncate(file, 0) == 0 &&
                ::pwrite(file, data, size, 0) == static_cast<ssize_t>(size));
  fuzz::expect_no_other_error([&] {
    const Hdf5File h5(path);
    fuzz::expect_no_other_error([&] { h5.read_integers("y", 1 << 16); });
    const Hdf5Rows rows(h5, "x");
    std::size_t row = 1;
    for (std::size_t d = 1; d < rows.shape().size(); ++d) {
      row *= static_cast<std::size_t>(rows.shape()[d]);
    }
    if (row > 1 << 20) return;
    std::vector<std::byte> out(row);
    rows.read(rows.shape()[0] - 1, 1, out);
  });
  return 0;
}
