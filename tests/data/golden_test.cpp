// Pixels and floats against Pillow and torchvision; golden.inc is made by make_golden.py.
#include <gtest/gtest.h>

#include "data/image_ops.h"
#include "data/support.h"
#include "resnet/data.h"

namespace resnet {
namespace {

std::uint64_t fnv(const void* data, std::size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (std::size_t i = 0; i < bytes; ++i) h = (h ^ p[i]) * 0x100000001b3ULL;
  return h;
}
std::uint64_t fnv(const Image& p) { return fnv(p.pixels.data(), p.pixels.size()); }

TEST(Golden, Resize) {
#define RESIZE(w, h, c, ow, oh, mode, hash)                                      \
  EXPECT_EQ(fnv(resize(test_image(w, h, c), ow, oh, Interpolation::mode)), hash) \
      << w << " x " << h << " x " << c << " to " << ow << " x " << oh << " " #mode;
#include "data/golden.inc"
#undef RESIZE
}

TEST(Golden, Preprocess){
#define PREPROCESS(w, h, c, r, cw, ch, oc, mode, pixel_hash, float_hash)                 \
  {                                                                                      \
    SCOPED_TRACE(#w " x " #h " x " #c ", resize " #r ", crop " #cw " x " #ch " " #mode); \
    Preprocessing s;                                                                     \
    s.resize = r;                                                                        \
    s.width = cw;                                                                        \
    s.height = ch;                                                                       \
    s.channels = oc;                                                                     \
    s.interpolation = Interpolation::mode;                                               \
    const Image in = test_image(w, h, c);                                                \
    EXPECT_EQ(fnv(preprocess_pixels(in, s)), pixel_hash);                                \
    std::vector<float> nchw(static_cast<std::size_t>(cw) * ch * oc);                     \
    std::vector<float> nhwc(nchw.size());                                                \
    preprocess(in, s, nchw.data());                                                      \
    EXPECT_EQ(fnv(nchw.data(), nchw.size() * sizeof(float)), float_hash);                \
    preprocess(in, s, nhwc.data(), DataLayout::kNHWC);                                   \
    EXPECT_EQ(to_nchw(nhwc, oc), nchw);                                                  \
  }
#include "data/golden.inc"
#undef PREPROCESS
}

TEST(Golden, Views){
#define VIEW(w, h, r, crop, crops, index, hash)                                          \
  {                                                                                      \
    Preprocessing s;                                                                     \
    s.resize = r;                                                                        \
    s.width = s.height = crop;                                                           \
    const auto views = crops == 2 ? evaluation_views(1, true) : evaluation_views(crops); \
    ASSERT_EQ(views.size(), static_cast<std::size_t>(crops));                            \
    EXPECT_EQ(fnv(preprocess_pixels(test_image(w, h, 3), s, views[index])), hash)        \
        << #w " x " #h ", resize " #r ", crop " #crop ", view " #index;                  \
  }
#include "data/golden.inc"
#undef VIEW
}

TEST(Views, MovesWhatTheNetworkSeesAndMirrorsItsEdges) {
  Preprocessing s;
  s.resize = 0;
  s.width = s.height = 5;
  const Image in = test_image(5, 5, 3);
  const std::vector<View> views = evaluation_views(1, true, 2);
  ASSERT_EQ(views.size(), 6U);
  for (const View& view : views) {
    const Image seen = preprocess_pixels(in, s, view);
    for (int y = 0; y < 5; ++y) {
      for (int x = 0; x < 5; ++x) {
        const auto mirror = [](int i) { return i < 0 ? -i : i > 4 ? 8 - i : i; };
        const int column = mirror(x - view.shift), row = mirror(y - view.shift);
        const int from = view.mirrored ? 4 - column : column;
        EXPECT_TRUE(
            std::equal(seen.row(y) + 3 * x, seen.row(y) + 3 * x + 3, in.row(row) + 3 * from))
            << view.shift;
      }
    }
  }
  std::vector<int> shifts;
  for (const View& view : views) shifts.push_back(view.shift);
  EXPECT_EQ(shifts, (std::vector{0, 0, 2, -2, 2, -2}));
  s.width = s.height = 1;  // a single pixel is its own mirror
  EXPECT_EQ(preprocess_pixels(in, s, {.shift = 3}).pixels, preprocess_pixels(in, s).pixels);
  expect_error(ErrorCode::kInvalidArgument, {"-1"}, [] { evaluation_views(1, false, -1); });
}

TEST(Golden, Changes){
#define CHANGE(w, h, c, expression, hash)   \
  {                                         \
    Image p = test_image(w, h, c);          \
    Image s;                                \
    adjust_contrast(p, 0.7F);               \
    expression;                             \
    EXPECT_EQ(fnv(p), hash) << #expression; \
  }
#include "data/golden.inc"
#undef CHANGE
}

TEST(Preprocess, RefusesSenselessSettings) {
  const Image in = test_image(8, 8, 3);
  float out[3 * 8 * 8];
  Preprocessing s;
  s.width = s.height = 8;
  s.std[1] = 0;
  expect_error(ErrorCode::kInvalidArgument, {"std", "positive"}, [&] { preprocess(in, s, out); });
  s.std[1] = 1;
  s.channels = 2;
  expect_error(ErrorCode::kInvalidArgument, {"2 channels"}, [&] { preprocess(in, s, out); });
  s.channels = 3;
  s.width = 0;
  expect_error(ErrorCode::kInvalidArgument, {"0 x 8"}, [&] { preprocess(in, s, out); });
  s.width = 8;
  expect_error(ErrorCode::kInvalidArgument, {"0 x 0"}, [&] { preprocess(Image(), s, out); });
  expect_error(ErrorCode::kInvalidArgument, {"8 x 8 to 0 x 4"},
               [&] { resize(in, 0, 4, Interpolation::kBilinear); });
  expect_error(ErrorCode::kInvalidArgument, {"\"cubic\"", "bicubic"},
               [] { parse_interpolation("cubic"); });
}

TEST(Preprocess, RefusesAnImageThatWouldExplode) {
  // A shorter side of 32768 asks for a longer one of two thousand million pixels.
  Preprocessing s;
  s.resize = 32768;
  std::vector<float> out(3 * 224 * 224);
  expect_error(ErrorCode::kBadData, {"65535 x 1", "too thin"},
               [&] { preprocess(Image(65535, 1, 3), s, out.data()); });
}

TEST(Preprocess, DefaultsFollowTheData) {
  const auto small = make_dataset({test_image(32, 28, 3)}, {0}, {"a", "b"});
  Preprocessing s = default_preprocessing(*small);
  EXPECT_EQ(s.width, 32);
  EXPECT_EQ(s.height, 28);
  EXPECT_EQ(s.resize, 28);  // nothing is to be done for images of their size
  s = default_preprocessing(*small, 128);
  EXPECT_EQ(s.width, 128);
  EXPECT_EQ(s.resize, 146);  // 128 · 256 / 224
  const auto mixed =
      make_dataset({test_image(32, 28, 1), test_image(28, 28, 1)}, {0, 1}, {"a", "b"});
  s = default_preprocessing(*mixed);
  EXPECT_EQ(s.width, 224);
  EXPECT_EQ(s.resize, 256);
  EXPECT_EQ(s.channels, 1);
}

}  // namespace
}  // namespace resnet
