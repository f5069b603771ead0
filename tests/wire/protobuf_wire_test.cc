#include "wire/protobuf_wire.h"

#include <limits>

#include <gtest/gtest.h>

namespace phiquant {
namespace {

TEST(ProtobufWire, VarintsRoundTrip) {
  for (const uint64_t v :
       {uint64_t{0}, uint64_t{1}, uint64_t{127}, uint64_t{128}, uint64_t{16383}, uint64_t{16384},
        uint64_t{1} << 35, std::numeric_limits<uint64_t>::max()}) {
    std::string text;
    append_varint(text, v);
    EXPECT_EQ(text.size(), varint_size(v));
    const Bytes bytes = std::as_bytes(std::span(text));
    for (size_t n = 0; n <= bytes.size(); ++n) {
      const std::byte* at = bytes.data();
      uint64_t read = 0;
      ASSERT_EQ(read_varint(at, bytes.data() + n, read), n == bytes.size()) << v;
      if (n == bytes.size()) {
        EXPECT_EQ(read, v);
      }
    }
  }
}

TEST(ProtobufWire, VarintOfElevenBytesIsNone) {
  const std::string text(11, '\x80');
  const Bytes bytes = std::as_bytes(std::span(text));
  const std::byte* at = bytes.data();
  uint64_t v = 0;
  EXPECT_FALSE(read_varint(at, bytes.data() + bytes.size(), v));
}

TEST(ProtobufWire, FieldsAndTheirRanges) {
  const std::string text(
      "\x08\x96\x01\x12\x03"
      "abc\x1d"
      "1234\x21"
      "12345678\x2b\x08\x01\x2c\x30\x00",
      28);
  WireReader reader(std::as_bytes(std::span(text)));
  WireField f;
  struct {
    uint32_t number;
    Wire type;
    size_t whole, content;
  } const want[] = {{1, Wire::varint, 3, 2},  {2, Wire::length, 5, 3}, {3, Wire::fixed32, 5, 4},
                    {4, Wire::fixed64, 9, 8}, {5, Wire::group, 4, 0},  {6, Wire::varint, 2, 1}};
  size_t at = 0;
  for (const auto& w : want) {
    ASSERT_TRUE(reader.next(f)) << reader.problem();
    EXPECT_EQ(f.number, w.number);
    EXPECT_EQ(f.type, w.type);
    EXPECT_EQ(f.whole.data(), std::as_bytes(std::span(text)).data() + at);
    EXPECT_EQ(f.whole.size(), w.whole);
    EXPECT_EQ(f.content.size(), w.content);
    at += w.whole;
  }
  EXPECT_FALSE(reader.next(f));
  EXPECT_FALSE(reader.failed());
}

}  // namespace
}  // namespace phiquant
