#include "data/folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/folder_entries.h"
#include "core/text.h"
#include "data/class_names.h"
#include "data/datasets.h"
#include "data/imagenet.h"
#include "formats/image.h"

namespace fs = std::filesystem;

namespace resnet {

// --------------------------------------------------------------------------------- what lies there

bool is_foreign_name(std::string_view name) {
  static constexpr std::array<std::string_view, 15> kNames = {"__macosx",
                                                              "$recycle.bin",
                                                              "system volume information",
                                                              "lost+found",
                                                              "@eadir",
                                                              "#recycle",
                                                              "@recycle",
                                                              "@recently-snapshot",
                                                              "#snapshot",
                                                              "@tmp",
                                                              "@sharebin",
                                                              "@transcode",
                                                              "thumbs.db",
                                                              "network trash folder",
                                                              "temporary items"};
  if (name.starts_with('.')) return true;
  return std::ranges::find(kNames, lower(name)) != kNames.end();
}

bool is_foreign_path(std::string_view path) {
  for (std::size_t at = 0; at < path.size();) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view step = path.substr(at, end - at);
    if (step != "." && step != ".." && is_foreign_name(step)) return true;
    at = end + 1;
  }
  return false;
}

namespace {

void visit_ours(const fs::path& folder, const std::function<bool(const FolderEntry&)>& visit,
                const Unlisted& unlisted) {
  const std::error_code error = for_each_entry(folder, [&](const FolderEntry& entry) {
    return is_foreign_name(entry.path().filename().string()) || visit(entry);
  });
  if (error && unlisted) {
    unlisted(folder, error.message());
  } else if (error) {
    fail(ErrorCode::kIo, "cannot list the folder {}: {}", folder.string(), error.message());
  }
}

enum class Kind : std::uint8_t { kOther, kImage, kFolder, kBrokenLink };

Kind kind_of(const FolderEntry& entry) {
  std::error_code error;
  const fs::file_status status = entry.status(error);
  if (fs::is_directory(status)) return Kind::kFolder;
  const bool image = is_image_path(entry.path());
  if (fs::is_regular_file(status)) return image ? Kind::kImage : Kind::kOther;
  if (!entry.is_symlink() || (fs::exists(status) && !error)) return Kind::kOther;
  return image || !entry.path().has_extension() ? Kind::kBrokenLink : Kind::kOther;
}

using FileId = std::pair<dev_t, ino_t>;

std::optional<FileId> id_of(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return FileId{info.st_dev, info.st_ino};
}

/// The folders that `folder` really lies in.
std::set<FileId> ids_above(const fs::path& folder) {
  std::set<FileId> ids;
  std::error_code error;
  fs::path path = fs::canonical(folder, error);
  while (!error && path.has_relative_path()) {
    path = path.parent_path();
    if (const auto id = id_of(path)) ids.insert(*id);
  }
  return ids;
}

/// What lies in a folder itself, sorted.
struct Listing {
  std::vector<std::string> folders;  // but for links that lead back up
  std::vector<std::string> broken;   // links that lead nowhere and may have been folders
  std::size_t images = 0;
};

Listing list(const fs::path& folder) {
  Listing listing;
  std::set<FileId> above = ids_above(folder);
  if (const auto id = id_of(folder)) above.insert(*id);
  visit_ours(folder,
             [&](const FolderEntry& entry) {
               const std::string name = entry.path().filename().string();
               switch (kind_of(entry)) {
                 case Kind::kFolder:
                   if (entry.is_symlink()) {
                     const auto id = id_of(entry.path());
                     if (id && above.contains(*id)) break;
                   }
                   listing.folders.push_back(name);
                   break;
                 case Kind::kBrokenLink:
                   if (!is_image_path(name)) {
                     listing.broken.push_back(name);
                     break;
                   }
                   [[fallthrough]];
                 case Kind::kImage: ++listing.images; break;
                 case Kind::kOther: break;
               }
               return true;
             },
             {});
  std::ranges::sort(listing.folders);
  std::ranges::sort(listing.broken);
  return listing;
}

}  // namespace

