// Data sets by name, in the cache.
#pragma once

#include "resnet/data.h"

namespace resnet {

/// Null if no data set has that name.
const KnownData* find_known_data(std::string_view name);

/// `get_data` for one that need not be in the table.
std::filesystem::path get_data(const KnownData& data, const DownloadOptions& options);

/// Where the source lies: itself if it is a path that exists; its place in the cache if it is the
/// name of a data set, which is fetched if `spec.download`. Throws `kNotFound` saying what to do,
/// or, for neither, what is `expected`.
std::filesystem::path locate_data(const DataSpec& spec, std::string_view expected);

}  // namespace resnet
