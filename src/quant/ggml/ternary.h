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

// codes[i] = code + 1; returns the scale.
inline float block_codes(const float* x, uint8_t* codes) {
  float largest = 0;
  for (size_t i = 0; i < kValues; ++i) largest = std::max(largest, std::fabs(x[i]));
  const float inverse = largest != 0 ? 1.0f / largest : 0.0f;
  const bool usable = inverse <= std::numeric_limits<float>::max();
  for (size_t i = 0; i < kValues; ++i) {
    const float q = x[i] * inverse;
    codes[i] = static_cast<uint8_t>(usable ? 1 + (q >= 0.5f) - (q <= -0.5f) : 1);
  }
  return largest;
}

inline void pack_tq2(const uint8_t* codes, float scale, std::byte* out) {
  for (size_t half = 0; half < 2; ++half)
    for (size_t m = 0; m < 32; ++m) {
      const uint8_t* c = codes + 128 * half + m;
      out[32 * half + m] = static_cast<std::byte>(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
    }
  ggml::store_f16(out + 64, scale);
}

// Where tq1_0 keeps its codes: `bytes` bytes of `digits` codes, `bytes` values apart.
struct Tq1Part {
  uint8_t bytes, digits;
};
constexpr std::array<Tq1Part, 3> kTq1Parts = {{{32, 5}, {16, 5}, {4, 4}}};

inline void pack_tq1(const uint8_t* codes, float scale, std::byte* out) {
  for (const Tq1Part part : kTq1Parts) {
    for (size_t m = 0; m < part.bytes; ++m) {
      unsigned q = 0;
      for (size_t n = 0; n < 5; ++n) q = q * 3 + (n < part.digits ? codes[m + n * part.bytes] : 0);
      *out++ = static_cast<std::byte>((q * 256 + 242) / 243);
    }
    codes += size_t{part.bytes} * part.digits;
  }
  ggml::store_f16(out, scale);
}

inline void encode_tq1_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kValues, kTq1Bytes>(tile, planes,
                                           [](const float* x, const float*, std::byte* out) {
                                             uint8_t codes[kValues];
                                             const float scale = block_codes(x, codes);
                                             pack_tq1(codes, scale, out);
                                           });
}
inline void encode_tq2_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kValues, kTq2Bytes>(tile, planes,
                                           [](const float* x, const float*, std::byte* out) {
                                             uint8_t codes[kValues];
                                             const float scale = block_codes(x, codes);
                                             pack_tq2(codes, scale, out);
                                           });
}

inline void decode_tq1(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                       float* out) {
  ggml::for_each_stored<kValues, kTq1Bytes>(
      planes, n_rows * k, out, [](const std::byte* in, float* x) {
        const float scale = ggml::load_f16(in + 52);
        for (const Tq1Part part : kTq1Parts) {
          unsigned power = 1;
          for (size_t n = 0; n < part.digits; ++n, power *= 3)
            for (size_t m = 0; m < part.bytes; ++m) {
              const unsigned fraction = static_cast<unsigned>(in[m]) * power & 0xffu;
              *x++ = static_cast<float>(static_cast<int>(fraction * 3 >> 8) - 1) * scale;
            }
          in += part.bytes;
        }
      });
}
inline void decode_tq2(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                       float* out) {
  ggml::for_each_stored<kValues, kTq2Bytes>(
      planes, n_rows * k, out, [](const std::byte* in, float* x) {
        const float scale = ggml::load_f16(in + 64);
        const auto* bytes = reinterpret_cast<const uint8_t*>(in);
        for (size_t part = 0; part < 8; ++part, x += 32)
          for (size_t m = 0; m < 32; ++m) {
            const int code = bytes[part / 4 * 32 + m] >> (part % 4 * 2) & 3;
            x[m] = static_cast<float>(code - 1) * scale;
          }
      });
}

// The same bytes as the references, fast.
void encode_tq1(const RowTile& tile, const RowParams& params, const RowPlanes& planes);
void encode_tq2(const RowTile& tile, const RowParams& params, const RowPlanes& planes);

}  // namespace phiquant::quant::ternary