std::vector<std::string> images_below(const fs::path& folder, std::size_t most,
                                      const Unlisted& unlisted) {
  std::vector<std::string> files;
  std::set<FileId> seen = ids_above(folder);
  // What is reached without a link goes first, so that it keeps the name that it has there.
  std::vector<std::string> folders = {""};
  std::set<std::string> links;
  while (files.size() < most && !(folders.empty() && links.empty())) {
    std::string below;
    if (!folders.empty()) {
      below = std::move(folders.back());
      folders.pop_back();
    } else {
      below = std::move(links.extract(links.begin()).value());
    }
    const fs::path here = below.empty() ? folder : folder / below;
    const auto id = id_of(here);
    if (id && !seen.insert(*id).second) continue;
    visit_ours(
        here,
        [&](const FolderEntry& entry) {
          std::string name = (fs::path(below) / entry.path().filename()).string();
          switch (kind_of(entry)) {
            case Kind::kImage:
            case Kind::kBrokenLink: files.push_back(std::move(name)); break;
            case Kind::kFolder:
              if (entry.is_symlink()) {
                links.insert(std::move(name));
              } else {
                folders.push_back(std::move(name));
              }
              break;
            case Kind::kOther: break;
          }
          return files.size() < most;
        },
        unlisted);
  }
  std::ranges::sort(files);
  return files;
}

namespace {

bool has_images(const fs::path& folder) { return !images_below(folder, 1).empty(); }

/// The folders of a folder that have images below them.
std::vector<std::string> class_folders(const fs::path& root) {
  std::vector<std::string> names = list(root).folders;
  std::erase_if(names, [&](const std::string& name) { return !has_images(root / name); });
  return names;
}

std::string path_in(const fs::path& root, const std::string& name) {
  return printable((root / name).string());
}

// ------------------------------------------------------------------------------------------- parts

enum class Contents : std::uint8_t { kNothing, kImages, kClasses };

Contents contents_of(const fs::path& folder) {
  const Listing listing = list(folder);
  if (std::ranges::any_of(listing.folders,
                          [&](const std::string& name) { return has_images(folder / name); })) {
    return Contents::kClasses;
  }
  return listing.images > 0 ? Contents::kImages : Contents::kNothing;
}

/// A folder that is called as parts are.
struct Candidate {
  std::string name;
  PartName part;
  Contents contents;
};

/// Which folders are parts. Without any, all are classes.
struct Layout {
  std::array<std::string, 4> parts;  // by Part; empty: there is none
  bool divided = false;
  std::vector<std::string> notes;

