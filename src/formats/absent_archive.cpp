#include "core/absent.h"
#include "formats/archive.h"

namespace resnet {

void read_archive(const std::filesystem::path& path, const ChooseFile& /*choose*/,
                  const TakeFile& /*take*/, const ArchiveLimits& /*limits*/) {
  absent(path.string(), "reads no archives", "RESNET_ARCHIVE");
}

void read_archive(std::span<const std::byte> /*archive*/, const std::string& name,
                  const ChooseFile& /*choose*/, const TakeFile& /*take*/,
                  const ArchiveLimits& /*limits*/) {
  absent(name, "reads no archives", "RESNET_ARCHIVE");
}

}  // namespace resnet
