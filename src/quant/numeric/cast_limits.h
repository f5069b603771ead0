// What a cast to a narrower float cannot hold, as bounds on the magnitude bits of the float32
// value.
#pragma once

#include <bit>
#include <cstdint>

#include "quant/kernels.h"

namespace phiquant::quant {

constexpr uint32_t kInfBits = 0x7f800000u;

struct CastLimits {
  uint32_t overflow_from = kInfBits;   // finite values with these magnitude bits or more overflow
  uint32_t underflow_to = 0;           // nonzero values with these magnitude bits or less underflow
  bool replace = false;                // ort_fp16: such values become ...
  uint32_t largest = 0, smallest = 0;  // ... these, sign kept
};

constexpr CastLimits cast_limits(DType to, CastRule rule) {
  if (to == DType::f16 && rule == CastRule::ort_fp16) {
    const uint32_t smallest = std::bit_cast<uint32_t>(5.96e-8f),
                   largest = std::bit_cast<uint32_t>(65504.0f);
    return {largest + 1, smallest - 1, true, largest, smallest};
  }
  if (to == DType::f16)
    return {0x477ff000u, 0x33000000u};  // 65520 rounds to 65536; 2^-25 rounds to 0
  if (to == DType::bf16) return {0x7f7f8000u, 0x00008000u};  // the halfway points of the same kind
  return {};
}

// Counts what becomes of `value` and, with ort_fp16, replaces it.
inline float apply_limits(float value, const CastLimits& limits, CastStats& stats) {
  const uint32_t u = std::bit_cast<uint32_t>(value), magnitude = u & 0x7fffffffu,
                 sign = u & 0x80000000u;
  if (magnitude >= kInfBits) {
    ++(magnitude > kInfBits ? stats.nan : stats.inf);
  } else if (magnitude >= limits.overflow_from) {
    ++stats.overflowed;
    if (limits.replace) return std::bit_cast<float>(sign | limits.largest);
  } else if (magnitude != 0 && magnitude <= limits.underflow_to) {
    ++stats.underflowed;
    if (limits.replace) return std::bit_cast<float>(sign | limits.smallest);
  }
  return value;
}

}  // namespace phiquant::quant