  const std::string& operator[](Part part) const { return parts[static_cast<std::size_t>(part)]; }
  std::string& operator[](Part part) { return parts[static_cast<std::size_t>(part)]; }
};

/// The one that is the part, of several that are called so.
void choose_part(const fs::path& root, std::vector<Candidate> candidates, Layout& layout) {
  if (candidates.empty()) return;
  std::ranges::stable_sort(candidates, [](const Candidate& a, const Candidate& b) {
    return std::pair(b.contents, a.part.rank) < std::pair(a.contents, b.part.rank);
  });
  const Candidate& first = candidates.front();
  layout[first.part.part] = first.name;
  for (std::size_t i = 1; i < candidates.size(); ++i) {
    const Candidate& other = candidates[i];
    if (other.contents == Contents::kNothing) continue;
    if (other.contents == first.contents && other.part.rank == first.part.rank) {
      fail(ErrorCode::kBadData,
           "{} and {} are the same part, {}; expected one folder for it: put them together, or "
           "move one away",
           path_in(root, first.name), path_in(root, other.name), name_of(first.part.part));
    }
    layout.notes.push_back(fmt::format("{} is left out: {} is the {} part",
                                       path_in(root, other.name), path_in(root, first.name),
                                       name_of(first.part.part)));
  }
}

/// A class may be called "train". It is taken for a part if it has class folders, or if all folders
/// are called like parts.
Layout layout_of(const fs::path& root) {
  Layout layout;
  std::vector<Candidate> candidates;
  std::vector<std::string> others;
  for (const std::string& name : list(root).folders) {
    if (const PartName part = part_named(name); part.part != Part::kNone) {
      candidates.push_back({name, part, contents_of(root / name)});
    } else if (has_images(root / name)) {
      others.push_back(name);
    }
  }
  const bool any_classes = std::ranges::any_of(
      candidates, [](const Candidate& c) { return c.contents == Contents::kClasses; });
  layout.divided = !candidates.empty() && (any_classes || others.empty());
  if (layout.divided) {
    for (const Part part : {Part::kTrain, Part::kVal, Part::kTest}) {
      std::vector<Candidate> same;
      std::ranges::copy_if(candidates, std::back_inserter(same),
                           [&](const Candidate& c) { return c.part.part == part; });
      choose_part(root, std::move(same), layout);
    }
    for (const std::string& name : others) {
      layout.notes.push_back(
          fmt::format("{} is left out: it stands beside folders that are parts, and is called "
                      "neither train, val nor test",
                      path_in(root, name)));
    }
    return layout;
  }
  for (const Candidate& c : candidates) {
    if (c.contents == Contents::kNothing) continue;
    layout.notes.push_back(fmt::format(
        "{} is taken as a class, not as a part: it has images and no class folders, like the "
        "folders beside it",
        path_in(root, c.name)));
  }
  const auto like_part = [](const std::string& name) { return part_of(name) != Part::kNone; };
  const bool all_like_parts = std::ranges::all_of(others, like_part);
  for (const std::string& name : others) {
    if (!like_part(name)) continue;
    if (!all_like_parts && contents_of(root / name) != Contents::kClasses) continue;
    layout.notes.push_back(
        fmt::format("{} is taken as a class; if it is a part, call it train, val or test",
                    path_in(root, name)));
  }
  return layout;
}

// ----------------------------------------------------------------------------------------- classes

/// The images of these class folders; folders whose names look the same are one class.
DatasetPtr scan_folder(const fs::path& root, const std::vector<std::string>& folders,
                       ClassOrder order, std::vector<std::string>& notes) {
  const Classes classes(folders, order);
  for (const std::string& note : notes_of(classes)) {
    notes.push_back(fmt::format("{}: {}", printable(root.string()), note));
  }
  std::vector<std::string> ordered = folders;
  std::ranges::stable_sort(ordered, {}, [&](const std::string& f) { return classes.index(f); });
  std::vector<LabelledFile> files;
  for (const std::string& name : ordered) {
    for (const std::string& file : images_below(root / name)) {
      files.push_back({(fs::path(name) / file).string(), classes.index(name)});
    }
  }
  return make_folder_dataset(root, std::move(files), readable_class_names(classes.names()));
}

void require_classes(const fs::path& root, const std::vector<std::string>& names) {
  constexpr std::string_view kExpected =
      "expected one folder of images for each class, e.g. cat/1.jpg dog/1.jpg";
  if (!names.empty()) return;
  const std::size_t loose = images_below(root).size();
  if (loose > 0) {
    fail(ErrorCode::kBadData, "{}: {} images but no class folders; {}", root.string(), loose,
         kExpected);
  }
  fail(ErrorCode::kBadData, "{}: no class folders and no images in it; {}", root.string(),
       kExpected);
}

/// Training images: at least two classes, each with images.
DatasetPtr open_train_folder(const fs::path& root, ClassOrder order,
                             std::vector<std::string>& notes) {
  const Listing listing = list(root);
  const std::vector<std::string>& names = listing.folders;
  if (!names.empty() && !listing.broken.empty()) {
    fail(ErrorCode::kBadData,
         "{}: a link that leads nowhere, where a class folder is expected; mend it, or remove it",
         path_in(root, listing.broken.front()));
  }
  require_classes(root, names);
  if (names.size() == 1) {
    const bool wrapped = list(root / names[0]).folders.size() > 1;
    fail(ErrorCode::kBadData, "{}: only one class (\"{}\"); expected at least two class folders{}",
         root.string(), names[0],
         wrapped ? fmt::format("; did you mean {}?", (root / names[0]).string()) : "");
  }
  for (const std::string& name : names) {
    if (!has_images(root / name)) {
      fail(ErrorCode::kBadData,
           "{}: no images in this class folder; add some, or remove the folder",
           (root / name).string());
    }
  }
  return scan_folder(root, names, order, notes);
}

/// Images to evaluate on: any classes that have some.
DatasetPtr open_test_folder(const fs::path& root, ClassOrder order,
                            std::vector<std::string>& notes) {
  const Listing listing = list(root);
  require_classes(root, listing.folders);
  for (const std::string& name : listing.broken) {
    notes.push_back(fmt::format("{} is left out: a link that leads nowhere", path_in(root, name)));
  }
  const std::vector<std::string> names = class_folders(root);
  if (names.empty()) {
    fail(ErrorCode::kBadData, "{}: no images in its {} class folders", root.string(),
         listing.folders.size());
  }
  return scan_folder(root, names, order, notes);
}

/// Why the images of a test part have no labels, as those of a competition, or nothing if they
/// have.
std::optional<std::string> unlabelled(const fs::path& root, const Layout& layout) {
  std::vector<std::string> known;
  for (const Part part : {Part::kTrain, Part::kVal}) {
    if (layout[part].empty()) continue;
    std::ranges::copy(class_folders(root / layout[part]), std::back_inserter(known));
  }
  if (known.empty()) return std::nullopt;
  const fs::path test = root / layout[Part::kTest];
  const std::vector<std::string> folders = class_folders(test);
  if (folders.empty()) {
    return has_images(test) ? "its images lie in no class folders" : "it has no images";
  }
  if (folders.size() == 1 && Classes(known, ClassOrder::kSorted).index(folders[0]) < 0) {
    return fmt::format("its one folder, {}, is none of the classes", printable(folders[0]));
  }
  return std::nullopt;
}

}  // namespace

