// tq1_0 and tq2_0: -1, 0 and 1 times a scale, GGUF tensor types 34 and 35.
// Source:   llama.cpp b11434, ggml-quants.c, quantize_row_tq1_0_ref and quantize_row_tq2_0_ref.
// Layout:   256 values.
//           tq2_0, 66 bytes: 64 bytes of four codes of 2 bits (code + 1); byte m of each half (128
//           values) holds values m, m + 32, m + 64, m + 96, the first in the low bits; then the f16
//           scale.
//           tq1_0, 54 bytes: bytes of five codes in base 3, the first the most significant, as the
//           fraction ceil(256 q / 243), so that digits come out by multiplying. Bytes 0..31 hold
//           values m + 32 n, 32..47 values 160 + m + 16 n, 48..51 (four codes and a 0) values
//           240 + m + 4 n; then the f16 scale.
// Value:    x ~ scale * code, scale = |largest|. Rounding: x * (1 / scale), half away from zero.
// Edges:    1 / scale overflows: every code 0 (the original converts infinity to an integer, which
//           comes to that on x86).
#pragma once

#include <array>
#include <cmath>
#include <limits>

#include "quant/ggml/blocks.h"

namespace phiquant::quant::ternary {

constexpr size_t kValues = ggml::kSuper, kTq1Bytes = 54, kTq2Bytes = 66;

inline void fit(std::span<const float> x, std::span<const float>, const BlockSpec&, Grid& g) {
  float largest = 0;
  for (const float v : x) largest = std::max(largest, std::fabs(v));
  const float inverse = ggml::inverse_or_zero(largest);
  g.scale[0] = ggml::through_f16(largest);
  g.by[0] = inverse <= std::numeric_limits<float>::max() ? inverse : 0.0f;
}

// One more than the -1, 0 or 1 that it stands for.
inline uint8_t round(float x, size_t, const Grid& g, const BlockSpec&) {
  const float q = x * g.by[0];
  return static_cast<uint8_t>(1 + (q >= 0.5f) - (q <= -0.5f));
}

inline float value_of(int code, float scale) { return static_cast<float>(code - 1) * scale; }

inline float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  return value_of(code, g.scale[0]);
}

inline void unpack_scale(const std::byte* in, Grid& g) {
  const float scale = ggml::load_f16(in), inverse = ggml::inverse_or_zero(scale);
  g.scale[0] = scale;
  g.by[0] = inverse;
}

inline void pack_tq2(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                     const Planes& planes) {
  std::byte* out = planes[0];
  for (size_t half = 0; half < 2; ++half)
    for (size_t m = 0; m < 32; ++m) {
      const uint8_t* c = codes.data() + 128 * half + m;
      out[32 * half + m] = static_cast<std::byte>(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
    }
  ggml::store_f16(out + 64, g.scale[0]);
}

// Where tq1_0 keeps its codes: `bytes` bytes of `digits` codes, `bytes` values apart.
struct Tq1Part {
  uint8_t bytes, digits;
};
constexpr std::array<Tq1Part, 3> kTq1Parts = {{{32, 5}, {16, 5}, {4, 4}}};

inline void pack_tq1(std::span<const uint8_t> all, const Grid& g, const BlockSpec&,
                     const Planes& planes) {
  const uint8_t* codes = all.data();
  std::byte* out = planes[0];
  for (const Tq1Part part : kTq1Parts) {
    for (size_t m = 0; m < part.bytes; ++m) {
      unsigned q = 0;
      for (size_t n = 0; n < 5; ++n) q = q * 3 + (n < part.digits ? codes[m + n * part.bytes] : 0);
      *out++ = static_cast<std::byte>((q * 256 + 242) / 243);
    }
    codes += size_t{part.bytes} * part.digits;
  }
  ggml::store_f16(out, g.scale[0]);
}

inline void unpack_tq1(const PlanesView& planes, const BlockSpec&, Grid& g,
                       std::span<uint8_t> codes) {
  const std::byte* in = planes[0];
  uint8_t* c = codes.data();
  for (const Tq1Part part : kTq1Parts) {
    unsigned power = 1;
    for (size_t n = 0; n < part.digits; ++n, power *= 3)
      for (size_t m = 0; m < part.bytes; ++m) {
        const unsigned fraction = static_cast<unsigned>(in[m]) * power & 0xffu;
        *c++ = static_cast<uint8_t>(fraction * 3 >> 8);
      }
    in += part.bytes;
  }
  unpack_scale(in, g);
}
// f(i, code) for every value i.
template <class F>
inline void for_each_tq2_code(const std::byte* in, const F& f) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  for (size_t part = 0; part < 8; ++part)
    for (size_t m = 0; m < 32; ++m)
      f(32 * part + m, bytes[part / 4 * 32 + m] >> (part % 4 * 2) & 3);
}
inline void unpack_tq2(const PlanesView& planes, const BlockSpec&, Grid& g,
                       std::span<uint8_t> codes) {
  uint8_t* out = codes.data();
  for_each_tq2_code(planes[0], [out](size_t i, int code) { out[i] = static_cast<uint8_t>(code); });
  unpack_scale(planes[0] + 64, g);
}

inline constexpr EncodingParts kTq1 = {ggml::block_shape<kValues, kValues, kTq1Bytes, 3>,
                                       fit,
                                       round,
                                       decode_code,
                                       pack_tq1,
                                       unpack_tq1,
                                       PeerRule::parts};
inline constexpr EncodingParts kTq2 = {ggml::block_shape<kValues, kValues, kTq2Bytes, 3>,
                                       fit,
                                       round,
                                       decode_code,
                                       pack_tq2,
                                       unpack_tq2,
                                       PeerRule::parts};

inline void encode_tq1_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kValues, kTq1Bytes>(tile, planes, ggml::encode_by_parts<kTq1, kValues>);
}
inline void encode_tq2_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kValues, kTq2Bytes>(tile, planes, ggml::encode_by_parts<kTq2, kValues>);
}

inline void decode_tq1(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                       float* out) {
  ggml::for_each_stored<kValues, kTq1Bytes>(planes, n_rows * k, out,
                                            ggml::decode_by_parts<kTq1, kValues>);
}
inline void decode_tq2(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                       float* out) {
  ggml::for_each_stored<kValues, kTq2Bytes>(
      planes, n_rows * k, out, [](const std::byte* in, float* x) {
        const float scale = ggml::load_f16(in + 64);
        for_each_tq2_code(in, [=](size_t i, int code) { x[i] = value_of(code, scale); });
      });
}

// The same bytes as the references, fast.
void encode_tq1(const RowTile& tile, const RowParams& params, const RowPlanes& planes);
void encode_tq2(const RowTile& tile, const RowParams& params, const RowPlanes& planes);

}  // namespace phiquant::quant::ternary
