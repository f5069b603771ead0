#include "wire/protobuf_wire.h"

#include <array>
#include <limits>
#include <utility>

#include <fmt/core.h>

namespace phiquant {

bool read_varint(const std::byte*& at, const std::byte* end, uint64_t& value) {
  value = 0;
  for (unsigned shift = 0; shift < 70; shift += 7) {
    if (at == end) return false;
    const auto byte = std::to_integer<uint64_t>(*at++);
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

void append_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>((value & 0x7f) | 0x80));
  out.push_back(static_cast<char>(value));
}

bool WireReader::fail(std::string problem) {
  problem_ = std::move(problem);
  at_ = end_;
  return false;
}

bool WireReader::next(WireField& field) {
  where_ = at_;
  if (at_ == end_) return false;
  if (!next_simple(field)) return false;
  if (field.type == Wire::group_end)
    return fail(fmt::format("field {} ends a group that never began", field.number));
  if (field.type != Wire::group) return true;
  const std::byte* begin = where_;
  if (!skip_group(field.number)) return false;
  field.whole = Bytes(begin, at_);
  field.content = {};
  return true;
}

// One field; of a group only the opening or closing tag.
bool WireReader::next_simple(WireField& field) {
  const std::byte* const begin = at_;
  uint64_t tag = 0;
  if (!read_varint(at_, end_, tag)) return fail("a field's tag is cut off (incomplete download?)");
  if (tag > std::numeric_limits<uint32_t>::max() || (tag >> 3) == 0)
    return fail(fmt::format("{} is no field tag", tag));
  field.number = static_cast<uint32_t>(tag >> 3);
  field.type = static_cast<Wire>(tag & 7);
  const std::byte* value = at_;
  const auto left = [&] { return static_cast<uint64_t>(end_ - at_); };
  uint64_t n = 0;
  switch (field.type) {
    case Wire::varint:
      if (!read_varint(at_, end_, n))
        return fail(
            fmt::format("field {}: the number is cut off (incomplete download?)", field.number));
      break;
    case Wire::fixed64:
    case Wire::fixed32:
      n = field.type == Wire::fixed64 ? 8 : 4;
      if (n > left())
        return fail(fmt::format("field {} has {} bytes, {} are left (incomplete download?)",
                                field.number, n, left()));
      at_ += n;
      break;
    case Wire::length:
      // Protobuf's parser takes lengths of at most five bytes and 2 GiB.
      if (!read_varint(at_, end_, n))
        return fail(
            fmt::format("field {}: the length is cut off (incomplete download?)", field.number));
      if (at_ - value > 5 || n > uint64_t{std::numeric_limits<int32_t>::max()})
        return fail(fmt::format("field {} has {} bytes, more than protobuf's limit of 2 GiB",
                                field.number, n));
      if (n > left())
        return fail(fmt::format("field {} has {} bytes, {} are left (incomplete download?)",
                                field.number, n, left()));
      value = at_;
      at_ += n;
      break;
    case Wire::group:
    case Wire::group_end:
      break;
    default:
      return fail(fmt::format("field {} has the unknown wire type {}", field.number, tag & 7));
  }
  field.whole = Bytes(begin, at_);
  field.content = Bytes(value, at_);
  return true;
}

bool WireReader::skip_group(uint32_t number) {
  std::array<uint32_t, kMaxNesting> open{};
  size_t depth = 0;
  open[depth++] = number;
  WireField field;
  while (depth > 0) {
    if (at_ == end_)
      return fail(fmt::format("group {} has no end (incomplete download?)", open[depth - 1]));
    if (!next_simple(field)) return false;
    if (field.type == Wire::group) {
      if (depth == open.size())
        return fail(fmt::format("groups are nested deeper than {}", kMaxNesting));
      open[depth++] = field.number;
    } else if (field.type == Wire::group_end) {
      if (field.number != open[depth - 1])
        return fail(fmt::format("group {} is ended as group {}", open[depth - 1], field.number));
      --depth;
    }
  }
  return true;
}

}  // namespace phiquant
