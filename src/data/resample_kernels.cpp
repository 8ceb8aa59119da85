#include "data/resample_kernels.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "data/resample_kernels.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h, as Highway asks.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace resnet {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

inline std::uint8_t round_filtered(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kFilterBits, 0, 255));
}

void filter_row(const std::uint8_t* source, int channels, const int* first, const int* count,
                const std::int32_t* weights, int stride, int pixels, bool overread,
                std::uint8_t* out) {
  constexpr std::int32_t kHalf = 1 << (kFilterBits - 1);
  int i = 0;
#if HWY_TARGET != HWY_SCALAR
  if (channels == 4 || (channels == 3 && overread)) {
    // The channels of one pixel side by side; the fourth lane is idle for RGB. The store of four
    // bytes runs into the next output pixel, which is written later: so not for the last one.
    const hn::FixedTag<std::int32_t, 4> d;
    const hn::FixedTag<std::uint8_t, 4> d8;
    const int end = channels == 4 ? pixels : pixels - 1;
    for (; i < end; ++i) {
      const std::uint8_t* p = source + static_cast<std::ptrdiff_t>(first[i]) * channels;
      const std::int32_t* w = weights + static_cast<std::ptrdiff_t>(i) * stride;
      auto sum = hn::Set(d, kHalf);
      for (int j = 0; j < count[i]; ++j, p += channels) {
        sum = hn::Add(sum, hn::Mul(hn::PromoteTo(d, hn::LoadU(d8, p)), hn::Set(d, w[j])));
      }
      hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kFilterBits>(sum)), d8,
                 out + static_cast<std::ptrdiff_t>(i) * channels);
    }
  }
#endif
  (void)overread;
  for (; i < pixels; ++i) {
    for (int c = 0; c < channels; ++c) {
      const std::uint8_t* p = source + static_cast<std::ptrdiff_t>(first[i]) * channels + c;
      const std::int32_t* w = weights + static_cast<std::ptrdiff_t>(i) * stride;
      std::int32_t sum = kHalf;
      for (int j = 0; j < count[i]; ++j, p += channels) sum += *p * w[j];
      out[static_cast<std::ptrdiff_t>(i) * channels + c] = round_filtered(sum);
    }
  }
}

void filter_column(const std::uint8_t* source, std::int64_t step, const std::int32_t* weights,
                   int count, int bytes, std::uint8_t* out) {
  constexpr std::int32_t kHalf = 1 << (kFilterBits - 1);
  int i = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::ScalableTag<std::int32_t> d;
  const hn::Rebind<std::uint8_t, decltype(d)> d8;
  const int lanes = static_cast<int>(hn::Lanes(d));
  for (; i + 2 * lanes <= bytes; i += 2 * lanes) {
    auto a = hn::Set(d, kHalf);
    auto b = a;
    const std::uint8_t* p = source + i;
    for (int j = 0; j < count; ++j, p += step) {
      const auto w = hn::Set(d, weights[j]);
      a = hn::Add(a, hn::Mul(hn::PromoteTo(d, hn::LoadU(d8, p)), w));
      b = hn::Add(b, hn::Mul(hn::PromoteTo(d, hn::LoadU(d8, p + lanes)), w));
    }
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kFilterBits>(a)), d8, out + i);
    hn::StoreU(hn::DemoteTo(d8, hn::ShiftRight<kFilterBits>(b)), d8, out + i + lanes);
  }
#endif
  for (; i < bytes; ++i) {
    std::int32_t sum = kHalf;
    for (int j = 0; j < count; ++j) sum += source[i + j * step] * weights[j];
    out[i] = round_filtered(sum);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace resnet
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace resnet {

HWY_EXPORT(filter_row);
HWY_EXPORT(filter_column);

void filter_row(const std::uint8_t* source, int channels, const int* first, const int* count,
                const std::int32_t* weights, int stride, int pixels, bool overread,
                std::uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(filter_row)
  (source, channels, first, count, weights, stride, pixels, overread, out);
}

void filter_column(const std::uint8_t* source, std::int64_t step, const std::int32_t* weights,
                   int count, int bytes, std::uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(filter_column)(source, step, weights, count, bytes, out);
}

}  // namespace resnet
#endif
