// Sizes that HDF5's object headers declare, before libhdf5 takes memory for them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>

namespace resnet {

/// Reads the headers of objects as the file format specification 3.0 lays them out and compares
/// what they declare with the file: their pieces, the heap of names of a group, a driver's block.
/// What it does not understand it leaves to the library.
class Hdf5Headers {
 public:
  /// `bytes`: of the file.
  Hdf5Headers(const std::filesystem::path& path, std::uint64_t bytes);
  /// The headers of the root and of the superblock's extension. Throws `kBadData`.
  void check_root();
  /// The header at an address of the file. Throws `kBadData`.
  void check_object(std::uint64_t address);

 private:
  std::uint64_t number(std::uint64_t at, int bytes);
  std::uint64_t address(std::uint64_t at) { return number(at, offset_bytes_); }
  bool is(std::uint64_t at, const char* signature);
  void expect_inside(std::uint64_t at, std::uint64_t size, const char* what) const;
  struct Piece {
    std::uint64_t at, size;
  };
  void check_messages(Piece first, bool second_version, bool ordered);
  void check_heap(std::uint64_t at);

  std::string name_;
  std::ifstream file_;
  std::uint64_t bytes_;
  int offset_bytes_ = 8, length_bytes_ = 8;
};

}  // namespace resnet
