// From values of more than 8 bits to bytes: what 16-bit PNG and FITS share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "resnet/image.h"

namespace resnet::image {

struct Levels {
  double low = 0;   ///< Becomes 0.
  double high = 0;  ///< Becomes 1.
};

/// Percentiles 0.25 and 99.75, as astropy's PercentileInterval(99.5); reorders the values, of which
/// there must be some.
Levels percentile_levels(std::vector<double>& values);

/// astropy's AsinhStretch(0.1) of a value in 0 … 1.
double asinh_stretch(double y);

/// 0 … 1 to 0 … 255, rounded and clipped; NaN is 0.
std::uint8_t to_byte(double y);

/// [pixels] to [pixels]. An image of one value becomes black where its own values are the range.
/// True if `kClip` made values above 255 white.
bool narrow(std::span<const std::uint16_t> wide, Scale16Bit scale, std::span<std::uint8_t> out);

}  // namespace resnet::image
