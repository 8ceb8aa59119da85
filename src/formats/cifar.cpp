#include "formats/cifar.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <string_view>

#include "core/check.h"
#include "core/file.h"
#include "core/folder_entries.h"
#include "core/lines.h"
#include "core/os_error.h"
#include "formats/archive.h"

namespace resnet {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPixels = 3 * 32 * 32;
constexpr std::uint64_t kMaxBatchBytes = std::uint64_t{1} << 32;

/// What tells the two data sets apart: file names, record lengths, numbers of classes.
struct Layout {
  CifarKind kind;
  std::string_view name;
  std::vector<std::string_view> train_files;
  std::string_view test_file;
  std::string_view class_file;
  std::string_view coarse_class_file;  // "" when there is none
  int classes;
  int coarse_classes;  // 0 when there are none
};

const Layout& layout_of(CifarKind kind) {
  static const Layout cifar10 = {CifarKind::kCifar10,
                                 "CIFAR-10",
                                 {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                  "data_batch_4.bin", "data_batch_5.bin"},
                                 "test_batch.bin",
                                 "batches.meta.txt",
                                 "",
                                 10,
                                 0};
  static const Layout cifar100 = {CifarKind::kCifar100,
                                  "CIFAR-100",
                                  {"train.bin"},
                                  "test.bin",
                                  "fine_label_names.txt",
                                  "coarse_label_names.txt",
                                  100,
                                  20};
  return kind == CifarKind::kCifar10 ? cifar10 : cifar100;
}

/// Which data set a file of this name belongs to. Only the .bin files count.
std::optional<CifarKind> kind_of_file(std::string_view file) {
  for (const CifarKind kind : {CifarKind::kCifar10, CifarKind::kCifar100}) {
    const Layout& l = layout_of(kind);
    if (file == l.test_file ||
        std::find(l.train_files.begin(), l.train_files.end(), file) != l.train_files.end()) {
      return kind;
    }
  }
  return {};
}

bool wanted(std::string_view file) {
  return kind_of_file(file) || file == "batches.meta.txt" || file == "fine_label_names.txt" ||
         file == "coarse_label_names.txt";
}

std::string_view base_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

using Files = std::map<std::string, std::vector<std::byte>, std::less<>>;

/// The folder itself, or the one below it that the archives unpack to.
std::optional<fs::path> folder_with_batches(const fs::path& path) {
  for (const char* below : {"", "cifar-10-batches-bin", "cifar-100-binary"}) {
    const fs::path folder = *below == '\0' ? path : path / below;
    for (const CifarKind kind : {CifarKind::kCifar10, CifarKind::kCifar100}) {
      const Layout& l = layout_of(kind);
      if (fs::is_regular_file(folder / l.test_file) ||
          fs::is_regular_file(folder / l.train_files[0])) {
        return folder;
      }
    }
  }
  return {};
}

Files read_folder(const fs::path& path) {
  const std::optional<fs::path> folder = folder_with_batches(path);
  Files files;
  if (!folder) return files;
  const std::error_code error = for_each_entry(*folder, [&](const FolderEntry& entry) {
    const std::string name = entry.path().filename().string();
    if (wanted(name)) files[name] = read_file(entry.path(), kMaxBatchBytes);
    return true;
  });
  if (error) fail_os("list", *folder, error.value());
  return files;
}

Files read_files(const fs::path& path) {
  if (fs::is_directory(path)) return read_folder(path);
  Files files;
  ArchiveLimits limits;
  limits.max_total_bytes = kMaxBatchBytes;
  read_archive(
      path,
      [](const std::string& name) {
        return wanted(base_name(name)) ? ArchiveAction::kTake : ArchiveAction::kSkip;
      },
      [&](const std::string& name, std::vector<std::byte> bytes) {
        if (!files.try_emplace(std::string(base_name(name)), std::move(bytes)).second) {
          fail(ErrorCode::kBadData, "{}: the archive holds {} twice; keep one data set an archive",
               path.string(), base_name(name));
        }
      },
      limits);
  return files;
}

std::vector<std::string> class_names(const Files& files, std::string_view file, int count,
                                     const std::string& where) {
  std::vector<std::string> names;
  const auto it = files.find(file);
  if (it == files.end()) {
    for (int i = 0; i < count; ++i) names.push_back(std::to_string(i));
    return names;
  }
  const std::vector<std::byte>& bytes = it->second;
  names = names_of({reinterpret_cast<const char*>(bytes.data()), bytes.size()},
                   fmt::format("{}: {}", where, file));
  if (names.size() != static_cast<std::size_t>(count)) {
    fail(ErrorCode::kBadData, "{}: expected {} class names in {}, found {}; fetch it again", where,
         count, file, names.size());
  }
  return names;
}

CifarSplit read_split(Files& files, std::span<const std::string_view> names, const Layout& layout,
                      const std::string& where) {
  const auto label = [&](std::string_view name) { return fmt::format("{}: {}", where, name); };
  std::size_t count = 0;
  for (const std::string_view name : names) {
    const auto it = files.find(name);
    if (it == files.end()) {
      fail(ErrorCode::kNotFound, "{}: {} needs the file {}, which is missing; fetch it again",
           where, layout.name, name);
    }
    count += count_cifar_records(it->second, label(name), layout.kind);
  }
  CifarSplit split;
  split.images = Tensor(DType::kU8, {static_cast<std::int64_t>(count), 3, 32, 32});
  for (const std::string_view name : names) {
    const auto it = files.find(name);
    parse_cifar_batch(it->second, label(name), layout.kind, split);
    files.erase(it);  // the data set is large: do not hold it twice
  }
  return split;
}

std::size_t label_bytes(const Layout& layout) { return layout.coarse_classes > 0 ? 2 : 1; }

}  // namespace

