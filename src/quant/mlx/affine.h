// affine: MLX's integer modes, as its CPU backend computes them (the Metal kernel rounds and clamps
// otherwise, so that a GPU may give other bytes). Source:   mlx 0.32.4, backend/cpu/quantized.cpp,
// quantize(). Shape:    groups of 32, 64 or 128 values of a row; bits 2, 3, 4, 5, 6 or 8. Planes:
// codes (a little-endian bit stream, quant/mlx/bits.h), scales and biases, one of each a group, in
// scale_dtype.
//           The values are those of the weight in scale_dtype: MLX casts the model first.
// Value:    x ~ code * scale + bias.
// Rule:     all in float. range / (2^bits - 1), at least 1e-7, is the scale; negative where the
//           largest value has the larger magnitude. The edge is the value of larger magnitude (of
//           equal ones the largest); edge / scale rounded to even is its code's distance from 0.
//           Unless that is 0, the scale becomes edge / distance and the bias the edge, so that 0
//           and the edge are exact; else the bias is 0. Codes are (x - bias) / scale with the float
//           scale and bias, halves to even, clamped; only then are scale and bias rounded to
//           scale_dtype.
// Edges:    quotients that are NaN (values beyond about 1e31, where the scale becomes 0 or
//           infinite) give code 0.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "quant/mlx/bits.h"
#include "quant/row_scheme.h"

namespace phiquant::quant::mlx_affine {

inline RowLayout layout(const RowParams& p) {
  const uint32_t scale_bytes = dtype_bits(p.scale_dtype) / 8;
  return {p.group_size, {p.group_size * p.bits / 8, scale_bytes, scale_bytes}};
}

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

struct Affine {
  float scale, bias;
};

inline Affine affine_of(float lo, float hi, float max_code) {
  const bool negative = std::fabs(lo) > std::fabs(hi);
  const float magnitude = std::max((hi - lo) / max_code, 1e-7f);
  const float scale = negative ? magnitude : -magnitude, edge = negative ? lo : hi;
  const float distance = std::nearbyint(edge / scale);
  if (distance == 0) return {scale, 0};
  return {edge / distance, edge};
}

inline uint8_t code_of(float x, const Affine& a, float max_code) {
  const float code = std::nearbyint((x - a.bias) / a.scale);
  return code > 0 ? static_cast<uint8_t>(std::min(code, max_code)) : uint8_t{0};
}

// One group of n values.
inline void encode_group_ref(const float* x, size_t n, const RowParams& p, std::byte* codes,
                             std::byte* scale, std::byte* bias) {
  const auto max_code = static_cast<float>((1u << p.bits) - 1);
  float lo = x[0], hi = x[0];
  for (size_t i = 1; i < n; ++i) {
    lo = std::min(lo, x[i]);
    hi = std::max(hi, x[i]);
  }
  const Affine a = affine_of(lo, hi, max_code);
  std::fill_n(codes, n * p.bits / 8, std::byte{0});
  for (size_t i = 0; i < n; ++i) {
    const unsigned code = code_of(x[i], a, max_code);
    for (unsigned b = 0; b < p.bits; ++b)
      if (code >> b & 1) codes[(i * p.bits + b) / 8] |= std::byte(1u << ((i * p.bits + b) % 8));
  }
  store_float(a.scale, p.scale_dtype, scale);
  store_float(a.bias, p.scale_dtype, bias);
}

inline void encode_ref(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  const RowLayout l = layout(p);
  for (size_t g = 0; g < tile.n_rows * tile.k / p.group_size; ++g)
    encode_group_ref(tile.x + g * p.group_size, p.group_size, p, out[0] + g * l.block_bytes[0],
                     out[1] + g * l.block_bytes[1], out[2] + g * l.block_bytes[2]);
}

// code * scale, rounded, + bias, rounded.
inline void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams& p,
                       float* x) {
  const RowLayout l = layout(p);
  for (size_t i = 0; i < n_rows * k; ++i) {
    const size_t group = i / p.group_size, at = i % p.group_size * p.bits;
    const std::byte* codes = in[0] + group * l.block_bytes[0];
    unsigned code = 0;
    for (unsigned b = 0; b < p.bits; ++b)
      code |= (std::to_integer<unsigned>(codes[(at + b) / 8]) >> ((at + b) % 8) & 1) << b;
    const float product =
        static_cast<float>(code) * load_float(in[1] + group * l.block_bytes[1], p.scale_dtype);
    x[i] = product + load_float(in[2] + group * l.block_bytes[2], p.scale_dtype);
  }
}

// The same, fast.
void encode(const RowTile& tile, const RowParams& p, const RowPlanes& out);
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams& p, float* x);

}  // namespace phiquant::quant::mlx_affine
