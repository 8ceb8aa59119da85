#include "data/sources.h"
#include "fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace resnet;
  fuzz::expect_no_other_error([&] {
    const Opened opened =
        open_pack(std::make_shared<const ByteSource>(fuzz::bytes_of(data, size), "fuzz"));
    for (const DatasetPtr& part : {opened.train, opened.val, opened.test}) {
      for (std::int64_t i = 0; part && i < part->size() && i < 8; ++i) {
        fuzz::require(part->label(i) >= 0 &&
                      part->label(i) < static_cast<int>(part->class_names().size()));
        part->name(i);
        fuzz::expect_no_other_error([&] { part->image(i); });
        fuzz::expect_no_other_error([&] {
          Image image;
          part->read_part(i,
                          {.pick =
                               [](int width, int height, int) {
                                 return Rect{width / 2, height / 2, 1, 1};
                               }},
                          image);
          fuzz::require(image.width == 1 && image.height == 1);
        });
      }
    }
  });
  return 0;
}
