#include "core/unicode.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

#include "core/text.h"

namespace resnet {
namespace {

struct Decomposition {
  std::uint32_t code;
  std::uint32_t parts[4];  // zeros follow the last
};
struct CombiningClass {
  std::uint32_t first, last;
  int value;
};

#include "core/unicode_tables.inc"

int combining_class(std::uint32_t code) {
  const auto* found = std::ranges::lower_bound(kCombiningClasses, code, {}, &CombiningClass::last);
  return found != std::end(kCombiningClasses) && found->first <= code ? found->value : 0;
}

void append_decomposed(std::uint32_t code, std::vector<std::uint32_t>& out) {
  // Korean syllables, by arithmetic (The Unicode Standard, section 3.12).
  constexpr std::uint32_t kSyllables = 0xac00, kVowels = 21, kTails = 28, kCount = 19 * 21 * 28;
  if (code >= kSyllables && code < kSyllables + kCount) {
    const std::uint32_t at = code - kSyllables;
    out.push_back(0x1100 + at / (kVowels * kTails));
    out.push_back(0x1161 + at % (kVowels * kTails) / kTails);
    if (at % kTails != 0) out.push_back(0x11a7 + at % kTails);
    return;
  }
  const auto* found = std::ranges::lower_bound(kDecompositions, code, {}, &Decomposition::code);
  if (found == std::end(kDecompositions) || found->code != code) {
    out.push_back(code);
    return;
  }
  for (const std::uint32_t part : found->parts) {
    if (part != 0) out.push_back(part);
  }
}

void append_utf8(std::uint32_t code, std::string& out) {
  const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6), put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12), put(0x80 | (code >> 6 & 0x3f)), put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18), put(0x80 | (code >> 12 & 0x3f)), put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

/// Of text that is UTF-8.
std::vector<std::uint32_t> code_points(std::string_view text) {
  std::vector<std::uint32_t> codes;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(text[at + i]); };
    const std::uint32_t lead = byte(0);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    std::uint32_t code = length == 1 ? lead : lead & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) code = code << 6 | (byte(i) & 0x3fU);
    codes.push_back(code);
    at += length;
  }
  return codes;
}

}  // namespace

std::string decomposed(std::string_view text) {
  const bool ascii =
      std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii || !is_utf8(text)) return std::string(text);
  std::vector<std::uint32_t> codes;
  for (const std::uint32_t code : code_points(text)) append_decomposed(code, codes);
  // Marks on the same letter in their canonical order.
  for (auto at = codes.begin(); at != codes.end();) {
    const auto is_mark = [](std::uint32_t code) { return combining_class(code) != 0; };
    const auto first = std::find_if(at, codes.end(), is_mark);
    const auto last = std::find_if_not(first, codes.end(), is_mark);
    std::stable_sort(first, last, [](std::uint32_t a, std::uint32_t b) {
      return combining_class(a) < combining_class(b);
    });
    at = last;
  }
  std::string out;
  for (const std::uint32_t code : codes) append_utf8(code, out);
  return out;
}

}  // namespace resnet
