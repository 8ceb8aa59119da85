#include "formats/tensorboard.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>

#include "core/check.h"
#include "core/os_error.h"
#include "events.pb.h"

namespace resnet {
namespace {

/// CRC-32C (Castagnoli), reflected, one byte at a time: event files are small.
std::uint32_t crc32c(std::string_view data) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int bit = 0; bit < 8; ++bit) t[i] = (t[i] >> 1) ^ ((t[i] & 1U) != 0 ? 0x82f63b78U : 0U);
    }
    return t;
  }();
  std::uint32_t crc = 0xffffffffU;
  for (const char c : data) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xffU] ^ (crc >> 8);
  return ~crc;
}

std::uint32_t masked_crc(std::string_view data) {
  const std::uint32_t crc = crc32c(data);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

template <class T>
void append_little_endian(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof value; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

double seconds_since_epoch() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::filesystem::path fresh_name(double now) {
  static std::atomic<int> count{0};
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host = {'h', 'o', 's', 't'};
  return fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<std::int64_t>(now),
                     host.data(), ::getpid(), count++);
}

}  // namespace

struct EventsWriter::File {
  std::filesystem::path path;
  int descriptor = -1;
  std::string buffer;

  void append(const events::Event& event) {
    const std::string data = event.SerializeAsString();
    std::string length;
    append_little_endian(length, std::uint64_t{data.size()});
    buffer += length;
    append_little_endian(buffer, masked_crc(length));
    buffer += data;
    append_little_endian(buffer, masked_crc(data));
    constexpr std::size_t kBufferBytes = 1 << 16;
    if (buffer.size() >= kBufferBytes) flush();
  }

  void flush() {
    std::size_t written = 0;
    while (written < buffer.size()) {
      const ssize_t n = ::write(descriptor, buffer.data() + written, buffer.size() - written);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const int error = errno;
        buffer.erase(0, written);
        fail_os("write TensorBoard's events,", path, error);
      }
      written += static_cast<std::size_t>(n);
    }
    buffer.clear();
  }

  ~File() {
    if (descriptor < 0) return;
    try {
      flush();
    } catch (...) {  // a destructor has nobody to tell
    }
    ::close(descriptor);
  }
};

EventsWriter::EventsWriter(const std::filesystem::path& folder) : file_(std::make_unique<File>()) {
  const double now = seconds_since_epoch();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  file_->path = folder / fresh_name(now);
  file_->descriptor = ::open(file_->path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (file_->descriptor < 0) {
    fail_os("create for TensorBoard", file_->path, errno);
  }
  events::Event event;
  event.set_wall_time(now);
  event.set_file_version("brain.Event:2");
  file_->append(event);
  file_->flush();
}

EventsWriter::~EventsWriter() = default;
EventsWriter::EventsWriter(EventsWriter&&) noexcept = default;
EventsWriter& EventsWriter::operator=(EventsWriter&&) noexcept = default;

void EventsWriter::scalar(std::string_view tag, std::int64_t step, double value) {
  events::Event event;
  event.set_wall_time(seconds_since_epoch());
  event.set_step(step);
  events::Summary::Value* point = event.mutable_summary()->add_value();
  point->set_tag(std::string(tag));
  point->set_simple_value(static_cast<float>(value));
  file_->append(event);
}

void EventsWriter::flush() { file_->flush(); }

const std::filesystem::path& EventsWriter::path() const { return file_->path; }

}  // namespace resnet
