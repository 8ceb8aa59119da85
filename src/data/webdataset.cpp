// WebDataset shards (https://github.com/webdataset/webdataset): plain tars in which the files of a
// sample stand together and share a stem: x.jpg, x.cls. Each shard is gone over once, from header
// to header, to learn where every image lies and what its label is; images are then read by
// position, in any order, from any thread. Nothing but that index is held in memory.
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <system_error>
#include <tuple>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/folder_entries.h"
#include "core/json.h"
#include "core/lines.h"
#include "core/os_error.h"
#include "core/text.h"
#include "data/class_names.h"
#include "data/datasets.h"
#include "data/folder.h"
#include "data/sources.h"
#include "formats/image.h"
#include "formats/tar.h"

namespace fs = std::filesystem;

namespace resnet {
namespace {

constexpr std::uint64_t kMaxImage = std::uint64_t{1} << 30;
constexpr std::uint64_t kMaxLabel = 1 << 20;  // a .json may hold much beside the label
constexpr std::size_t kMaxShards = 100'000;

// ------------------------------------------------------------------------------------------ shards

/// `a-{0000..0147}.tar` and `{train,val}-{0..9}.tar`, as WebDataset writes shards.
std::vector<std::string> expand_braces(const std::string& text) {
  const std::size_t open = text.find('{');
  if (open == text.npos) return {text};
  const std::size_t close = text.find('}', open);
  const auto bad = [&](const char* why) {
    fail(ErrorCode::kInvalidArgument,
         "{}: {}; expected shards such as train-{{0000..0147}}.tar or {{train,val}}-0.tar", text,
         why);
  };
  if (close == text.npos) bad("a brace is not closed");
  const std::string inside = text.substr(open + 1, close - open - 1);
  std::vector<std::string> choices;
  if (const std::size_t dots = inside.find(".."); dots != inside.npos) {
    const std::string from = inside.substr(0, dots);
    const std::string to = inside.substr(dots + 2);
    const std::int64_t first = whole_number(from);
    const std::int64_t last = whole_number(to);
    if (first < 0 || last < first) bad("the range in braces is no pair of rising numbers");
    if (last - first >= static_cast<std::int64_t>(kMaxShards)) bad("more than 100000 shards");
    for (std::int64_t i = first; i <= last; ++i) {
      choices.push_back(fmt::format("{:0{}}", i, from.size()));
    }
  } else {
    for (std::size_t at = 0; at <= inside.size();) {
      const std::size_t end = std::min(inside.find(',', at), inside.size());
      choices.push_back(inside.substr(at, end - at));
      at = end + 1;
    }
  }
  std::vector<std::string> all;
  const std::vector<std::string> tails = expand_braces(text.substr(close + 1));
  if (choices.size() * tails.size() > kMaxShards) bad("more than 100000 shards");
  for (const std::string& choice : choices) {
    for (const std::string& tail : tails) all.push_back(text.substr(0, open) + choice + tail);
  }
  return all;
}

bool is_tar(const fs::path& path) {
  return path.extension() == ".tar" && !is_foreign_name(path.filename().string());
}

/// The folders of a folder that are called as parts are, the more usual names first.
std::vector<std::pair<fs::path, Part>> part_folders(const fs::path& root) {
  std::vector<std::pair<PartName, fs::path>> found;
  const std::error_code error = for_each_entry(root, [&](const FolderEntry& entry) {
    const PartName part = part_named(entry.path().filename().string());
    std::error_code ignored;
    if (part.part != Part::kNone && fs::is_directory(entry.status(ignored))) {
      found.emplace_back(part, entry.path());
    }
    return true;
  });
  if (error == std::errc::too_many_files_open) fail_os("list", root, error.value());
  std::ranges::sort(found, [](const auto& a, const auto& b) {
    return std::tie(a.first.rank, a.second) < std::tie(b.first.rank, b.second);
  });
  std::vector<std::pair<fs::path, Part>> folders;
  for (auto& [part, path] : found) folders.emplace_back(std::move(path), part.part);
  return folders;
}

struct Shard {
  fs::path path;
  Part part = Part::kNone;
};

std::vector<Shard> find_shards(const std::string& source) {
  std::vector<Shard> shards;
  std::error_code ignored;
  if (!fs::is_directory(source, ignored)) {
    const bool exists = fs::exists(source, ignored);  // braces in a file's own name
    for (const std::string& shard : exists ? std::vector{source} : expand_braces(source)) {
      shards.push_back({shard, part_of(fs::path(shard).filename().string())});
    }
    return shards;
  }
  for (fs::path& tar : tars_in(source)) {
    const Part part = part_of(tar.filename().string());
    shards.push_back({std::move(tar), part});
  }
  if (!shards.empty()) return shards;
  for (const auto& [folder, part] : part_folders(source)) {
    for (fs::path& tar : tars_in(folder)) shards.push_back({std::move(tar), part});
  }
  return shards;
}

/// How many shards of a part stay open. Parts, loaders' threads, libraries and what is written need
/// some of what a process may open, too.
std::size_t kept_open() {
  constexpr std::size_t kMost = 64;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMost;
  return std::clamp<std::size_t>(static_cast<std::size_t>(limit.rlim_cur) / 8, 1, kMost);
}

/// The shards of a part, of which few are open at a time: there may be more than a process may
/// open.
class ShardFiles {
 public:
  explicit ShardFiles(std::vector<fs::path> paths)
      : paths_(std::move(paths)), places_(kept_open()) {}
  std::string name(std::size_t i) const { return paths_[i].string(); }
  std::shared_ptr<const ByteSource> open(std::size_t i) const {
    const std::lock_guard lock(mutex_);
    Place& place = places_[i % places_.size()];
    if (place.file == nullptr || place.shard != i) {
      place = {};  // closed first
      try {
        place = {i, std::make_shared<const ByteSource>(paths_[i])};
      } catch (const TooManyOpenFiles&) {  // others took what was left: these come back
        for (Place& p : places_) p = {};
        place = {i, std::make_shared<const ByteSource>(paths_[i])};
      }
    }
    return place.file;
  }

