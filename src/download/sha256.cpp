#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "core/check.h"
#include "core/guard.h"
#include "resnet/download.h"

namespace resnet {

std::string sha256_of(const std::filesystem::path& path, const std::atomic<bool>* stop) try {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot read {}: {}",
         path.string(), std::strerror(errno));
  }
  const std::unique_ptr<const int, void (*)(const int*)> close(&file,
                                                               [](const int* f) { ::close(*f); });
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(),
                                                                     EVP_MD_CTX_free);
  if (hash == nullptr) throw std::bad_alloc();
  RESNET_CHECK(EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) == 1);
  std::vector<unsigned char> piece(1 << 18);
  while (true) {
    if (stop != nullptr && *stop) fail(ErrorCode::kInterrupted, "stopped");
    const ssize_t n = ::read(file, piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(ErrorCode::kIo, "cannot read {}: {}", path.string(), std::strerror(errno));
    if (n == 0) break;
    RESNET_CHECK(EVP_DigestUpdate(hash.get(), piece.data(), static_cast<std::size_t>(n)) == 1);
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  RESNET_CHECK(EVP_DigestFinal_ex(hash.get(), digest.data(), &size) == 1 && size == 32);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
} catch (...) {
  throw_as_error();
}

}  // namespace resnet
