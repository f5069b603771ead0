// What the scalar references of the block schemes share. Everything here is IEEE single or double
// arithmetic, one rounding per operation, so that vector code can repeat it exactly.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/half.h"
#include "quant/scheme.h"

namespace phiquant::quant {

// `value` rounded (half to even) to a stored float type; f32 for any type but f16 and bf16.
inline float round_to_dtype(float value, DType type) {
  if (type == DType::f16) return f32_from_f16(f16_from_f32(value));
  if (type == DType::bf16) return f32_from_bf16(bf16_from_f32(value));
  return value;
}

// The largest float below 0.5: for 0 <= v < 2^22, trunc(v + kAlmostHalf) is v rounded with halves
// up. Adding 0.5 would raise the float below a half to the next integer.
constexpr float kAlmostHalf = 0x1.fffffep-2f;

// Into [lo, hi], NaN to lo. NaN arises as 0 * infinity where a subnormal scale has no finite
// reciprocal.
template <class T>
T clamp_or_low(T value, T lo, T hi) {
  return value > lo ? (value < hi ? value : hi) : lo;
}

// Smallest and largest value of column c. Of zeros of both signs the first is taken.
struct ColumnRange {
  float lo = 0, hi = 0;
};
inline ColumnRange column_range(const BlockTile& tile, size_t c) {
  ColumnRange r{tile.x[c], tile.x[c]};
  for (size_t k = 1; k < tile.n_rows; ++k) {
    const float v = tile.x[k * tile.stride + c];
    if (v < r.lo) r.lo = v;
    if (v > r.hi) r.hi = v;
  }
  return r;
}

// The side that is further from zero, with its sign; a tie takes the low side. Zero keeps the sign
// of the first value.
inline float signed_extreme(const BlockTile& tile, size_t c, const ColumnRange& r) {
  const float m = std::fabs(r.hi) > std::fabs(r.lo) ? r.hi : r.lo;
  return m == 0 ? tile.x[c] : m;
}

// One column of Packing::nbits: codes go into a zeroed blob, low bits first.
class PackedColumn {
 public:
  PackedColumn(const BlockCodes& out, size_t c, const SchemeParams& p)
      : blob_(out.codes + c * out.codes_stride), bits_(p.bits) {
    std::memset(blob_, 0, size_t{p.block_size} * p.bits / 8);
  }
  void put(size_t k, unsigned code) {
    const size_t bit = k * bits_;
    blob_[bit / 8] |= static_cast<std::byte>(code << (bit % 8));
  }

 private:
  std::byte* blob_;
  unsigned bits_;
};

// One column of Packing::k_major and n_major: a byte a value, negative codes sign-extended.
inline void put_flat(const BlockCodes& out, size_t k, size_t c, int code) {
  out.codes[k * out.codes_stride + c] = static_cast<std::byte>(code);
}

// Sum of f(0) .. f(n - 1) in the order of numpy.sum over a contiguous float32 row: eight running
// sums up to 128 values, joined pairwise, the rest added in order; longer rows are halved at a
// multiple of 8.
template <class F>
float pairwise_sum(size_t first, size_t n, const F& f) {
  if (n > 128) {
    const size_t half = n / 2 / 8 * 8;
    const float left = pairwise_sum(first, half, f);
    return left + pairwise_sum(first + half, n - half, f);
  }
  if (n < 8) {
    float sum = -0.0f;
    for (size_t i = 0; i < n; ++i) sum += f(first + i);
    return sum;
  }
  float r[8];
  for (size_t j = 0; j < 8; ++j) r[j] = f(first + j);
  size_t i = 8;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; ++j) r[j] += f(first + i + j);
  float sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  for (; i < n; ++i) sum += f(first + i);
  return sum;
}

// Value k of column c, 0 beyond the last row: the schemes ported from Python pad the last block
// with zeros, and the zeros take part in everything.
inline float padded(const BlockTile& tile, size_t k, size_t c) {
  return k < tile.n_rows ? tile.x[k * tile.stride + c] : 0.0f;
}
inline ColumnRange padded_range(const BlockTile& tile, size_t c, size_t block_size) {
  ColumnRange r = column_range(tile, c);
  if (tile.n_rows < block_size) {
    if (0 < r.lo) r.lo = 0;
    if (0 > r.hi) r.hi = 0;
  }
  return r;
}

}  // namespace phiquant::quant
