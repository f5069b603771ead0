// Overflow-checked arithmetic for sizes that come from files.
#pragma once

#include <cstdint>
#include <optional>

namespace phiquant {

// a * b; nullopt where it does not fit 64 bits.
constexpr std::optional<uint64_t> checked_mul(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// a + b; nullopt where it does not fit 64 bits.
constexpr std::optional<uint64_t> checked_add(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

// The smallest multiple of `unit` (> 0) that is not below `value`; nullopt on overflow.
constexpr std::optional<uint64_t> checked_round_up(uint64_t value, uint64_t unit) {
  const uint64_t rest = value % unit;
  return rest == 0 ? value : checked_add(value, unit - rest);
}

// True where [offset, offset + length) lies inside [0, size); never forms offset + length.
constexpr bool range_inside(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

}  // namespace phiquant