 private:
  struct Place {
    std::size_t shard = 0;
    std::shared_ptr<const ByteSource> file;
  };
  std::vector<fs::path> paths_;
  mutable std::mutex mutex_;
  mutable std::vector<Place> places_;
};

// ----------------------------------------------------------------------------------------- samples

struct Sample {
  std::uint64_t offset = 0;
  std::uint32_t size = 0;
  std::uint32_t shard = 0;
  std::int32_t label = -1;
  std::string stem;
};

/// Files that are passed over, and the first of them.
struct PassedOver {
  std::int64_t count = 0;
  std::string first;

  void add(std::string name, std::int64_t more = 1) {
    if (count == 0) first = std::move(name);
    count += more;
  }
};

/// What is known of the samples of one part before labels have numbers.
struct Index {
  PassedOver images;  // further ones of a sample
  PassedOver labels;  // without an image
  std::vector<fs::path> shards;
  std::vector<std::int64_t> starts;  // first sample of each shard
  std::vector<Sample> samples;       // their labels are positions in `labels`
};

/// Labels as they are written, each once, in the order of their appearance; of all parts.
struct Labels {
  std::vector<std::string> texts;
  std::map<std::string, int, std::less<>> positions;
  std::set<int> of_txt;  // positions of those that a .txt gave
  std::int64_t txt_samples = 0;

  int position(const std::string& text, bool txt) {
    const auto [it, added] = positions.try_emplace(text, static_cast<int>(texts.size()));
    if (added) texts.push_back(text);
    if (txt) {
      of_txt.insert(it->second);
      ++txt_samples;
    }
    return it->second;
  }
};

bool is_sentence(const std::string& text) {
  constexpr std::size_t kLong = 60;
  return text.size() > kLong || std::ranges::count(text, ' ') >= 3;
}

/// A .txt usually holds a caption, and each would be a class of its own.
void refuse_captions(const Labels& labels, const std::string& source) {
  const auto distinct = std::ssize(labels.of_txt);
  const auto sentence = std::ranges::find_if(labels.of_txt, [&](int position) {
    return is_sentence(labels.texts[static_cast<std::size_t>(position)]);
  });
  const auto sentences = std::ranges::count_if(labels.of_txt, [&](int position) {
    return is_sentence(labels.texts[static_cast<std::size_t>(position)]);
  });
  if (2 * distinct <= labels.txt_samples || 2 * sentences <= distinct) return;
  fail(ErrorCode::kBadData,
       "{}: the .txt files look like captions (\"{}\"), {} different ones of {} images; expected "
       "the name or number of a class in each; put it into a .cls beside the image",
       source, printable(labels.texts[static_cast<std::size_t>(*sentence)], 60), distinct,
       labels.txt_samples);
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == text.npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(kBlank) - begin + 1));
}

