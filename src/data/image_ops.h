// Pillow's and torchvision's changes of 8-bit images (1 or 3 channels), to the bit where Pillow
// defines them: ImageEnhance, ImageOps, Image.rotate, Image.transform.
#pragma once

#include <array>

#include "resnet/data.h"

namespace resnet {

/// Factors as ImageEnhance: 1 leaves the image alone, 0 gives the degenerate image (black, mean
/// grey, grey, smoothed).
void adjust_brightness(Image& image, float factor);
void adjust_contrast(Image& image, float factor);
void adjust_saturation(Image& image, float factor);
void adjust_sharpness(Image& image, float factor, Image& scratch);
/// Turns the colour circle by `shift` in −0.5 … 0.5 (through 8-bit HSV). Grey stays as it is.
void adjust_hue(Image& image, double shift);

void posterize(Image& image, int bits);         ///< keeps the upper `bits` of each value
void solarize(Image& image, double threshold);  ///< inverts values from the threshold on
void autocontrast(Image& image);                ///< stretches each channel to 0 … 255
void equalize(Image& image);                    ///< flattens each channel's histogram

/// Output pixel (x, y) shows input (m0·x + m1·y + m2, m3·x + m4·y + m5), at pixel centres; black
/// outside. Nearest or bilinear.
using AffineMap = std::array<double, 6>;
void transform(Image& image, const AffineMap& map, Interpolation interpolation, Image& scratch);
/// Counter-clockwise about the centre, in degrees.
AffineMap rotation_about_center(double degrees, int width, int height);

}  // namespace resnet
