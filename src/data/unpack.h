// Archives unpacked to disk, safely.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>

namespace resnet {

/// Unpacks the regular files below `top`/ in the archive so that `folder` has them; links and
/// devices are passed over. All or nothing: `folder` appears when everything is there. Throws
/// `kBadData` (damaged; a name that leads elsewhere, such as ../x or /x; nothing below `top`; more
/// than `max_bytes`), `kIo` (disk full), `kInterrupted`.
void unpack(const std::filesystem::path& archive, const std::string& top,
            const std::filesystem::path& folder, std::uint64_t max_bytes,
            const std::atomic<bool>* stop = nullptr,
            const std::function<void(std::int64_t files)>& progress = {});

}  // namespace resnet
