#include "formats/npz.h"

#include <gtest/gtest.h>

#include "formats/npy.h"
#include "formats/pack.h"
#include "formats/support.h"

namespace resnet {
namespace {

TEST(Npz, TakesWhatIsWanted) {
  const TemporaryFolder folder;
  write_npy(folder.path() / "a.npy", Tensor::full({2}, 3));
  const ByteVector npy = read_file(folder.path() / "a.npy");
  const auto path = folder.write(
      "x.npz", pack(Packing::kZip, {{"a.npy", npy}, {"b.npy", bytes_of("no array")}, {"c", npy}}));
  const auto arrays = read_npz(path, [](const std::string& name) { return name != "b"; });
  ASSERT_EQ(arrays.size(), 1U);
  EXPECT_EQ(arrays.at("a").as<float>()[1], 3.0F);
  expect_error(ErrorCode::kBadData, {"x.npz/b.npy", "expected a NumPy array"},
               [&] { read_npz(path, [](const std::string&) { return true; }); });
  const auto twice = folder.write("y.npz", pack(Packing::kZip, {{"a.npy", npy}, {"a.npy", npy}}));
  expect_error(ErrorCode::kBadData, {"y.npz/a.npy", "two arrays"},
               [&] { read_npz(twice, [](const std::string&) { return true; }); });
}

TEST(Npz, BombsAreRefused) {
  const TemporaryFolder folder;
  const auto path =
      folder.write("x.npz", pack(Packing::kZip, {{"a.npy", ByteVector(std::size_t{300} << 20)}}));
  ASSERT_LT(std::filesystem::file_size(path), std::uint64_t{1} << 20);
  expect_error(ErrorCode::kBadData, {"x.npz", "unpacks to more than the limit"},
               [&] { read_npz(path, [](const std::string&) { return true; }); });
  EXPECT_TRUE(read_npz(path, [](const std::string&) { return false; }).empty());
  expect_error(ErrorCode::kNotFound, {"none.npz"}, [&] {
    read_npz(folder.path() / "none.npz", [](const std::string&) { return true; });
  });
}

}  // namespace
}  // namespace resnet
