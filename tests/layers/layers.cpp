#include "layers/layers.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <iterator>
#include <optional>
#include <regex>
#include <utility>

namespace resnet::layers {
namespace {

namespace fs = std::filesystem;

struct Room {
  std::string_view name;
  int level;
};

// A room includes itself and rooms of lower levels, never another one of its own level.
constexpr Room kRooms[] = {
    {"core", 0},  {"graph", 1},    {"formats", 1},  {"models", 2},  {"compile", 2},
    {"data", 2},  {"exchange", 3}, {"backends", 3}, {"runtime", 4}, {"parallel", 4},
    {"train", 5}, {"serve", 5},    {"inspect", 6},  {"cli", 7},     {"download", 1},
};

// Which room a public header belongs to.
constexpr std::pair<std::string_view, std::string_view> kPublicHeaders[] = {
    {"error.h", "core"},
    {"tensor.h", "core"},
    {"image.h", "core"},
    {"graph.h", "graph"},
    {"ir.h", "graph"},
    {"custom_op.h", "graph"},
    {"models.h", "models"},
    {"network.h", "models"},
    {"data.h", "data"},
    {"variables.h", "core"},
    {"warning.h", "core"},
    {"program.h", "runtime"},
    {"model_file.h", "exchange"},
    {"download.h", "download"},
    {"weights.h", "exchange"},
    {"pretrained.h", "exchange"},
    {"quantized_graph.h", "compile"},
    {"quantize.h", "train"},
    {"train.h", "train"},
    {"predictor.h", "train"},
    {"decode.h", "data"},
    {"peaks.h", "core"},
    {"pack.h", "data"},
    {"resnet.h", "train"},  // the umbrella
};

// Libraries that show in one place only: what the include starts with, and the folder.
constexpr std::pair<std::string_view, std::string_view> kConfinedLibraries[] = {
    {"dnnl", "src/backends/cpu/"},
    {"oneapi/", "src/backends/cpu/"},
    {"omp.h", "src/backends/cpu/"},
    {"cuda", "src/backends/cuda/"},
    {"cudnn", "src/backends/cuda/"},
    {"cublas", "src/backends/cuda/"},
    {"nccl", "src/parallel/"},
    {"mpi.h", "src/parallel/"},
    {"jpeglib.h", "src/formats/"},
    {"png.h", "src/formats/"},
    {"webp/", "src/formats/"},
    {"archive.h", "src/formats/"},
    {"archive_entry.h", "src/formats/"},
    {"curl/", "src/download/"},
    {"openssl/", "src/download/"},
    {"zip.h", "src/formats/"},
    {"fitsio.h", "src/formats/"},
    {"hdf5.h", "src/formats/"},
    {"google/protobuf/", "src/formats/"},
    {"Eigen/", "src/train/"},
    {"CLI/", "src/cli/"},
};

// What ends the program or writes to its standard streams; `snprintf` and files are fine.
const std::regex kPrintsOrExits(
    R"((^|[^\w.>])(std::(cout|cerr|clog|printf|puts|putchar|exit|_Exit|quick_exit|abort|terminate))"
    R"(|printf|vprintf|puts|putchar|exit|_exit|_Exit|quick_exit|abort|stdout|stderr|fmt::print)\b)");

// Texts by which a layer's part in a network would be told from its name. Networks say it
// themselves; weights of other programs have these names, and the command line shows them.
const std::regex kNameOfLayer(R"re("(fc["\.]|layer["0-9]))re");
constexpr std::string_view kKnowsNames[] = {"models", "exchange", "cli"};

const std::regex kInclude(R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re");

std::optional<Room> room_named(std::string_view name) {
  const auto* room = std::ranges::find(kRooms, name, &Room::name);
  if (room == std::end(kRooms)) return std::nullopt;
  return *room;
}

std::optional<Room> room_of_public_header(std::string_view name) {
  for (const auto& [header, room] : kPublicHeaders) {
    if (header == name) return room_named(room);
  }
  return std::nullopt;
}

/// Blanks comments, strings and character literals, keeping the lines. Good enough for this code
/// base: raw strings are understood with the empty delimiter only.
std::string code_only(std::string_view text) {
  std::string out(text);
  const auto blank = [&](std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to && i < out.size(); ++i) {
      if (out[i] != '\n') out[i] = ' ';
    }
  };
  const auto end_of = [&](std::string_view what, std::size_t from) {
    const std::size_t at = text.find(what, from);
    return at == std::string_view::npos ? text.size() : at + what.size();
  };
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    if (text.substr(i, 2) == "//") {
      end = std::min(text.find('\n', i), text.size());
      blank(i, end);
    } else if (text.substr(i, 2) == "/*") {
      end = end_of("*/", i + 2);
      blank(i, end);
    } else if (text.substr(i, 3) == "R\"(") {
      end = end_of(")\"", i + 3);
      blank(i, end);
    } else if (text[i] == '"' ||
               (text[i] == '\'' &&
                (i == 0 || !std::isalnum(static_cast<unsigned char>(text[i - 1]))))) {
      while (end < text.size() && text[end] != text[i] && text[end] != '\n') {
        end += text[end] == '\\' ? 2 : 1;
      }
      end = std::min(end + 1, text.size());
      blank(i + 1, end - 1);
    }
    i = end;
  }
  return out;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  while (begin <= text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// The part of a path before the n-th slash, with it: folder("a/b/c.h", 2) is "a/b/".
std::string_view folder(std::string_view path, int slashes) {
  std::size_t at = 0;
  for (int i = 0; i < slashes; ++i) {
    at = path.find('/', at);
    if (at == std::string_view::npos) return {};
    ++at;
  }
  return path.substr(0, at);
}

/// What is wrong with an include in a file of room `from`, or nothing.
std::string check_include(std::string_view path, const Room& from, bool quoted,
                          std::string_view included) {
  const bool is_public = path.starts_with("include/");
  for (const auto& [library, where] : kConfinedLibraries) {
    if (included.starts_with(library) && !path.starts_with(where)) {
      return std::string(included) + " belongs in " + std::string(where) + " only";
    }
  }
  // Generated by the protobuf compiler, beside the sources.
  if (included.ends_with(".pb.h") && path.starts_with("src/formats/")) return {};
  const std::size_t slash = included.find('/');
  const std::string_view top = included.substr(0, slash == std::string_view::npos ? 0 : slash);
  std::optional<Room> to;
  if (top == "resnet") {
    to = room_of_public_header(included.substr(slash + 1));
    if (!to) {
      return std::string(included) + " is no known public header: add it to kPublicHeaders in " +
             "tests/layers/layers.cpp";
    }
  } else if (quoted && (top.empty() || top.starts_with('.'))) {
    return "\"" + std::string(included) + "\" names no room: includes of ours are full, " +
           "\"room/file.h\" or \"resnet/file.h\"";
  } else if (quoted && room_named(top)) {
    to = room_named(top);
    if (is_public) return "a public header includes the internal " + std::string(included);
  } else {
    // Public headers stand on the standard library alone, so that no type of another shows.
    if (is_public && included.find_first_of("./") != std::string_view::npos) {
      return "a public header includes <" + std::string(included) +
             ">, which is not a header of the C++ standard library";
    }
    return {};
  }
  if (to->name != from.name && to->level >= from.level) {
    return std::string(from.name) + " (level " + std::to_string(from.level) + ") includes " +
           std::string(included) + " of " + std::string(to->name) + " (level " +
           std::to_string(to->level) + ")";
  }
  // Concrete backends know nothing of each other, and only `runtime` names them.
  if (to->name == "backends" && top == "backends") {
    const std::string_view backend = folder(included, 2);
    if (!backend.empty() && from.name != "runtime" &&
        folder(path, 3) != "src/" + std::string(backend)) {
      return "only runtime and the backend itself include " + std::string(backend);
    }
  }
  return {};
}

}  // namespace

std::vector<std::string> check_file(std::string_view path, std::string_view text) {
  std::vector<std::string> findings;
  const auto report = [&](std::size_t line, const std::string& what) {
    findings.push_back(std::string(path) + ":" + std::to_string(line) + ": " + what);
  };
  std::optional<Room> room;
  if (path.starts_with("include/resnet/")) {
    room = room_of_public_header(path.substr(std::string_view("include/resnet/").size()));
    if (!room) {
      report(1, "no known public header: add it to kPublicHeaders in tests/layers/layers.cpp");
      return findings;
    }
  } else if (path.starts_with("src/")) {
    const std::string_view name = folder(path, 2);
    room = name.empty() ? std::nullopt : room_named(name.substr(4, name.size() - 5));
  }
  if (!room) {
    report(1, "in no room: add the folder to kRooms in tests/layers/layers.cpp");
    return findings;
  }

  const std::vector<std::string> lines = lines_of(std::string(text));
  const std::vector<std::string> code = lines_of(code_only(text));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    // An include inside a comment is none; its quotes are blanked in `code`, so read `lines`.
    if (code[i].find("include") != std::string::npos &&
        std::regex_search(lines[i], match, kInclude)) {
      const std::string what = check_include(path, *room, match[1] == "\"", match[2].str());
      if (!what.empty()) report(i + 1, what);
    } else if (room->name != "cli" && std::regex_search(code[i], match, kPrintsOrExits)) {
      report(i + 1, "only src/cli prints or exits: " + lines[i]);
    } else if (std::ranges::find(kKnowsNames, room->name) == std::end(kKnowsNames) &&
               std::regex_search(lines[i], match, kNameOfLayer) &&
               code[i][static_cast<std::size_t>(match.position())] == '"') {  // no comment
      report(i + 1, "only networks know names of layers, see resnet/network.h: " + lines[i]);
    }
  }
  return findings;
}

std::vector<std::string> check_tree(const fs::path& root, int* files_seen) {
  std::vector<std::string> findings;
  *files_seen = 0;
  for (const char* top : {"src", "include"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const fs::path extension = entry.path().extension();
      constexpr std::array kSources = {".h", ".cpp", ".cu", ".cuh"};
      if (!entry.is_regular_file() || std::ranges::find(kSources, extension) == kSources.end()) {
        continue;
      }
      std::ifstream in(entry.path(), std::ios::binary);
      const std::string text(std::istreambuf_iterator<char>(in), {});
      const std::string path = fs::relative(entry.path(), root).generic_string();
      for (std::string& finding : check_file(path, text)) findings.push_back(std::move(finding));
      ++*files_seen;
    }
  }
  std::ranges::sort(findings);
  return findings;
}

}  // namespace resnet::layers
