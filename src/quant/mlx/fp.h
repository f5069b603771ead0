// mxfp4, nvfp4, mxfp8: MLX's float modes, as its CPU backend computes them (the Metal kernel breaks
// ties in other ways). Source:   mlx 0.32.4, ops.cpp, fp_quantize() without Metal; the exponent is
// rounded up. Shape:    groups of 32 values of a row (nvfp4: 16), a scale of one byte each. Planes:
// codes, scales.
// Codes:    fp4: low nibble first; 0, 0.5, 1, 1.5, 2, 3, 4, 6, and with bit 3 their negatives.
//           fp8: E4M3 without infinities, largest 448.
// Scales:   mxfp4, mxfp8: E8M0, 2^(byte - 127). nvfp4: E4M3.
// Value:    x ~ code * scale.
// Rule:     s = largest magnitude / 6 (mxfp8: / 448), rounded to the weight's dtype (scale_dtype;
//           MLX computes in it). E8M0: 2^ceil(log2(s)), 1 where s is 0. nvfp4: s to E4M3.
//           fp4: the nearest value, of two equally near ones the smaller magnitude; +0 for all that
//           rounds to 0. fp8: to nearest, halves to even, saturating; -0 stays.
// Edges:    s below 2^-127 wraps around in its byte, as in MLX. nvfp4: s below 2^-10 gives scale 0
//           and codes 0; s above 448 saturates, and where quotients are so large that their
//           distances to several values are the same float, the first value of the list is taken.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "core/float8.h"
#include "core/half.h"
#include "quant/parts.h"
#include "quant/row_scheme.h"

namespace phiquant::quant::mlx_fp {

enum class Mode : uint8_t { mxfp4, nvfp4, mxfp8 };

constexpr uint32_t group_size(Mode mode) { return mode == Mode::nvfp4 ? 16 : 32; }
constexpr unsigned code_bits(Mode mode) { return mode == Mode::mxfp8 ? 8 : 4; }

template <Mode kMode>
inline BlockShape shape(const BlockSpec&) {
  constexpr size_t n = group_size(kMode);
  return {n, n, 0, 1 << code_bits(kMode), {{{n * code_bits(kMode) / 8}, {1}}}};
}

constexpr float kFp4Values[16] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                  -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

inline float round_to(float x, DType dtype) {
  if (dtype == DType::f16) return f32_from_f16(f16_from_f32(x));
  if (dtype == DType::bf16) return f32_from_bf16(bf16_from_f32(x));
  return x;
}

inline uint8_t e4m3_from_f32(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x), sign = bits & 0x80000000u, u = bits ^ sign;
  constexpr uint32_t kOverflow = 543u << 21, kNormal = 121u << 23, kDenormal = 141u << 23;
  uint32_t code;
  if (u >= kOverflow) {  // 464 and more
    code = 0x7e;
  } else if (u < kNormal) {
    // Adding 2^14 leaves the value rounded to a multiple of 2^-9 in the low mantissa bits.
    code = std::bit_cast<uint32_t>(std::bit_cast<float>(u) + std::bit_cast<float>(kDenormal)) -
           kDenormal;
  } else {
    code = (u - (120u << 23) + 0x7ffffu + ((u >> 20) & 1u)) >> 20;
  }
  return static_cast<uint8_t>(code | sign >> 24);
}

struct Scale {
  uint8_t code;
  float value;
};

inline Scale scale_of(float largest, Mode mode, DType dtype) {
  const float s = round_to(largest / (mode == Mode::mxfp8 ? 448.0f : 6.0f), dtype);
  if (mode == Mode::nvfp4) {
    const uint8_t code = e4m3_from_f32(s);
    return {code, f32_from_e4m3_number(code)};
  }
  int exponent = 0;
  if (s > 0) {
    const float mantissa = std::frexp(s, &exponent);  // in [0.5, 1)
    if (mantissa == 0.5f) --exponent;
  }
  return {static_cast<uint8_t>(exponent + 127), std::ldexp(1.0f, exponent)};
}

inline uint8_t fp4_code(float x, float scale, DType dtype) {
  const float q = round_to(x / scale, dtype);
  uint8_t best = 0;
  for (uint8_t i = 1; i < 16; ++i)
    if (std::fabs(q - kFp4Values[i]) < std::fabs(q - kFp4Values[best])) best = i;
  return best;
}

inline float largest_magnitude(const float* x, size_t n) {
  float largest = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(x[i]));
  return largest;
}

inline float scale_value(Mode mode, std::byte code) {
  const auto c = std::to_integer<uint8_t>(code);
  if (mode == Mode::nvfp4) return f32_from_e4m3_number(c);
  // 2^(c - 127); 2^-127 is subnormal, and 255 is infinity.
  return std::bit_cast<float>(c == 0 ? 1u << 22 : uint32_t{c} << 23);
}

// by: the scale that divides. A byte that wrapped stands for another.
template <Mode kMode>
inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec& spec, Grid& g) {
  const Scale s = scale_of(largest_magnitude(x.data(), x.size()), kMode, spec.scale_dtype);
  g.steps[0] = s.code;
  g.by[0] = s.value;
  g.scale[0] = scale_value(kMode, std::byte{s.code});
}

template <Mode kMode>
inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec& spec) {
  if (kMode == Mode::mxfp8) return e4m3_from_f32(round_to(x / g.by[0], spec.scale_dtype));
  return fp4_code(x, g.by[0], spec.scale_dtype);
}

template <Mode kMode>
inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  return (kMode == Mode::mxfp8 ? f32_from_e4m3_number(code) : kFp4Values[code]) * g.scale[0];
}

template <Mode kMode>
inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                 const Planes& out) {
  constexpr size_t kPerByte = 8 / code_bits(kMode);
  for (size_t i = 0; i < codes.size(); i += kPerByte)
    out[0][i / kPerByte] =
        kPerByte == 1 ? std::byte{codes[i]} : std::byte(codes[i] | codes[i + 1] << 4);
  out[1][0] = static_cast<std::byte>(g.steps[0]);
}

template <Mode kMode>
inline void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  constexpr size_t kPerByte = 8 / code_bits(kMode);
  for (size_t i = 0; i < codes.size(); ++i) {
    const auto byte = std::to_integer<unsigned>(in[0][i / kPerByte]);
    codes[i] = static_cast<uint8_t>(kPerByte == 1 ? byte : byte >> (i % 2 * 4) & 15u);
  }
  g.steps[0] = std::to_integer<uint8_t>(in[1][0]);
  g.scale[0] = g.by[0] = scale_value(kMode, in[1][0]);
}

template <Mode kMode>
inline constexpr EncodingParts kParts = {shape<kMode>,       fit<kMode>,  round<kMode>,
                                         decode_code<kMode>, pack<kMode>, unpack<kMode>,
                                         PeerRule::parts};

template <Mode kMode>
inline void encode_ref(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  encode_rows_by_parts(kParts<kMode>, tile, p, out);
}
template <Mode kMode>
inline void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams& p,
                       float* x) {
  decode_rows_by_parts(kParts<kMode>, in, n_rows * k, p, x);
}

// The same, fast.
template <Mode kMode>
void encode(const RowTile& tile, const RowParams& p, const RowPlanes& out);
template <Mode kMode>
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams& p, float* x);

}  // namespace phiquant::quant::mlx_fp
