// The kinds of data source, one file a kind. Each finds out whether a path is of its kind and opens
// it; open.cpp asks them in turn.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "resnet/data.h"

namespace resnet {

/// What a source holds before it is divided or matched. Parts that it lacks are null, and so may be
/// those that are not wanted.
struct Opened {
  DatasetPtr train;
  DatasetPtr val;
  DatasetPtr test;
  std::string title;
};

enum class Purpose : std::uint8_t { kTrain, kTest };

// Files: whether it is one, and opening it.

bool is_webdataset(const std::string& source);  // braces are no path
Opened open_webdataset(const std::string& source, Purpose purpose);

bool is_table(const std::filesystem::path& path);
Opened open_table(const std::filesystem::path& path);

bool is_npz(const std::filesystem::path& path);
Opened open_npz(const std::filesystem::path& path, Purpose purpose);

bool is_hdf5(const std::filesystem::path& path);
Opened open_hdf5(const std::filesystem::path& path);

bool is_pack(const std::filesystem::path& path);
Opened open_pack(std::shared_ptr<const ByteSource> file);

// All.

/// Whatever the source is; a part that does not serve the purpose may be left out.
Opened open_source(const DataSpec& spec, Purpose purpose);

// What they share.

/// The word for a part of a data set that begins a name or stands in it between other characters
/// than letters: "imagenet-val-00" is `kVal`.
enum class Part : std::uint8_t { kNone, kTrain, kVal, kTest };
Part part_of(std::string_view name);

/// "0", "1", … up to the highest label, or the lines of a file classes.txt or labels.txt in
/// `folder`. Throws `kBadData` when the file has fewer lines than there are classes, or one twice.
std::vector<std::string> numbered_classes(const std::filesystem::path& folder,
                                          std::int64_t highest_label);

/// Class names from labels as they are written: sorted, as numbers if all of them are.
std::vector<std::string> sorted_classes(std::vector<std::string> labels);

/// A whole number of at most nine digits; −1 for anything else.
std::int64_t whole_number(std::string_view text);

}  // namespace resnet
