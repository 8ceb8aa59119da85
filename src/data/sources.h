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
  std::vector<std::string> notes = {};  // what a user may not expect
  bool numbered = false;                // labels are numbers, and classes are called by them
};

enum class Purpose : std::uint8_t { kTrain, kTest };

// Files: whether it is one, and opening it.

bool is_webdataset(const std::string& source);  // braces are no path
Opened open_webdataset(const std::string& source, Purpose purpose, ClassOrder order);
/// The .tar files in a folder, sorted by name.
std::vector<std::filesystem::path> tars_in(const std::filesystem::path& folder);

bool is_table(const std::filesystem::path& path);
Opened open_table(const std::filesystem::path& path, ClassOrder order);

bool is_npz(const std::filesystem::path& path);
Opened open_npz(const std::filesystem::path& path, Purpose purpose);

bool is_hdf5(const std::filesystem::path& path);
Opened open_hdf5(const std::filesystem::path& path);

bool is_pack(const std::filesystem::path& path);
Opened open_pack(std::shared_ptr<const ByteSource> file);

// All.

/// Whatever the source is; a part that does not serve the purpose may be left out.
Opened open_source(const DataSpec& spec, Purpose purpose);

/// To whom `spec` says.
void tell_notes(const DataSpec& spec, const std::vector<std::string>& notes);

// What they share.

enum class Part : std::uint8_t { kNone, kTrain, kVal, kTest };
/// "training", "validation", "test".
std::string_view name_of(Part part);
/// The first word for a part that stands in a name between other characters than letters, in any
/// case: "imagenet-val-00" is `kVal`. Words are train, training, val, valid, validation, eval,
/// evaluation, dev, test and testing, also with "set" behind them.
Part part_of(std::string_view name);
/// The part that a whole name is a word for: "Val", "test_set", "train2017". The rank is that of
/// the word among those above.
struct PartName {
  Part part = Part::kNone;
  int rank = 0;
};
PartName part_named(std::string_view name);

/// "0", "1", … up to the highest label, or the lines of a file classes.txt or labels.txt in
/// `folder`. Throws `kBadData` when the file has fewer lines than there are classes, or one twice.
std::vector<std::string> numbered_classes(const std::filesystem::path& folder,
                                          std::int64_t highest_label);

/// A whole number of at most nine digits; −1 for anything else.
std::int64_t whole_number(std::string_view text);

}  // namespace resnet
