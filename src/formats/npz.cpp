#include "formats/npz.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <vector>

#include "core/check.h"
#include "formats/archive.h"
#include "formats/npy.h"

namespace resnet {

std::map<std::string, Tensor> read_npz(const std::filesystem::path& path,
                                       const std::function<bool(const std::string&)>& wanted) {
  // Images shrink to a third at best; a thousandth, which deflate can do, is a bomb.
  constexpr std::uint64_t kMaxRatio = 64;
  constexpr std::uint64_t kAlwaysFine = std::uint64_t{1} << 28;
  std::error_code missing;  // reported by read_archive
  const std::uint64_t size = std::filesystem::file_size(path, missing);
  ArchiveLimits limits;
  limits.max_total_bytes = missing ? kAlwaysFine : std::max(kAlwaysFine, size * kMaxRatio);
  limits.max_file_bytes = limits.max_total_bytes;
  limits.max_entries = 10'000;

  constexpr std::string_view kEnding = ".npy";
  const auto array_name = [&](const std::string& file) {
    return file.ends_with(kEnding) ? file.substr(0, file.size() - kEnding.size()) : std::string{};
  };
  std::map<std::string, Tensor> arrays;
  read_archive(
      path,
      [&](const std::string& file) {
        const std::string name = array_name(file);
        return !name.empty() && wanted(name) ? ArchiveAction::kTake : ArchiveAction::kSkip;
      },
      [&](const std::string& file, const std::vector<std::byte>& bytes) {
        const std::string where = path.string() + "/" + file;
        if (!arrays.try_emplace(array_name(file), parse_npy(bytes, where)).second) {
          fail(ErrorCode::kBadData, "{}: the archive has two arrays of that name", where);
        }
      },
      limits);
  return arrays;
}

}  // namespace resnet
