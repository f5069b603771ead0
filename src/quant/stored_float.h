// Floats as a tensor stores them: f32, f16 or bf16, rounded half to even, little-endian.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/half.h"
#include "core/tensor.h"

namespace phiquant::quant {

inline void store_float(float value, DType to, std::byte* out) {
  if (to == DType::f32) {
    std::memcpy(out, &value, sizeof(value));
    return;
  }
  const uint16_t bits = to == DType::f16 ? f16_from_f32(value) : bf16_from_f32(value);
  std::memcpy(out, &bits, sizeof(bits));
}

inline float load_float(const std::byte* in, DType from) {
  if (from == DType::f32) {
    float value;
    std::memcpy(&value, in, sizeof(value));
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, in, sizeof(bits));
  return from == DType::f16 ? f32_from_f16(bits) : f32_from_bf16(bits);
}

// What is left of `value` after storing it.
inline float through_dtype(float value, DType type) {
  std::byte stored[4];
  store_float(value, type, stored);
  return load_float(stored, type);
}

}  // namespace phiquant::quant
