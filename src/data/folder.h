// Folders of images: what lies below them, and which of their folders are classes and which parts.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "data/sources.h"

namespace resnet {

/// A file or folder that some system keeps for itself beside a user's own: hidden ones, thumbnails
/// and bins of network storage (`@eaDir`, `#recycle`), macOS's `__MACOSX` and `._x.jpg`, Windows's
/// `$RECYCLE.BIN`, …
bool is_foreign_name(std::string_view name);
/// Some step of a path inside an archive is one.
bool is_foreign_path(std::string_view path);

/// Images below a folder, sorted, relative to it; at most `most`. Symbolic links are followed, each
/// folder once however many links lead to it, and none that leads back up. A link that leads
/// nowhere is listed if it could be an image or a folder, so that whoever reads it reports it.
/// A folder that cannot be listed is `kIo`, or told to `unlisted`.
std::vector<std::string> images_below(const std::filesystem::path& folder,
                                      std::size_t most = SIZE_MAX, const Unlisted& unlisted = {});

/// Has at least two folders of images that may be classes, or a part that has: what a folder of
/// classes is known by when archives lie beside them.
bool has_class_folders(const std::filesystem::path& root);

/// A folder of class folders, or of parts that have those.
Opened open_folder(const std::filesystem::path& root, Purpose purpose, ClassOrder order);

}  // namespace resnet
