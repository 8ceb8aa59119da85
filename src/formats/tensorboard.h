// TensorBoard event files: what `tensorboard --logdir` shows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

namespace resnet {

/// Appends scalars to a new `events.out.tfevents.<time>.<host>.<pid>.<n>` in a folder. TensorBoard
/// joins all such files of a folder, so a resumed run opens another one. Not thread-safe.
class EventsWriter {
 public:
  /// Creates the folder if need be, and the file with its version record. Throws `kIo`.
  explicit EventsWriter(const std::filesystem::path& folder);
  ~EventsWriter();  ///< Flushes; errors are lost, so call `flush` first where they matter.
  EventsWriter(EventsWriter&&) noexcept;
  EventsWriter& operator=(EventsWriter&&) noexcept;

  /// One point of the curve `tag` ("train/loss"). Buffered. Throws `kIo`.
  void scalar(std::string_view tag, std::int64_t step, double value);
  /// Hands everything to the operating system. Throws `kIo`.
  void flush();

  const std::filesystem::path& path() const;

 private:
  struct File;
  std::unique_ptr<File> file_;
};

}  // namespace resnet
