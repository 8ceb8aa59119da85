// Names of the enumerations of options, and help with misspelt ones.
#pragma once

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "resnet/train.h"

namespace resnet {

template <class E>
struct Names;

template <>
struct Names<Optimizer> {
  static constexpr std::string_view kWhat = "optimizer";
  static constexpr std::array<std::string_view, 3> kList{"sgd", "adamw", "lars"};
};
template <>
struct Names<Schedule> {
  static constexpr std::string_view kWhat = "schedule";
  static constexpr std::array<std::string_view, 6> kList{"constant", "step",     "multistep",
                                                         "cosine",   "onecycle", "poly"};
};
template <>
struct Names<ClassWeighting> {
  static constexpr std::string_view kWhat = "class weighting";
  static constexpr std::array<std::string_view, 3> kList{"none", "balanced", "given"};
};
template <>
struct Names<ClassOrder> {
  static constexpr std::string_view kWhat = "class order";
  static constexpr std::array<std::string_view, 2> kList{"sorted", "natural"};
};
template <>
struct Names<Device> {
  static constexpr std::string_view kWhat = "device";
  static constexpr std::array<std::string_view, 2> kList{"cpu", "reference"};
};
template <>
struct Names<DataLayout> {
  static constexpr std::string_view kWhat = "layout";
  static constexpr std::array<std::string_view, 2> kList{"nchw", "nhwc"};
};

template <class E>
std::string_view enum_name(E value) {
  return Names<E>::kList.at(static_cast<std::size_t>(value));
}

[[noreturn]] void unknown_name(std::string_view what, std::string_view name,
                               std::span<const std::string_view> known);

/// Throws kInvalidArgument with the nearest name.
template <class E>
E parse_enum(std::string_view name) {
  constexpr auto& kNames = Names<E>::kList;
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) unknown_name(Names<E>::kWhat, name, kNames);
  return static_cast<E>(found - kNames.begin());
}

// Of activations.
inline std::string_view enum_name(DType value) { return name_of(value); }
template <>
inline DType parse_enum<DType>(std::string_view name) {
  constexpr std::array<std::string_view, 2> kKnown{"f32", "bf16"};
  if (name == kKnown[0]) return DType::kF32;
  if (name == kKnown[1]) return DType::kBF16;
  unknown_name("dtype", name, kKnown);
}

// Named by the networks themselves.
inline std::string_view enum_name(Shortcut value) { return name_of(value); }
template <>
inline Shortcut parse_enum<Shortcut>(std::string_view name) {
  return parse_shortcut(name);
}

inline std::string_view enum_name(Scale16Bit value) { return name_of(value); }
template <>
inline Scale16Bit parse_enum<Scale16Bit>(std::string_view name) {
  return parse_scale_16bit(name);
}

inline std::string_view enum_name(Interpolation value) { return name_of(value); }
template <>
inline Interpolation parse_enum<Interpolation>(std::string_view name) {
  return parse_interpolation(name);
}

}  // namespace resnet
