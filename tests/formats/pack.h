// Archives and gzip files made in memory for the tests.
#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "formats/bytes.h"

namespace resnet {

enum class Packing { kTar, kTarGz, kTarGnu, kTarUstar, kTarPax, kZip };

struct PackedFile {
  std::string name;
  ByteVector bytes;
  int type = AE_IFREG;
};

inline ByteVector pack(Packing packing, const std::vector<PackedFile>& files) {
  archive* a = archive_write_new();
  if (packing == Packing::kZip) {
    archive_write_set_format_zip(a);
  } else if (packing == Packing::kTarGnu) {
    archive_write_set_format_gnutar(a);
  } else if (packing == Packing::kTarUstar) {
    archive_write_set_format_ustar(a);
  } else if (packing == Packing::kTarPax) {
    archive_write_set_format_pax(a);
  } else {
    archive_write_set_format_pax_restricted(a);
    if (packing == Packing::kTarGz) archive_write_add_filter_gzip(a);
  }
  ByteVector out;
  const auto write = [](archive*, void* to, const void* data, std::size_t size) {
    const auto* p = static_cast<const std::byte*>(data);
    static_cast<ByteVector*>(to)->insert(static_cast<ByteVector*>(to)->end(), p, p + size);
    return static_cast<la_ssize_t>(size);
  };
  archive_write_set_bytes_in_last_block(a, 1);
  archive_write_open(a, &out, nullptr, write, nullptr);
  for (const PackedFile& file : files) {
    archive_entry* entry = archive_entry_new();
    archive_entry_set_pathname(entry, file.name.c_str());
    archive_entry_set_size(entry, static_cast<la_int64_t>(file.bytes.size()));
    archive_entry_set_filetype(entry, static_cast<unsigned>(file.type));
    archive_entry_set_perm(entry, 0644);
    if (file.type == AE_IFLNK) archive_entry_set_symlink(entry, "/etc/passwd");
    if (archive_write_header(a, entry) < ARCHIVE_WARN) throw std::runtime_error("pack");
    archive_write_data(a, file.bytes.data(), file.bytes.size());
    archive_entry_free(entry);
  }
  archive_write_close(a);
  archive_write_free(a);
  return out;
}

inline ByteVector gzip(const ByteVector& bytes) {
  z_stream stream{};
  constexpr int kGzip = 16 + MAX_WBITS;
  if (deflateInit2(&stream, 9, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::runtime_error("gzip");
  }
  ByteVector out(deflateBound(&stream, bytes.size()));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("gzip");
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

}  // namespace resnet
