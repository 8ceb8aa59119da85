#include "formats/kernel_table.h"

#include <gtest/gtest.h>

#include "resnet/error.h"

namespace resnet::test {
namespace {

TEST(KernelTable, ComesBackAsItWasWritten) {
  const KernelTable table{{"conv2d x [1, 16, 8, 8]", "winograd-4"}, {"conv2d y", "blocked"}};
  const std::string text = format_kernel_table(table);
  EXPECT_EQ(text, "resnet kernels 1\nconv2d x [1, 16, 8, 8]\twinograd-4\nconv2d y\tblocked\n");
  EXPECT_EQ(parse_kernel_table(text, "t"), table);
  EXPECT_TRUE(parse_kernel_table(format_kernel_table({}), "t").empty());
}

TEST(KernelTable, RefusesWhatItDidNotWrite) {
  for (const char* text :
       {"", "\n", "resnet kernels 2\n", "resnet kernels 1\nkey\n", "resnet kernels 1\nkey\t\n",
        "resnet kernels 1\n\tkernel\n", "resnet kernels 1\nkey\tone\ttwo\n", "resnet kernels 1\n\n",
        "resnet kernels 1\na\tb\na\tc\n", "resnet kernels 1\nk\xff\tb\n"}) {
    SCOPED_TRACE(text);
    try {
      parse_kernel_table(text, "t");
      FAIL() << "was taken";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kBadData);
    }
  }
  const std::string long_key = "resnet kernels 1\n" + std::string(5000, 'k') + "\tb\n";
  EXPECT_THROW(parse_kernel_table(long_key, "t"), Error);
}

}  // namespace
}  // namespace resnet::test
