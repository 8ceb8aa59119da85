#include "formats/hdf5.h"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <fstream>

#include "formats/support.h"

namespace resnet {
namespace {

enum class Kind { kPlain, kChunked, kGzip, kExternal, kVirtual, kSzip, kEmpty };

/// x [6, 4, 4] u8, whose elements count up, and y [6].
std::filesystem::path write_file(const TemporaryFolder& folder, Kind kind) {
  const auto path = folder.path() / "x.h5";
  const hid_t file = H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t dims[] = {6, 4, 4};
  const hid_t space = H5Screate_simple(3, dims, nullptr);
  const hid_t plist = H5Pcreate(H5P_DATASET_CREATE);
  const hsize_t chunk[] = {4, 2, 2};
  if (kind == Kind::kChunked || kind == Kind::kGzip) H5Pset_chunk(plist, 3, chunk);
  if (kind == Kind::kGzip) H5Pset_deflate(plist, 6);
  if (kind == Kind::kExternal) {
    H5Pset_external(plist, (folder.path() / "other").c_str(), 0, H5F_UNLIMITED);
  }
  if (kind == Kind::kVirtual) H5Pset_virtual(plist, space, "other.h5", "x", space);
  std::vector<std::uint8_t> values(96);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::uint8_t>(i);
  const hid_t x = H5Dcreate2(file, "x", H5T_STD_U8LE, space, H5P_DEFAULT, plist, H5P_DEFAULT);
  if (kind != Kind::kVirtual && kind != Kind::kEmpty) {
    H5Dwrite(x, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
  }
  const hid_t labels_space = H5Screate_simple(1, dims, nullptr);
  const hid_t y =
      H5Dcreate2(file, "y", H5T_STD_I16BE, labels_space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  const std::int16_t labels[] = {0, 1, 2, 0, 1, -300};
  H5Dwrite(y, H5T_NATIVE_INT16, H5S_ALL, H5S_ALL, H5P_DEFAULT, labels);
  const hid_t f =
      H5Dcreate2(file, "f", H5T_IEEE_F32LE, labels_space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  const float floats[6] = {};
  H5Dwrite(f, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, floats);
  H5Lcreate_external("other.h5", "/x", file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/x", file, "soft", H5P_DEFAULT, H5P_DEFAULT);
  H5Gclose(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  for (const hid_t d : {x, y, f}) H5Dclose(d);
  H5Sclose(space);
  H5Sclose(labels_space);
  H5Pclose(plist);
  H5Fclose(file);
  return path;
}

TEST(Hdf5, ReadsRowsAndIntegers) {
  const TemporaryFolder folder;
  for (const Kind kind : {Kind::kPlain, Kind::kChunked, Kind::kGzip}) {
    const Hdf5File file(write_file(folder, kind));
    const Hdf5Rows rows(file, "x");
    EXPECT_EQ(rows.shape(), (Shape{6, 4, 4}));
    EXPECT_EQ(rows.rows_together(), kind == Kind::kPlain ? 1 : 4);
    std::vector<std::byte> out(32);
    rows.read(3, 2, out);
    for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(out[i], std::byte(48 + i));
    const Tensor y = file.read_integers("y", 6);
    EXPECT_EQ(y.shape(), (Shape{6}));
    EXPECT_EQ(y.as<std::int64_t>()[5], -300);
  }
}

TEST(Hdf5, OnlyDataSetsOfTheFileItself) {
  const TemporaryFolder folder;
  const Hdf5File file(write_file(folder, Kind::kPlain));
  EXPECT_TRUE(file.has("x"));
  for (const char* name : {"elsewhere", "soft", "group", "none", "group/none", ""}) {
    EXPECT_FALSE(file.has(name)) << name;
  }
  for (const char* name : {"elsewhere", "soft"}) {
    expect_error(ErrorCode::kBadData, {"x.h5", name, "in the file itself"},
                 [&] { Hdf5Rows(file, name); });
  }
}

TEST(Hdf5, RefusesContentsElsewhereOrNowhere) {
  for (const Kind kind : {Kind::kExternal, Kind::kVirtual}) {
    const TemporaryFolder folder;
    const Hdf5File file(write_file(folder, kind));
    expect_error(ErrorCode::kBadData, {"x.h5/x", "other files"}, [&] { Hdf5Rows(file, "x"); });
  }
  const TemporaryFolder folder;
  const Hdf5File file(write_file(folder, Kind::kEmpty));  // declared and never written
  expect_error(ErrorCode::kBadData, {"x.h5/x", "[6, 4, 4]", "stores 0 bytes"},
               [&] { Hdf5Rows(file, "x"); });
}

TEST(Hdf5, RefusesOtherKinds) {
  const TemporaryFolder folder;
  const auto path = write_file(folder, Kind::kPlain);
  {
    const Hdf5File file(path);
    expect_error(ErrorCode::kUnsupported, {"x.h5/f", "whole numbers"},
                 [&] { file.read_integers("f", 6); });
    expect_error(ErrorCode::kBadData, {"x.h5/y", "at most 5"}, [&] { file.read_integers("y", 5); });
    expect_error(ErrorCode::kUnsupported, {"x.h5/y", "u8"}, [&] { Hdf5Rows(file, "y"); });
  }
  expect_error(ErrorCode::kNotFound, {"none.h5"}, [&] { Hdf5File(folder.path() / "none.h5"); });
  const auto text = folder.write("text.h5", bytes_of("hello, this is text"));
  expect_error(ErrorCode::kBadData, {"text.h5", "expected an HDF5 file"}, [&] { Hdf5File{text}; });
  // Cut anywhere, it is refused or reads what is whole; it never crashes.
  const ByteVector whole = read_file(path);
  for (std::size_t length = 0; length < whole.size(); length += 61) {
    const auto cut = folder.write(
        "cut.h5", ByteVector(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
    EXPECT_THROW(
        {
          const Hdf5File file(cut);
          const Hdf5Rows rows(file, "x");
          std::vector<std::byte> out(96);
          rows.read(0, 6, out);
        },
        Error)
        << length;
  }
}

// libhdf5 takes memory for a piece of a header before it looks whether the file has that much.
TEST(Hdf5, RefusesHeadersBeyondTheFile) {
  const auto bytes = [](std::initializer_list<std::uint64_t> eights) {
    std::string s;
    for (const std::uint64_t n : eights) {
      for (int i = 0; i < 64; i += 8) s += static_cast<char>(n >> i);
    }
    return s;
  };
  const std::uint64_t undefined = ~std::uint64_t{0};
  std::string superblock = std::string("\x89HDF\r\n\x1a\n", 8) +
                           std::string("\0\0\0\0\0\x08\x08\0\x04\0\x10\0\0\0\0\0", 16) +
                           bytes({0, undefined, 2048, undefined, 0, 96, 0, 0, 0});
  ASSERT_EQ(superblock.size(), 96U);
  const auto error = [&](const std::string& header) {
    std::string file = superblock + header;
    file.resize(2048);
    const TemporaryFolder folder;
    const auto path = folder.path() / "x.h5";
    std::ofstream(path, std::ios::binary) << file;
    try {
      const Hdf5File h5(path);
      return std::string();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kBadData);
      return std::string(e.what());
    }
  };
  const std::uint64_t one_message = 0x0000000100010001, gib4 = 0x100080005;
  EXPECT_NE(error(bytes({one_message, 0xf0000000})).find("an object header declares"),
            std::string::npos);
  EXPECT_NE(error(bytes({one_message, 24, 0x0000000000100010, 512, gib4}))
                .find("the continuation of an object header declares 4295491589 bytes"),
            std::string::npos);
  // A piece that continues in itself: the chain must end, and not in the stack.
  error(bytes({one_message, 24, 0x0000000000100010, 112, 24}));
  superblock.replace(48, 8, bytes({512}));
  EXPECT_NE(error(std::string(416, '\0') + bytes({0xf000000000000000, 0}))
                .find("a driver's block declares 4026531856 bytes"),
            std::string::npos);
  superblock.replace(48, 8, bytes({undefined}));
  // A group whose heap of names, at 160, has 4 GiB at 256.
  std::string group = bytes({one_message, 24, 0x0000000000100011, undefined, 160});
  group.resize(64);
  EXPECT_NE(error(group + std::string("HEAP\0\0\0\0", 8) + bytes({gib4, 0, 256}))
                .find("a heap of names declares 4295491589 bytes"),
            std::string::npos);
}

}  // namespace
}  // namespace resnet
