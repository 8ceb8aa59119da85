// Pickles put together by hand, and zip archives around them, as torch.save lays them out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "formats/bytes.h"
#include "formats/zip.h"

namespace resnet::pickles {

/// How a legacy file begins at protocol 2.
constexpr std::string_view kLegacyMagic("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
                                        15);

inline std::string number(std::uint64_t n, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(n >> (8 * i) & 0xff);
  return out;
}
inline std::string text(const std::string& t) { return "X" + number(t.size(), 4) + t; }
inline std::string integer(std::int64_t n) {
  return "\x8a\x08" + number(static_cast<std::uint64_t>(n), 8);
}
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string tuple(const std::vector<std::int64_t>& numbers) {
  std::string out = "(";
  for (const std::int64_t n : numbers) out += integer(n);
  return out + "t";
}

/// A tensor as torch.save describes it, but with any numbers.
struct TensorPickle {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> strides = {};
  std::int64_t offset = 0;
  std::string key = "0";
  std::string storage = "FloatStorage";
};
inline std::string tensor(const TensorPickle& t) {
  return global("torch._utils", "_rebuild_tensor_v2") + "((" + text("storage") +
         global("torch", t.storage) + text(t.key) + text("cpu") + integer(4) + "tQ" +
         integer(t.offset) + tuple(t.shape) + tuple(t.strides) + "\x89" +
         global("collections", "OrderedDict") + ")RtR";
}
/// {"name": value}
inline std::string dict(const std::string& name, const std::string& value) {
  return "}" + text(name) + value + "s";
}

/// A PyTorch archive of that pickle and of storages "0", "1", …
inline void write_archive(const std::filesystem::path& path, const std::string& pickle,
                          const std::vector<std::string>& storages,
                          std::vector<std::pair<std::string, std::string>> others = {}) {
  std::vector<std::pair<std::string, std::string>> files = {{"m/data.pkl", pickle}};
  for (std::size_t i = 0; i < storages.size(); ++i) {
    files.emplace_back("m/data/" + std::to_string(i), storages[i]);
  }
  for (auto& other : others) files.push_back(std::move(other));
  std::vector<ZipContent> contents;
  for (const auto& [name, bytes] : files) {
    contents.push_back({name, std::as_bytes(std::span(bytes))});
  }
  write_zip(path, contents);
}

}  // namespace resnet::pickles