/// The text of a file "x.cls" or "x.txt", or the member "label", "cls" or "class" of an "x.json".
std::string label_text(std::string_view bytes, bool json, const std::string& name) {
  bytes = without_mark(bytes, name);
  if (json) {
    if (const auto tree = Json::parse(bytes, 1)) {
      for (const char* key : {"label", "cls", "class"}) {
        const Json* found = tree->find(key);
        if (found == nullptr) continue;
        if (found->is_string()) return trimmed(found->text());
        if (found->is_integer()) return found->dump();  // however large
      }
    }
    fail(ErrorCode::kBadData,
         "{}: expected a JSON object with a \"label\" that is a text or a whole number", name);
  }
  return trimmed(bytes);
}

enum Rank : std::uint8_t { kTxt, kJson, kCls };  // the last is the best

/// One file of a sample: of "x.seg.png" the ending is ".png" and the middle ".seg".
struct Member {
  TarFile file;
  std::string middle;
  Rank rank = kTxt;  // of a label
};

/// A sample while its files pass by.
struct Gathered {
  std::string stem;
  std::vector<Member> images;
  std::vector<Member> labels;
};

[[noreturn]] void fail_dotted(const std::string& tar, const Gathered& g, const Member& a,
                              const Member& b) {
  fail(ErrorCode::kBadData,
       "{}: {} and {} are of one sample, {}, which has {} images: in WebDataset the stem of a name "
       "ends at its first dot; pack the images under names without other dots",
       tar, a.file.name, b.file.name, g.stem, g.images.size());
}

/// The image that stands for the sample: the one called "x.jpg" before "x.seg.jpg", the first of
/// several.
const Member& image_of(const Gathered& g, const std::string& tar) {
  std::set<std::string_view> names;
  for (const auto* members : {&g.images, &g.labels}) {
    for (const Member& m : *members) {
      if (names.insert(m.file.name).second) continue;
      fail(ErrorCode::kBadData,
           "{}: {} stands there twice in one sample; pack it again under "
           "different names",
           tar, m.file.name);
    }
  }
  const auto plain =
      std::ranges::find_if(g.images, [](const Member& m) { return m.middle.empty(); });
  const Member& chosen = plain != g.images.end() ? *plain : g.images.front();
  for (const Member& m : g.images) {
    if (&m == &chosen || m.middle.empty()) continue;
    // With a label of its own, or where no name is better than another, it is no mask.
    const bool labelled = std::ranges::find(g.labels, m.middle, &Member::middle) != g.labels.end();
    if (labelled || !chosen.middle.empty()) fail_dotted(tar, g, chosen, m);
  }
  return chosen;
}

/// Null without one. A label belongs to the image of the same middle, and one without a middle to
/// any.
const Member* label_of(const Gathered& g, const Member& image) {
  const Member* best = nullptr;
  const auto order = [&](const Member& m) { return std::pair(m.middle == image.middle, m.rank); };
  for (const Member& m : g.labels) {
    if (!m.middle.empty() && m.middle != image.middle) continue;
    if (best == nullptr || order(m) > order(*best)) best = &m;
  }
  return best;
}

