#include "formats/tensorboard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "formats/support.h"

namespace resnet {
namespace {

using namespace std::string_literals;

/// Bit by bit, unlike the writer's table.
std::uint32_t masked_crc32c(std::string_view data) {
  std::uint32_t crc = 0xffffffffU;
  for (const char c : data) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

/// The payloads of the records, whose lengths and checksums must be right.
std::vector<std::string> records_of(const std::filesystem::path& path) {
  const std::string text = read_text_file(path);
  std::vector<std::string> out;
  std::size_t at = 0;
  while (at < text.size()) {
    std::uint64_t length = 0;
    std::uint32_t crc = 0;
    std::memcpy(&length, text.data() + at, 8);
    std::memcpy(&crc, text.data() + at + 8, 4);
    EXPECT_EQ(crc, masked_crc32c(text.substr(at, 8)));
    out.push_back(text.substr(at + 12, length));
    std::memcpy(&crc, text.data() + at + 12 + length, 4);
    EXPECT_EQ(crc, masked_crc32c(out.back()));
    at += 16 + length;
  }
  EXPECT_EQ(at, text.size());
  return out;
}

TEST(TensorBoard, TheChecksumIsCastagnolis) {
  // The check value of CRC-32C for "123456789" is 0xe3069283; masked here.
  EXPECT_EQ(masked_crc32c("123456789"), ((0xe3069283U >> 15) | (0xe3069283U << 17)) + 0xa282ead8U);
}

TEST(TensorBoard, RecordsHaveTheFormatsFields) {
  const TemporaryFolder folder;
  EventsWriter writer(folder.path() / "logs");
  EXPECT_EQ(writer.path().filename().string().find("events.out.tfevents."), 0U);
  EXPECT_EQ(records_of(writer.path()).size(), 1U);  // there before the first scalar
  writer.scalar("loss", 300, 0.5);
  writer.scalar("zero", 0, 0);
  EXPECT_EQ(records_of(writer.path()).size(), 1U);
  writer.flush();
  const auto records = records_of(writer.path());
  ASSERT_EQ(records.size(), 3U);
  // Field 1, a double: the time; field 3: the version.
  EXPECT_EQ(records[0][0], '\x09');
  EXPECT_EQ(records[0].substr(9),
            "\x1a\x0d"
            "brain.Event:2");
  // Field 2, the step 300; field 5, the summary, of field 1: {1: "loss", 2: 0.5f}.
  const std::string expected = "\x10\xac\x02\x2a\x0d\x0a\x0b\x0a\x04loss\x15\0\0\0\x3f"s;
  EXPECT_EQ(records[1].substr(9), expected);
  // A zero is a value, not an absence.
  EXPECT_EQ(records[2].substr(9), "\x2a\x0d\x0a\x0b\x0a\x04zero\x15\0\0\0\0"s);
}

TEST(TensorBoard, WritesEverythingWhenItGoes) {
  const TemporaryFolder folder;
  std::filesystem::path path;
  {
    EventsWriter writer(folder.path());
    path = writer.path();
    for (int i = 0; i < 5000; ++i) writer.scalar("train/accuracy", i, std::nan(""));
    EXPECT_GT(records_of(path).size(), 1000U);  // the buffer is bounded
    EventsWriter moved = std::move(writer);
    moved.scalar("last", 1, 2);
  }
  EXPECT_EQ(records_of(path).size(), 5002U);
}

TEST(TensorBoard, TwoWritersDoNotMeet) {
  const TemporaryFolder folder;
  const EventsWriter a(folder.path());
  const EventsWriter b(folder.path());
  EXPECT_NE(a.path(), b.path());
}

TEST(TensorBoard, SaysWhereItCannotWrite) {
  const TemporaryFolder folder;
  const auto file = folder.write("file", bytes_of("x"));
  expect_error(ErrorCode::kIo, {"file/events.out", "cannot create"}, [&] { EventsWriter w(file); });
}

}  // namespace
}  // namespace resnet
