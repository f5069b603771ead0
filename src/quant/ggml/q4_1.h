// q4_1, q5_1: 32 values, a scale and a minimum. The specification.
// Source:  ggml src/ggml-quants.c of llama.cpp b11434, quantize_row_q4_1_ref, ..._q4_1_impl and the
//          same of q5_1; GGUF types 3 and 7.
// Layout:  f16 d, f16 m; of q5_1 32 fifth bits, little-endian; 16 bytes of nibbles, values j and
//          j + 16.
// Value:   x ~ d * code + m.
// Codes:   m = the minimum (the first of them: -0 stays), d = (maximum - m) / (2^bits - 1);
//          truncate((x - m) * (1/d) + 1/2). d and m here are not yet rounded to f16.
// Importance: weights importance * sqrt(mean x^2 of the row + x^2), then fit_offset, 37 trials.
// Edges:   a constant block: d 0, codes 0. 1/d not finite: every code 0.
#pragma once

#include "quant/ggml/blocks.h"

namespace phiquant::quant::q4_1 {

template <unsigned kBits>
inline constexpr size_t kBytes = kBits == 5 ? 24 : 20;

// Of every type that has an offset, when there is an imatrix.
inline constexpr ggml::OffsetTrials kWeightedTrials = {-0.9f, 0.05f, 36};

template <unsigned kBits>
void encode_block_ref(const float* x, std::byte* out) {
  constexpr int kTop = (1 << kBits) - 1;
  // The first of equals, also of zeros of either sign.
  const float min = *std::min_element(x, x + ggml::kSmall);
  const float d = (*std::max_element(x, x + ggml::kSmall) - min) / kTop;
  const float inverse = d != 0 ? 1 / d : 0.0f;
  uint8_t codes[ggml::kSmall];
  for (size_t i = 0; i < ggml::kSmall; ++i) {
    const auto code = static_cast<int8_t>(ggml::truncated((x[i] - min) * inverse + 0.5f));
    codes[i] = static_cast<uint8_t>(std::min<int>(code, kTop));
  }
  ggml::store_f16(out, d);
  ggml::store_f16(out + 2, min);
  ggml::pack_small_codes<kBits>(codes, out + 4);
}

template <unsigned kBits>
void encode_weighted_block_ref(const float* x, const float* weights, std::byte* out) {
  uint8_t codes[ggml::kSmall];
  const ggml::OffsetGrid grid =
      ggml::fit_offset({x, ggml::kSmall}, weights, (1 << kBits) - 1, kWeightedTrials, codes);
  ggml::store_f16(out, grid.scale);
  ggml::store_f16(out + 2, -grid.offset);
  ggml::pack_small_codes<kBits>(codes, out + 4);
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
        ggml::unpack_small_codes<kBits>(block + 4, codes);
        const float d = ggml::load_f16(block), m = ggml::load_f16(block + 2);
        for (size_t i = 0; i < ggml::kSmall; ++i) y[i] = static_cast<float>(codes[i]) * d + m;
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

}  // namespace phiquant::quant::q4_1
