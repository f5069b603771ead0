// The protobuf wire format, read without a schema: fields of a message one after the other, bounds
// checked. Source: protobuf.dev/programming-guides/encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace phiquant {

using Bytes = std::span<const std::byte>;

enum class Wire : uint8_t {
  varint = 0,
  fixed64 = 1,
  length = 2,
  group = 3,
  group_end = 4,
  fixed32 = 5
};

// Messages inside messages. Protobuf's own parser accepts 100; one is left for the marker that
// stripping puts into a tensor (onnx_payload.h). Deeper files are refused before protobuf sees
// them.
constexpr unsigned kMaxNesting = 99;

struct WireField {
  uint32_t number = 0;
  Wire type = Wire::varint;
  Bytes whole;    // the field with its tag
  Bytes content;  // of a length-delimited field: what the length counts; else the value's bytes
};

// Reads a base-128 varint at `at` and moves `at` behind it; false where it does not end within 10
// bytes or `end`.
bool read_varint(const std::byte*& at, const std::byte* end, uint64_t& value);

// Appends a varint in its shortest form.
void append_varint(std::string& out, uint64_t value);
// Bytes of that form.
constexpr unsigned varint_size(uint64_t value) {
  unsigned n = 1;
  for (; value >= 0x80; value >>= 7) ++n;
  return n;
}
constexpr uint32_t wire_tag(uint32_t number, Wire type) {
  return (number << 3) | static_cast<uint32_t>(type);
}
inline void append_bytes(std::string& out, Bytes bytes) {
  out.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// Walks over the fields of one message. Groups (only unknown fields use them) are skipped as one
// field.
//   WireReader r(bytes); WireField f; while (r.next(f)) ...; if (r.failed()) ... r.problem(),
//   r.where()
class WireReader {
 public:
  explicit WireReader(Bytes bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  // False at the end and after a malformed field; failed() tells which.
  bool next(WireField& field);
  bool failed() const { return !problem_.empty(); }
  // What is wrong, such as "field 7 has 80 bytes, 12 are left (incomplete download?)".
  const std::string& problem() const { return problem_; }
  // The tag of the malformed field.
  const std::byte* where() const { return where_; }

 private:
  bool next_simple(WireField& field);
  bool skip_group(uint32_t number);
  bool fail(std::string problem);

  const std::byte* at_;
  const std::byte* end_;
  const std::byte* where_ = nullptr;
  std::string problem_;
};

}  // namespace phiquant
