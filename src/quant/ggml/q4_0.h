// q4_0, q5_0: 32 values, one scale. The specification.
// Source:  ggml src/ggml-quants.c of llama.cpp b11434, quantize_row_q4_0_ref, ..._q4_0_impl and the
//          same of q5_0; GGUF types 2 and 6.
// Layout:  f16 d; of q5_0 32 fifth bits, little-endian; 16 bytes of nibbles, values j and j + 16.
// Value:   x ~ d * (code - half), half = 8 or 16.
// Codes:   d = largest / -half, largest the first value of the largest magnitude;
//          truncate(x * (1/d) + half + 1/2), at most 2 half - 1. d here is not yet rounded to f16.
// Importance: weights importance * sqrt(mean x^2 of the row + x^2), then fit_symmetric.
// Edges:   a block of zeros: d is -0 and every code half (with importance: d is 0, codes 0).
//          1/d not finite: every code 0.
#pragma once

#include "quant/ggml/blocks.h"

namespace phiquant::quant::q4_0 {

template <unsigned kBits>
inline constexpr size_t kBytes = kBits == 5 ? 22 : 18;

template <unsigned kBits>
void encode_block_ref(const float* x, std::byte* out) {
  constexpr int kHalf = 1 << (kBits - 1);
  const float d = ggml::first_largest({x, ggml::kSmall}) / -kHalf;
  const float inverse = d != 0 ? 1 / d : 0.0f;
  uint8_t codes[ggml::kSmall];
  for (size_t i = 0; i < ggml::kSmall; ++i) {
    const auto code = static_cast<int8_t>(ggml::truncated(x[i] * inverse + (kHalf + 0.5f)));
    codes[i] = static_cast<uint8_t>(std::min<int>(code, 2 * kHalf - 1));
  }
  ggml::store_f16(out, d);
  ggml::pack_small_codes<kBits>(codes, out + 2);
}

template <unsigned kBits>
void encode_weighted_block_ref(const float* x, const float* weights, std::byte* out) {
  uint8_t codes[ggml::kSmall];
  ggml::store_f16(out, ggml::fit_symmetric({x, ggml::kSmall}, weights, 1 << (kBits - 1), codes));
  ggml::pack_small_codes<kBits>(codes, out + 2);
}

template <unsigned kBits>
void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  ggml::for_each_small_block<kBytes<kBits>>(tile, out, encode_block_ref<kBits>,
                                            encode_weighted_block_ref<kBits>);
}

template <unsigned kBits>
void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  ggml::for_each_stored<ggml::kSmall, kBytes<kBits>>(
      in, n_rows * k, x, [](const std::byte* block, float* y) {
        uint8_t codes[ggml::kSmall];
        ggml::unpack_small_codes<kBits>(block + 2, codes);
        const float d = ggml::load_f16(block);
        for (size_t i = 0; i < ggml::kSmall; ++i)
          y[i] = static_cast<float>(codes[i] - (1 << (kBits - 1))) * d;
      });
}

// The same, fast.
template <unsigned kBits>
void encode(const RowTile& tile, const RowParams&, const RowPlanes& out);
template <unsigned kBits>
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x);
template <>
void encode<4>(const RowTile& tile, const RowParams&, const RowPlanes& out);
template <>
void encode<5>(const RowTile& tile, const RowParams&, const RowPlanes& out);
template <>
void decode<4>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x);
template <>
void decode<5>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x);

}  // namespace phiquant::quant::q4_0
