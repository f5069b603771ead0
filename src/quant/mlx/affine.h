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

#include "quant/mlx/bits.h"
#include "quant/parts.h"
#include "quant/row_scheme.h"
#include "quant/stored_float.h"

namespace phiquant::quant::mlx_affine {

inline BlockShape shape(const BlockSpec& s) {
  const size_t n = s.params.block_size, scale_bytes = dtype_bits(s.scale_dtype) / 8;
  return {n, n, 0, 1 << s.params.bits, {{{n * s.params.bits / 8}, {scale_bytes}, {scale_bytes}}}};
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

inline float max_code(const BlockSpec& s) { return static_cast<float>((1u << s.params.bits) - 1); }

// by and from: scale and bias before they are rounded.
inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec& s, Grid& g) {
  const Affine a = affine_of(*std::min_element(x.begin(), x.end()),
                             *std::max_element(x.begin(), x.end()), max_code(s));
  g.by[0] = a.scale;
  g.from[0] = a.bias;
  g.scale[0] = through_dtype(a.scale, s.scale_dtype);
  g.offset[0] = through_dtype(a.bias, s.scale_dtype);
}

inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec& s) {
  return code_of(x, {g.by[0], g.from[0]}, max_code(s));
}

// Product and sum each round.
inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  const float product = static_cast<float>(code) * g.scale[0];
  return product + g.offset[0];
}

inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec& s,
                 const Planes& out) {
  const unsigned bits = s.params.bits;
  std::fill_n(out[0], codes.size() * bits / 8, std::byte{0});
  for (size_t i = 0; i < codes.size(); ++i)
    for (unsigned b = 0; b < bits; ++b)
      if (codes[i] >> b & 1) out[0][(i * bits + b) / 8] |= std::byte(1u << ((i * bits + b) % 8));
  store_float(g.scale[0], s.scale_dtype, out[1]);
  store_float(g.offset[0], s.scale_dtype, out[2]);
}

inline void unpack(const PlanesView& in, const BlockSpec& s, Grid& g, std::span<uint8_t> codes) {
  const unsigned bits = s.params.bits;
  for (size_t i = 0; i < codes.size(); ++i) {
    unsigned code = 0;
    for (unsigned b = 0; b < bits; ++b)
      code |= (std::to_integer<unsigned>(in[0][(i * bits + b) / 8]) >> ((i * bits + b) % 8) & 1)
              << b;
    codes[i] = static_cast<uint8_t>(code);
  }
  g.scale[0] = g.by[0] = load_float(in[1], s.scale_dtype);
  g.offset[0] = g.from[0] = load_float(in[2], s.scale_dtype);
}

inline constexpr EncodingParts kParts = {
    shape,
    fit,
    round,
    decode_code,
    pack,
    unpack,
    PeerRule::parts,
    {1 << 2 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8, 32 | 64 | 128, false, true}};

inline void encode_ref(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  encode_rows_by_parts(kParts, tile, p, out);
}
inline void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams& p,
                       float* x) {
  decode_rows_by_parts(kParts, in, n_rows * k, p, x);
}

// The same, fast.
void encode(const RowTile& tile, const RowParams& p, const RowPlanes& out);
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams& p, float* x);

}  // namespace phiquant::quant::mlx_affine
