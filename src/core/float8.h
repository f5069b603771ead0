// 8-bit floats as in the OCP 8-bit floating point specification: E4M3 (bias 7, no infinities, NaN
// only with all bits set) and E5M2 (the upper byte of an IEEE half).
#pragma once

#include <bit>
#include <cstdint>

#include "core/half.h"

namespace phiquant {

// E4M3 where every code is a number, as MLX reads it: all bits set are 480.
inline float f32_from_e4m3_number(uint8_t code) {
  const uint32_t magnitude = code & 0x7fu;
  // Below 8 lie the subnormals, multiples of 2^-9.
  const float value = magnitude < 8 ? static_cast<float>(magnitude) * 0x1p-9f
                                    : std::bit_cast<float>((magnitude << 20) + ((127u - 7u) << 23));
  return code & 0x80u ? -value : value;
}

inline float f32_from_f8e4m3(uint8_t code) {
  if ((code & 0x7f) != 0x7f) return f32_from_e4m3_number(code);
  return std::bit_cast<float>(static_cast<uint32_t>(code & 0x80) << 24 | 0x7fc00000u);
}

inline float f32_from_f8e5m2(uint8_t code) {
  return f32_from_f16(static_cast<uint16_t>(code << 8));
}

}  // namespace phiquant
