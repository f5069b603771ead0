// 8-bit floats as in the OCP 8-bit floating point specification: E4M3 (bias 7, no infinities, NaN
// only with all bits set) and E5M2 (the upper byte of an IEEE half).
#pragma once

#include <bit>
#include <cstdint>

#include "core/half.h"

namespace phiquant {

inline float f32_from_f8e4m3(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80) << 24, magnitude = code & 0x7f;
  if (magnitude == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000u);
  // Below 8 lie the subnormals, multiples of 2^-9.
  if (magnitude < 8)
    return std::bit_cast<float>(sign |
                                std::bit_cast<uint32_t>(static_cast<float>(magnitude) * 0x1p-9f));
  return std::bit_cast<float>(sign | ((magnitude << 20) + ((127u - 7u) << 23)));
}

inline float f32_from_f8e5m2(uint8_t code) {
  return f32_from_f16(static_cast<uint16_t>(code << 8));
}

}  // namespace phiquant