std::size_t count_cifar_records(std::span<const std::byte> bytes, const std::string& name,
                                CifarKind kind) {
  const Layout& layout = layout_of(kind);
  const std::size_t record = label_bytes(layout) + kPixels;
  if (bytes.empty() || bytes.size() % record != 0) {
    fail(ErrorCode::kBadData,
         "{}: expected {} records of {} bytes each, found {} bytes; fetch the file again", name,
         layout.name, record, bytes.size());
  }
  return bytes.size() / record;
}

void parse_cifar_batch(std::span<const std::byte> bytes, const std::string& name, CifarKind kind,
                       CifarSplit& split) {
  const Layout& layout = layout_of(kind);
  const std::size_t count = count_cifar_records(bytes, name, kind);
  const std::size_t record = bytes.size() / count;
  RESNET_CHECK((split.labels.size() + count) * kPixels <= split.images.bytes());
  std::byte* pixels = split.images.raw() + split.labels.size() * kPixels;
  const auto label = [&](std::size_t index, std::byte value, int classes) {
    const int l = std::to_integer<int>(value);
    if (l >= classes) {
      fail(ErrorCode::kBadData, "{}: record {} has the label {}, expected 0 to {}; is it {}?", name,
           index, l, classes - 1, layout.name);
    }
    return l;
  };
  for (std::size_t i = 0; i < count; ++i, pixels += kPixels) {
    const auto r = bytes.subspan(i * record, record);
    if (layout.coarse_classes > 0) {
      split.coarse_labels.push_back(label(i, r[0], layout.coarse_classes));
    }
    split.labels.push_back(label(i, r[label_bytes(layout) - 1], layout.classes));
    std::copy_n(r.begin() + static_cast<std::ptrdiff_t>(record - kPixels), kPixels, pixels);
  }
}

Cifar read_cifar(const fs::path& path) {
  const std::string where = path.string();
  if (!fs::exists(path)) fail(ErrorCode::kNotFound, "{}: there is no such file or folder", where);
  Files files = read_files(path);
  std::optional<CifarKind> kind;
  for (const auto& [name, bytes] : files) {
    const std::optional<CifarKind> k = kind_of_file(name);
    if (!k) continue;
    if (kind && *kind != *k) {
      fail(ErrorCode::kBadData,
           "{}: files of CIFAR-10 and of CIFAR-100 lie together; separate them", where);
    }
    kind = k;
  }
  if (!kind) {
    fail(ErrorCode::kNotFound,
         "{}: expected CIFAR's binary version (data_batch_1.bin … or train.bin), found none of it",
         where);
  }
  const Layout& layout = layout_of(*kind);
  Cifar out;
  out.kind = *kind;
  out.class_names = class_names(files, layout.class_file, layout.classes, where);
  if (layout.coarse_classes > 0) {
    out.coarse_class_names =
        class_names(files, layout.coarse_class_file, layout.coarse_classes, where);
  }
  out.train = read_split(files, layout.train_files, layout, where);
  out.test = read_split(files, {&layout.test_file, 1}, layout, where);
  return out;
}

bool is_cifar(const fs::path& path) {
  if (fs::is_directory(path)) return folder_with_batches(path).has_value();
  if (!is_archive_path(path)) return false;
  bool found = false;
  read_archive(
      path,
      [&](const std::string& name) {
        found = kind_of_file(base_name(name)).has_value();
        return found ? ArchiveAction::kStop : ArchiveAction::kSkip;
      },
      [](const std::string&, std::vector<std::byte>) {});
  return found;
}

}  // namespace resnet