void add_sample(const Gathered& g, const ByteSource& tar, Index& index, Labels& labels) {
  if (g.images.empty()) {  // a README, or what belongs to no image
    const auto cls = std::ranges::find_if(g.labels, [](const Member& m) { return m.rank > kTxt; });
    if (cls != g.labels.end()) index.labels.add(fmt::format("{}/{}", tar.name(), cls->file.name));
    return;
  }
  const Member& image = image_of(g, tar.name());
  const Member* label = label_of(g, image);
  const std::string name = fmt::format("{}/{}", tar.name(), image.file.name);
  if (label == nullptr) {
    fail(ErrorCode::kBadData, "{}: no label; expected {}.cls, .json or .txt beside it in the tar",
         name, g.stem);
  }
  if (image.file.size > kMaxImage || label->file.size > kMaxLabel) {
    fail(ErrorCode::kBadData, "{}: an image of {} bytes with a label of {}; expected less", name,
         image.file.size, label->file.size);
  }
  for (const Member& m : g.images) {
    if (&m != &image) index.images.add(fmt::format("{}/{}", tar.name(), m.file.name));
  }
  std::string bytes(static_cast<std::size_t>(label->file.size), '\0');
  tar.read(label->file.offset, std::as_writable_bytes(std::span(bytes)));
  const std::string text = label_text(bytes, label->rank == kJson, name);
  if (text.empty() || text.size() > 1000 || text.find('\n') != text.npos) {
    fail(ErrorCode::kBadData, "{}: its label in {} is {}; expected one number or class name{}",
         name, label->file.name, text.empty() ? "empty" : "a longer text",
         label->rank == kTxt ? ", since captions are no classes" : "");
  }
  if (!is_plain_text(text)) {
    fail(ErrorCode::kBadData, "{}: its label \"{}\" in {} {}", name, printable(text, 100),
         label->file.name,
         is_utf8(text) ? "has control characters; remove them" : "is not UTF-8; save it as UTF-8");
  }
  index.samples.push_back({image.file.offset, static_cast<std::uint32_t>(image.file.size),
                           static_cast<std::uint32_t>(index.shards.size()),
                           labels.position(text, label->rank == kTxt), image.file.name});
}

void index_shard(const fs::path& path, Index& index, Labels& labels) {
  const ByteSource tar(path);
  index.starts.push_back(static_cast<std::int64_t>(index.samples.size()));
  Gathered gathered;
  index_tar(tar, [&](const TarFile& file) {
    if (is_foreign_path(file.name)) return;
    const std::size_t slash = file.name.rfind('/');
    const std::size_t base = slash == file.name.npos ? 0 : slash + 1;
    const std::size_t dot = file.name.find('.', base);
    if (dot == file.name.npos) return;  // of no kind
    const std::string_view stem = std::string_view(file.name).substr(0, dot);
    const std::string kind = lower(file.name.substr(dot));
    if (stem != gathered.stem) {
      add_sample(gathered, tar, index, labels);
      gathered = {};
      gathered.stem = stem;
    }
    constexpr std::array<std::string_view, 3> kLabelKinds = {".txt", ".json", ".cls"};
    const std::size_t ending = kind.rfind('.');
    Member member{file, kind.substr(0, ending)};
    const auto* label =
        std::find(kLabelKinds.begin(), kLabelKinds.end(), std::string_view(kind).substr(ending));
    if (label != kLabelKinds.end()) {
      member.rank = static_cast<Rank>(label - kLabelKinds.begin());
      gathered.labels.push_back(std::move(member));
    } else if (is_image_path("x" + kind)) {
      gathered.images.push_back(std::move(member));
    }
  });
  add_sample(gathered, tar, index, labels);
  index.shards.push_back(path);
}

/// Says what was passed over, by name and count.
void notes_of(const Index& index, std::vector<std::string>& notes) {
  if (index.images.count > 0) {
    notes.push_back(fmt::format(
        "{} further images of samples that have one are left out, the first: {}; a sample is one "
        "image, x.jpg before x.seg.png",
        index.images.count, index.images.first));
  }
  if (index.labels.count > 0) {
    notes.push_back(fmt::format(
        "{} samples have a label and no image of a known kind, and are left out, the first: {}",
        index.labels.count, index.labels.first));
  }
}

class WebDataset final : public Dataset {
 public:
  WebDataset(Index index, std::vector<std::string> class_names)
      : index_(std::move(index)),
        shards_(std::move(index_.shards)),
        class_names_(std::move(class_names)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(index_.samples.size()); }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  int label(std::int64_t i) const override { return at(i).label; }
  std::string name(std::int64_t i) const override {
    return fmt::format("{}/{}", shards_.name(at(i).shard), at(i).stem);
  }
  void read(std::int64_t i, Image& out) const override { read_part(i, {}, out); }
  void read_part(std::int64_t i, const ReadOptions& options, Image& out) const override {
    const Sample& sample = at(i);
    std::vector<std::byte> bytes(sample.size);
    shards_.open(sample.shard)->read(sample.offset, bytes);
    out = decode_image(bytes, name(i), ColorMode::kRgb, decoding_of(options));
  }
  std::vector<std::int64_t> shard_starts() const override { return index_.starts; }

