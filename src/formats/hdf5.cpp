// libhdf5 is written for files that one trusts. What keeps hostile ones in bounds here: only data
// sets of the root that are no links, no storage outside the file, no plugins, every size checked
// against the file before use, and one lock, since Debian's library is not thread-safe. Damage that
// the library itself does not survive is not excluded (docs/FORMATS.md says so).
#include "formats/hdf5.h"

#include <hdf5.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

#include "core/check.h"
#include "formats/hdf5_headers.h"

namespace resnet {
namespace {

std::mutex& library() {
  static std::mutex mutex;
  return mutex;
}

/// Locked, and set up as we want it: silent, and without plugins.
std::unique_lock<std::mutex> enter_library() {
  std::unique_lock lock(library());
  static const bool once = [] {
    H5open();
    H5PLset_loading_state(0);
    return true;
  }();
  static_cast<void>(once);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // a setting of each thread where threads are known
  return lock;
}

/// An identifier of the library and what closes it.
class Handle {
 public:
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() {
    if (id_ >= 0) close_(id_);
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  hid_t get() const { return id_; }
  hid_t release() { return std::exchange(id_, -1); }
  bool bad() const { return id_ < 0; }

 private:
  hid_t id_;
  herr_t (*close_)(hid_t);
};

constexpr std::uint64_t kMaxRatio = 1100;  // deflate makes at most 1032 bytes of one
constexpr std::uint64_t kMaxChunk = std::uint64_t{1} << 31;

[[noreturn]] void damaged(const std::string& where, std::string_view what) {
  fail(ErrorCode::kBadData, "{}: {}; fetch or write the HDF5 file again", where, what);
}

struct Opened {
  hid_t id;
  Shape shape;
  std::int64_t rows_together;
};

/// Whether the root holds an object of that name itself, whose header is then checked.
bool find_object(hid_t file, Hdf5Headers& headers, const std::string& name) {
  H5L_info_t link;
  if (H5Lexists(file, name.c_str(), H5P_DEFAULT) <= 0 ||
      H5Lget_info(file, name.c_str(), &link, H5P_DEFAULT) < 0 || link.type != H5L_TYPE_HARD) {
    return false;
  }
  headers.check_object(link.u.address);
  return true;
}

/// Opens a data set of the root and checks all that it declares. Called with the library locked.
Opened open_dataset(hid_t file, Hdf5Headers& headers, std::uint64_t file_bytes,
                    const std::string& name, const std::string& where) {
  if (!find_object(file, headers, name)) {
    damaged(where, "there is no data set of that name in the file itself");
  }
  Handle dataset(H5Dopen2(file, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (dataset.bad()) damaged(where, "it cannot be opened as a data set");
  const Handle space(H5Dget_space(dataset.get()), H5Sclose);
  const Handle type(H5Dget_type(dataset.get()), H5Tclose);
  const Handle plist(H5Dget_create_plist(dataset.get()), H5Pclose);
  if (space.bad() || type.bad() || plist.bad()) damaged(where, "its description is damaged");

  Opened out{-1, {}, 1};
  const int rank = H5Sget_simple_extent_ndims(space.get());
  if (rank < 1 || rank > 8) damaged(where, fmt::format("{} dimensions; expected 1 to 8", rank));
  std::array<hsize_t, H5S_MAX_RANK> dims{};
  H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr);
  const std::uint64_t element = H5Tget_size(type.get());
  std::uint64_t bytes = element;
  bool fits = element >= 1 && element <= 8;
  for (int d = 0; d < rank; ++d) {
    const std::uint64_t n = dims[static_cast<std::size_t>(d)];
    fits = fits && n > 0 && bytes <= static_cast<std::uint64_t>(INT64_MAX) / n;
    if (!fits) break;
    bytes *= n;
    out.shape.push_back(static_cast<std::int64_t>(n));
  }
  if (!fits) damaged(where, "an empty or impossible shape");

  if (H5Pget_external_count(plist.get()) != 0) damaged(where, "its contents lie in other files");
  const H5D_layout_t layout = H5Pget_layout(plist.get());
  if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT) {
    damaged(where, "its contents lie in other files, or nowhere");
  }
  bool packed = false;
  const int filters = H5Pget_nfilters(plist.get());
  for (int f = 0; f < filters; ++f) {
    unsigned flags = 0;
    std::size_t values = 0;
    std::array<char, 64> title{};
    const H5Z_filter_t filter =
        H5Pget_filter2(plist.get(), static_cast<unsigned>(f), &flags, &values, nullptr,
                       title.size(), title.data(), nullptr);
    packed = packed || filter == H5Z_FILTER_DEFLATE;
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32) {
      title.back() = '\0';
      std::string shown(title.data());
      std::replace_if(
          shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
      fail(ErrorCode::kUnsupported,
           "{}: compressed by filter {} ({}); write it again with gzip or without compression",
           where, filter, shown.empty() ? "no name" : shown);
    }
  }
  const std::uint64_t stored = H5Dget_storage_size(dataset.get());
  if (stored > file_bytes || bytes / (packed ? kMaxRatio : 1) > stored) {
    damaged(where,
            fmt::format("it declares {} of {}-byte elements and stores {} bytes in a file of "
                        "{}",
                        to_string(out.shape), element, stored, file_bytes));
  }
  if (layout == H5D_CHUNKED) {
    std::array<hsize_t, H5S_MAX_RANK> chunk{};
    if (H5Pget_chunk(plist.get(), rank, chunk.data()) != rank) damaged(where, "damaged chunks");
    std::uint64_t chunk_bytes = element;
    for (int d = 0; d < rank; ++d) {
      const std::uint64_t n = chunk[static_cast<std::size_t>(d)];
      if (n == 0 || n > kMaxChunk / chunk_bytes) damaged(where, "a chunk of more than 2 GiB");
      chunk_bytes *= n;
    }
    if (chunk_bytes / (packed ? kMaxRatio : 1) > file_bytes) {
      damaged(where, fmt::format("chunks of {} bytes in a file of {}", chunk_bytes, file_bytes));
    }
    out.rows_together = std::min<std::int64_t>(static_cast<std::int64_t>(chunk[0]), out.shape[0]);
  }
  out.id = dataset.release();
  return out;
}

}  // namespace

Hdf5File::Hdf5File(const std::filesystem::path& path) : name_(path.string()) {
  std::error_code missing;
  bytes_ = std::filesystem::file_size(path, missing);
  if (missing) fail(ErrorCode::kNotFound, "{}: no such file", name_);
  if (!is_hdf5_file(path)) {
    fail(ErrorCode::kBadData, "{}: expected an HDF5 file, found something else", name_);
  }
  headers_ = std::make_unique<Hdf5Headers>(path, bytes_);
  headers_->check_root();
  const auto lock = enter_library();
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_fapl_sec2(access.get());
  H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
  id_ = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get());
  if (id_ < 0) damaged(name_, "it cannot be opened");
}

Hdf5File::~Hdf5File() {
  const auto lock = enter_library();
  H5Fclose(id_);
}

bool Hdf5File::has(const std::string& name) const {
  const auto lock = enter_library();
  if (!find_object(id_, *headers_, name)) return false;
  const Handle object(H5Oopen(id_, name.c_str(), H5P_DEFAULT), H5Oclose);
  return !object.bad() && H5Iget_type(object.get()) == H5I_DATASET;
}

Tensor Hdf5File::read_integers(const std::string& name, std::int64_t max_elements) const {
  const std::string where = name_ + "/" + name;
  const auto lock = enter_library();
  const Opened opened = open_dataset(id_, *headers_, bytes_, name, where);
  const Handle dataset(opened.id, H5Dclose);
  const Handle type(H5Dget_type(dataset.get()), H5Tclose);
  if (H5Tget_class(type.get()) != H5T_INTEGER) {
    fail(ErrorCode::kUnsupported, "{}: expected whole numbers, found another kind of element",
         where);
  }
  if (element_count(opened.shape) > max_elements) {
    damaged(where, fmt::format("it has the shape {}; expected at most {} elements",
                               to_string(opened.shape), max_elements));
  }
  Tensor out(DType::kI64, opened.shape);
  if (H5Dread(dataset.get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, out.raw()) < 0) {
    damaged(where, "its contents are damaged");
  }
  return out;
}

Hdf5Rows::Hdf5Rows(const Hdf5File& file, const std::string& name)
    : name_(file.name() + "/" + name) {
  const auto lock = enter_library();
  Opened opened = open_dataset(file.id_, *file.headers_, file.bytes_, name, name_);
  Handle dataset(opened.id, H5Dclose);
  const Handle type(H5Dget_type(dataset.get()), H5Tclose);
  if (H5Tget_class(type.get()) != H5T_INTEGER || H5Tget_size(type.get()) != 1 ||
      H5Tget_sign(type.get()) != H5T_SGN_NONE) {
    fail(ErrorCode::kUnsupported,
         "{}: expected images of unsigned bytes (u8), found another kind of element; write them "
         "again as uint8",
         name_);
  }
  shape_ = std::move(opened.shape);
  rows_together_ = opened.rows_together;
  id_ = dataset.release();
}

Hdf5Rows::~Hdf5Rows() {
  const auto lock = enter_library();
  H5Dclose(id_);
}

void Hdf5Rows::read(std::int64_t first, std::int64_t count, std::span<std::byte> out) const {
  Shape part = shape_;
  part[0] = count;
  RESNET_CHECK(first >= 0 && count >= 1 && first <= shape_[0] - count &&
               static_cast<std::int64_t>(out.size()) == element_count(part));
  const auto lock = enter_library();
  const Handle space(H5Dget_space(id_), H5Sclose);
  std::vector<hsize_t> start(part.size(), 0);
  const std::vector<hsize_t> size(part.begin(), part.end());
  start[0] = static_cast<hsize_t>(first);
  const Handle memory(H5Screate_simple(static_cast<int>(size.size()), size.data(), nullptr),
                      H5Sclose);
  if (space.bad() || memory.bad() ||
      H5Sselect_hyperslab(space.get(), H5S_SELECT_SET, start.data(), nullptr, size.data(),
                          nullptr) < 0 ||
      H5Dread(id_, H5T_NATIVE_UINT8, memory.get(), space.get(), H5P_DEFAULT, out.data()) < 0) {
    damaged(name_, fmt::format("rows {} to {} are damaged", first, first + count - 1));
  }
}

}  // namespace resnet
