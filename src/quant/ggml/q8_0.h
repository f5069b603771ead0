// q8_0: 32 values, one scale, a byte a code. The specification.
// Source:  ggml src/ggml-quants.c of llama.cpp b11434, quantize_row_q8_0_ref; GGUF type 8.
// Layout:  f16 d, 32 int8 codes, in order.
// Value:   x ~ d * code.
// Codes:   d = largest magnitude / 127; x * (1/d), halves away from zero. d here is not yet rounded
//          to f16. An imatrix is not used.
// Edges:   a block of zeros: d 0, codes 0. 1/d not finite: every code 0.
#pragma once

#include "quant/ggml/blocks.h"

namespace phiquant::quant::q8_0 {

inline constexpr size_t kBytes = 34;

inline void encode_block_ref(const float* x, std::byte* out) {
  const float d = std::fabs(ggml::first_largest({x, ggml::kSmall})) / 127;
  const float inverse = d != 0 ? 1 / d : 0.0f;
  ggml::store_f16(out, d);
  for (size_t i = 0; i < ggml::kSmall; ++i)
    out[2 + i] = static_cast<std::byte>(ggml::truncated(std::round(x[i] * inverse)));
}

inline void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  ggml::for_each_block<ggml::kSmall, kBytes>(
      tile, out,
      [](const float* x, const float*, std::byte* block) { encode_block_ref(x, block); });
}

inline void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&,
                       float* x) {
  ggml::for_each_stored<ggml::kSmall, kBytes>(
      in, n_rows * k, x, [](const std::byte* block, float* y) {
        const float d = ggml::load_f16(block);
        for (size_t i = 0; i < ggml::kSmall; ++i)
          y[i] = static_cast<float>(static_cast<int8_t>(block[2 + i])) * d;
      });
}

// The same, fast.
void encode(const RowTile& tile, const RowParams&, const RowPlanes& out);
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x);

}  // namespace phiquant::quant::q8_0