 private:
  const Sample& at(std::int64_t i) const { return index_.samples.at(static_cast<std::size_t>(i)); }
  Index index_;
  ShardFiles shards_;
  std::vector<std::string> class_names_;
};

}  // namespace

std::vector<fs::path> tars_in(const fs::path& folder) {
  std::vector<fs::path> tars;
  const std::error_code error = for_each_entry(folder, [&](const FolderEntry& entry) {
    std::error_code ignored;
    if (is_tar(entry.path()) && fs::is_regular_file(entry.status(ignored))) {
      tars.push_back(entry.path());
    }
    return true;
  });
  if (error == std::errc::too_many_files_open) fail_os("list", folder, error.value());
  std::sort(tars.begin(), tars.end());
  return tars;
}

bool is_webdataset(const std::string& source) {
  std::error_code ignored;
  if (fs::is_directory(source, ignored)) return !find_shards(source).empty();
  return is_tar(source);
}

Opened open_webdataset(const std::string& source, Purpose purpose, ClassOrder order) {
  const std::vector<Shard> shards = find_shards(source);
  const auto any = [&](Part part) {
    return std::any_of(shards.begin(), shards.end(),
                       [&](const Shard& s) { return s.part == part; });
  };
  // To be trained on: all but the test part, if there is another to evaluate on.
  const Part evaluated = purpose == Purpose::kTrain ? (any(Part::kVal) ? Part::kVal : Part::kTest)
                                                    : (any(Part::kTest) ? Part::kTest : Part::kVal);
  std::map<Part, Index> parts;
  Labels labels;
  for (const Shard& shard : shards) {
    const Part part = shard.part == Part::kNone ? Part::kTrain : shard.part;
    const bool wanted = part == evaluated ||
                        (part == Part::kTrain && (purpose == Purpose::kTrain || !any(evaluated)));
    if (wanted) index_shard(shard.path, parts[part], labels);
  }

  Opened opened;
  refuse_captions(labels, source);

  std::vector<std::string> classes;
  std::vector<int> number;  // by position in labels
  std::int64_t highest = -1;
  bool numbers = true;
  for (const std::string& text : labels.texts) {
    numbers = numbers && whole_number(text) >= 0;
    highest = std::max(highest, whole_number(text));
  }
  constexpr std::int64_t kMaxClasses = 1'000'000;
  if (numbers && highest >= kMaxClasses) {
    fail(ErrorCode::kBadData, "{}: has the label {}; expected numbers below {}", source, highest,
         kMaxClasses);
  }
  if (numbers) {
    const fs::path path(shards.front().path);
    std::error_code ignored;
    classes = numbered_classes(
        fs::is_directory(source, ignored) ? fs::path(source) : path.parent_path(), highest);
    for (const std::string& text : labels.texts) {
      number.push_back(static_cast<int>(whole_number(text)));
    }
    opened.numbered = are_numbers(classes);
  } else {
    const Classes named(labels.texts, order);
    classes = named.names();
    for (const std::string& text : labels.texts) number.push_back(named.index(text));
    opened.notes = notes_of(named);
  }
  const auto dataset = [&](Part part) -> DatasetPtr {
    const auto it = parts.find(part);
    if (it == parts.end()) return nullptr;
    for (Sample& sample : it->second.samples) {
      sample.label = number[static_cast<std::size_t>(sample.label)];
    }
    if (it->second.samples.empty()) {
      fail(ErrorCode::kBadData,
           "{}: no images in its {} shards; expected files such as 0001.jpg and 0001.cls", source,
           it->second.shards.size());
    }
    notes_of(it->second, opened.notes);
    return std::make_shared<WebDataset>(std::move(it->second), classes);
  };
  opened.train = dataset(Part::kTrain);
  opened.val = dataset(Part::kVal);
  opened.test = dataset(Part::kTest);
  fs::path named(source);
  if (!named.has_filename()) named = named.parent_path();
  opened.title = named.filename().string();
  return opened;
}

}  // namespace resnet
