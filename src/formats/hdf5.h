// Arrays in HDF5 files (https://www.hdfgroup.org), by libhdf5. The library reads one thing at a
// time whatever the threads, so these functions take turns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "resnet/tensor.h"

namespace resnet {

class Hdf5Headers;

/// A file open for reading. Nothing outside it is ever read: external links and storage, virtual
/// data sets and filters loaded from plugins are refused.
class Hdf5File {
 public:
  /// Throws `kNotFound` or `kBadData`.
  explicit Hdf5File(const std::filesystem::path& path);
  ~Hdf5File();
  Hdf5File(const Hdf5File&) = delete;
  Hdf5File& operator=(const Hdf5File&) = delete;

  /// Whether the root holds a data set of that name itself (no link to elsewhere).
  bool has(const std::string& name) const;
  /// All of a small data set of whole numbers, as i64. Throws `kBadData`, `kUnsupported`.
  Tensor read_integers(const std::string& name, std::int64_t max_elements) const;

  const std::string& name() const { return name_; }

 private:
  friend class Hdf5Rows;
  std::string name_;
  std::int64_t id_ = -1;
  std::uint64_t bytes_ = 0;
  std::unique_ptr<Hdf5Headers> headers_;  // used with the library locked
};

/// A data set of bytes, read by rows: [n, …] u8. The declared shape is compared with what the file
/// stores before anything is allocated.
class Hdf5Rows {
 public:
  /// Throws `kBadData`, or `kUnsupported` when the elements are no u8 or the compression is not
  /// deflate. The file must outlive this.
  Hdf5Rows(const Hdf5File& file, const std::string& name);
  ~Hdf5Rows();
  Hdf5Rows(const Hdf5Rows&) = delete;
  Hdf5Rows& operator=(const Hdf5Rows&) = delete;

  const Shape& shape() const { return shape_; }
  /// Rows that are stored, and must be unpacked, together; 1 where rows lie one by one.
  std::int64_t rows_together() const { return rows_together_; }
  /// Rows first … first + count − 1 into `out`, which has that size. Throws `kBadData`.
  void read(std::int64_t first, std::int64_t count, std::span<std::byte> out) const;

 private:
  std::string name_;
  std::int64_t id_ = -1;
  Shape shape_;
  std::int64_t rows_together_ = 1;
};

/// By the first bytes.
bool is_hdf5_file(const std::filesystem::path& path);

}  // namespace resnet
