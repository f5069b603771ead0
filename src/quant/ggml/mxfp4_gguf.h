// mxfp4 of GGUF: 4-bit floats (E2M1) that share a power of two, tensor type 39.
// Source:   llama.cpp b11434, ggml-quants.c, quantize_row_mxfp4_ref; values of the OCP MX
//           specification.
// Layout:   32 values, 17 bytes: the exponent e, then 16 bytes: value j in the low half of byte j,
//           value j + 16 in its high half. A code is a sign bit and an index into 0, 1, 2, 3, 4, 6,
//           8, 12.
// Value:    x ~ 2^(e - 128) * the code's value.
// Exponent: floor(log2 |largest|) - 2 + 127, with the logarithm rounded to float first: a value
//           just below a power of two can count as that power. 0 for a block of zeros. Below 2^-125
//           the exponent is negative and wraps to a byte, and every code is 0; as the original's
//           conversion does on x86.
// Codes:    nearest; ties to the smaller magnitude. Code 8, the negative zero, is not written.
#pragma once

#include <array>
#include <bit>
#include <cmath>

#include "quant/ggml/blocks.h"

namespace phiquant::quant::mxfp4_gguf {

constexpr size_t kValues = 32, kBytes = 17;
constexpr std::array<float, 8> kMagnitudes = {0, 1, 2, 3, 4, 6, 8, 12};

// floor(log2f(x)), x > 0 and finite, as a correctly rounded log2f gives it; equal to glibc's for
// every float. 2^t * (1 - j / 2^24) rounds to t while j / 2^24 / ln 2 is less than half the
// distance of t to the next float towards zero (t > 0) or away from it (t < 0).
inline int floor_log2f(float x) {
  uint32_t mantissa = std::bit_cast<uint32_t>(x) & 0x7fffffu;
  int exponent = static_cast<int>(std::bit_cast<uint32_t>(x) >> 23);
  if (exponent == 0) {
    const int shift = std::countl_zero(mantissa) - 8;
    mantissa = (mantissa << shift) & 0x7fffffu;
    exponent = 1 - shift;
  }
  const int t = exponent - 127 + 1;
  const auto magnitude = static_cast<uint32_t>(t < 0 ? -t : t);
  if (magnitude == 0) return t - 1;
  int binade = std::bit_width(magnitude) - 1;
  if (t > 0 && std::has_single_bit(magnitude)) --binade;
  const uint32_t limit = binade < 0 ? 0 : (177u << binade) >> 8;  // floor(ln 2 * 2^binade)
  return 0x800000u - mantissa <= limit ? t : t - 1;
}

inline uint8_t exponent_of(float largest) {
  if (largest == 0) return 0;
  return static_cast<uint8_t>(floor_log2f(largest) - 2 + 127);
}

// 2^(e - 128).
inline float scale_of(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

inline uint8_t code_of(float x, float scale) {
  const float magnitude = std::fabs(x);
  uint8_t code = 0;
  for (size_t i = 0; i < 7; ++i)
    code += magnitude > 0.5f * (kMagnitudes[i] + kMagnitudes[i + 1]) * scale;
  return code != 0 && x < 0 ? code | 8 : code;
}

inline float value_of(unsigned code, float scale) {
  return (code & 8 ? -kMagnitudes[code & 7] : kMagnitudes[code & 7]) * scale;
}

inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec&, Grid& g) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::fabs(v));
  g.steps[0] = exponent_of(largest);
  g.scale[0] = scale_of(exponent_of(largest));
}

inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec&) {
  return code_of(x, g.scale[0]);
}

inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  return value_of(code, g.scale[0]);
}

inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                 const Planes& out) {
  out[0][0] = static_cast<std::byte>(g.steps[0]);
  ggml::pack_nibbles(codes.data(), kValues / 2, out[0] + 1);
}

inline void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  const auto e = static_cast<uint8_t>(in[0][0]);
  g.steps[0] = e;
  g.scale[0] = scale_of(e);
  ggml::unpack_nibbles(in[0] + 1, kValues / 2, codes.data());
}

inline constexpr EncodingParts kParts = {ggml::block_shape<kValues, kValues, kBytes, 16>,
                                         fit,
                                         round,
                                         decode_code,
                                         pack,
                                         unpack,
                                         PeerRule::parts};

inline void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kValues, kBytes>(tile, planes, ggml::encode_by_parts<kParts, kValues>);
}

inline void decode(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                   float* out) {
  ggml::for_each_stored<kValues, kBytes>(
      planes, n_rows * k, out, [](const std::byte* in, float* x) {
        const float scale = scale_of(static_cast<uint8_t>(in[0]));
        for (size_t j = 0; j < 16; ++j) {
          x[j] = value_of(static_cast<unsigned>(in[1 + j]) & 15, scale);
          x[j + 16] = value_of(static_cast<unsigned>(in[1 + j]) >> 4, scale);
        }
      });
}

// The same bytes as encode_ref, fast.
void encode(const RowTile& tile, const RowParams& params, const RowPlanes& planes);

}  // namespace phiquant::quant::mxfp4_gguf
