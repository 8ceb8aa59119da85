// A table of images and labels: CSV or TSV with the columns path, label and, if wanted, split.
#include <algorithm>
#include <array>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/text.h"
#include "data/class_names.h"
#include "data/datasets.h"
#include "data/sources.h"
#include "formats/csv.h"
#include "formats/image.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

constexpr std::uint64_t kMaxTable = std::uint64_t{1} << 32;

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == text.npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

constexpr std::array<std::string_view, 8> kPathWords = {
    "path", "file", "filename", "file_name", "filepath", "image", "image_path", "picture"};
constexpr std::array<std::string_view, 5> kLabelWords = {"label", "class", "class_name", "target",
                                                         "category"};
constexpr std::array<std::string_view, 4> kSplitWords = {"split", "part", "set", "subset"};

/// Where the columns are; without a header they are the first two or three.
struct Columns {
  std::size_t path = 0;
  std::size_t label = 1;
  std::size_t split = 2;
  bool header = false;
};

Columns find_columns(const std::vector<std::string>& first) {
  const auto find = [&](const auto& words) {
    for (std::size_t i = 0; i < first.size(); ++i) {
      const std::string name = lower(trimmed(first[i]));
      if (std::find(words.begin(), words.end(), name) != words.end()) return i;
    }
    return first.size();
  };
  const Columns named{find(kPathWords), find(kLabelWords), find(kSplitWords), true};
  if (named.path < first.size() && named.label < first.size()) return named;
  return {};
}

/// A first line that names columns in other words must not become an image and a class.
void check_first_row(const CsvRow& row, const fs::path& table) {
  const std::string file = trimmed(row.fields.front());
  std::error_code ignored;
  if (is_image_path(file) || fs::exists(table.parent_path() / file, ignored)) return;
  fail(ErrorCode::kBadData,
       "{}: line {}: \"{}\" is neither an image nor a line that names the columns; expected "
       "path,label as in cat/1.jpg,cat, or the names: {} for the path, {} for the label and, if "
       "wanted, {} for the split",
       table.string(), row.line, printable(fmt::format("{}", fmt::join(row.fields, ",")), 200),
       fmt::join(kPathWords, ", "), fmt::join(kLabelWords, ", "), fmt::join(kSplitWords, ", "));
}

[[noreturn]] void fail_missing(const CsvRow& row, std::size_t column, const fs::path& table) {
  const std::string file = trimmed(row.fields[column]);
  std::string slashes = file;
  std::ranges::replace(slashes, '\\', '/');
  std::error_code ignored;
  const bool other_system = slashes != file && fs::exists(table.parent_path() / slashes, ignored);
  fail(ErrorCode::kNotFound, "{}: line {}: there is no file {}, nor any other of the table; {}",
       table.string(), row.line, (table.parent_path() / file).string(),
       other_system ? "write / between folders, not \\"
                    : "paths are relative to the table's folder");
}

}  // namespace

bool is_table(const fs::path& path) {
  const std::string extension = lower(path.extension().string());
  return extension == ".csv" || extension == ".tsv";
}

Opened open_table(const fs::path& path, ClassOrder order) {
  const std::string name = path.string();
  const char usual = lower(path.extension().string()) == ".tsv" ? '\t' : ',';
  const std::string text = read_text_file(path, kMaxTable);
  const std::vector<CsvRow> rows = parse_csv(text, name, csv_separator(text, name, usual));
  if (rows.empty()) {
    fail(ErrorCode::kBadData, "{}: the table is empty; expected lines such as cat/1.jpg,cat", name);
  }
  const Columns columns = find_columns(rows.front().fields);
  if (columns.header && rows.size() == 1) {
    fail(ErrorCode::kBadData,
         "{}: the table has a header and no rows; expected lines such as cat/1.jpg,cat below it",
         name);
  }
  if (!columns.header) check_first_row(rows.front(), path);
  const std::size_t needed = std::max(columns.path, columns.label) + 1;

  std::array<std::vector<std::pair<std::string, std::string>>, 4> parts;  // path, label; by Part
  std::vector<std::string> labels;
  const fs::path folder = path.parent_path();
  bool any_exists = false;
  for (std::size_t r = columns.header ? 1 : 0; r < rows.size(); ++r) {
    const CsvRow& row = rows[r];
    if (row.fields.size() < needed || (!columns.header && row.fields.size() > 3)) {
      fail(ErrorCode::kBadData,
           "{}: line {}: {} columns; expected path,label or path,label,split, or a first line that "
           "names the columns",
           name, row.line, row.fields.size());
    }
    std::string file = trimmed(row.fields[columns.path]);
    std::string label = trimmed(row.fields[columns.label]);
    if (file.empty() || label.empty()) {
      fail(ErrorCode::kBadData, "{}: line {}: the {} is empty; fill it in or remove the line", name,
           row.line, file.empty() ? "path" : "label");
    }
    if (!is_plain_text(label)) {
      fail(ErrorCode::kBadData, "{}: line {}: the label \"{}\" {}", name, row.line,
           printable(label, 100),
           is_utf8(label) ? "has line breaks or control characters; remove them"
                          : "is not UTF-8; save the table as UTF-8");
    }
    Part part = Part::kNone;
    if (columns.split < row.fields.size()) {
      const std::string word = lower(trimmed(row.fields[columns.split]));
      part = part_of(word);
      if (part == Part::kNone && !word.empty()) {
        fail(ErrorCode::kBadData, "{}: line {}: the split \"{}\"; expected train, val or test",
             name, row.line, word);
      }
    }
    std::error_code ignored;
    any_exists = any_exists || fs::exists(folder / file, ignored);
    labels.push_back(label);
    parts[static_cast<std::size_t>(part)].emplace_back(std::move(file), std::move(label));
  }
  if (!any_exists) {
    fail_missing(rows[columns.header ? 1 : 0], columns.path, path);
  }

  const Classes classes(labels, order);
  const auto dataset = [&](Part part) -> DatasetPtr {
    auto& rows_of_part = parts[static_cast<std::size_t>(part)];
    if (rows_of_part.empty()) return nullptr;
    std::vector<LabelledFile> files;
    files.reserve(rows_of_part.size());
    for (auto& [file, label] : rows_of_part) {
      files.push_back({std::move(file), classes.index(label)});
    }
    return make_folder_dataset(folder, std::move(files), classes.names());
  };
  auto& training = parts[static_cast<std::size_t>(Part::kTrain)];
  auto& unnamed = parts[static_cast<std::size_t>(Part::kNone)];
  training.insert(training.end(), unnamed.begin(), unnamed.end());

  Opened opened;
  opened.train = dataset(Part::kTrain);
  opened.val = dataset(Part::kVal);
  opened.test = dataset(Part::kTest);
  opened.title = path.filename().string();
  opened.notes = notes_of(classes);
  opened.numbered = are_numbers(classes.names());
  return opened;
}

}  // namespace resnet