bool has_class_folders(const fs::path& root) {
  std::size_t folders = 0, others = 0;
  for (const std::string& name : class_folders(root)) {
    if (part_named(name).part == Part::kNone) {
      ++others;
    } else if (class_folders(root / name).size() > 1) {
      return true;
    } else if (contents_of(root / name) == Contents::kClasses) {
      continue;
    }
    ++folders;
  }
  return others > 0 && folders > 1;
}

Opened open_folder(const fs::path& root, Purpose purpose, ClassOrder order) {
  Opened opened;
  opened.title =
      root.filename().empty() ? root.parent_path().filename().string() : root.filename().string();
  Layout layout = layout_of(root);
  std::vector<std::string>& notes = opened.notes = std::move(layout.notes);
  const bool training = purpose == Purpose::kTrain;
  if (!layout.divided) {
    opened.train =
        training ? open_train_folder(root, order, notes) : open_test_folder(root, order, notes);
    return opened;
  }
  std::string& test = layout[Part::kTest];
  if (!test.empty()) {
    if (const auto why = unlabelled(root, layout)) {
      notes.push_back(fmt::format("{} is left out: {}; `resnet predict` names what is in them",
                                  path_in(root, test), *why));
      test.clear();
    }
  }
  const Part first = training ? Part::kVal : Part::kTest;
  const Part second = training ? Part::kTest : Part::kVal;
  const Part evaluated = !layout[first].empty() ? first : second;
  if (!layout[evaluated].empty()) {
    (evaluated == Part::kTest ? opened.test : opened.val) =
        open_test_folder(root / layout[evaluated], order, notes);
  }
  const std::string& train = layout[Part::kTrain];
  if (!train.empty() && training) {
    opened.train = open_train_folder(root / train, order, notes);
  } else if (!train.empty() && layout[evaluated].empty()) {
    notes.push_back(fmt::format("{} is evaluated, as there is no other part with labels",
                                path_in(root, train)));
    opened.train = open_test_folder(root / train, order, notes);
  }
  return opened;
}

}  // namespace resnet
