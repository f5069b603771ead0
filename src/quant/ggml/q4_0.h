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
inline constexpr int kLevels = 1 << (kBits - 1);  // to each side of 0

template <unsigned kBits>
void fit(std::span<const float> x, std::span<const float> importance, const BlockSpec&, Grid& g) {
  float d;
  if (importance.empty()) {
    d = ggml::first_largest(x) / -kLevels<kBits>;
  } else {
    // As if the block were the row.
    float weights[ggml::kSmall];
    uint8_t codes[ggml::kSmall];
    const float sigma2 = ggml::mean_square(x.data(), x.size());
    ggml::importance_weights(x.data(), importance.data(), sigma2, x.size(), weights);
    d = ggml::fit_symmetric(x, weights, kLevels<kBits>, codes);
  }
  g.scale[0] = ggml::through_f16(d);
  g.by[0] = ggml::inverse_or_zero(d);
}

template <unsigned kBits>
uint8_t round(float x, size_t, const Grid& g, const BlockSpec&) {
  if (std::isinf(g.by[0])) return 0;
  return ggml::truncated_code(x * g.by[0] + (kLevels<kBits> + 0.5f), 2 * kLevels<kBits> - 1);
}

template <unsigned kBits>
float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  return static_cast<float>(code - kLevels<kBits>) * g.scale[0];
}

template <unsigned kBits>
void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&, const Planes& out) {
  ggml::store_f16(out[0], g.scale[0]);
  ggml::pack_small_codes<kBits>(codes.data(), out[0] + 2);
}

template <unsigned kBits>
void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  g.scale[0] = ggml::load_f16(in[0]);
  g.by[0] = ggml::inverse_or_zero(g.scale[0]);
  ggml::unpack_small_codes<kBits>(in[0] + 2, codes.data());
}

template <unsigned kBits>
inline constexpr EncodingParts kParts = {
    ggml::block_shape<ggml::kSmall, ggml::kSmall, kBytes<kBits>, 1 << kBits>,
    fit<kBits>,
    round<kBits>,
    decode_code<kBits>,
    pack<kBits>,
    unpack<kBits>,
    PeerRule::parts};

template <unsigned kBits>
void encode_block_ref(const float* x, std::byte* out) {
  ggml::encode_by_parts<kParts<kBits>, ggml::kSmall>(x, nullptr, out);
}

// The codes of the search's best trial, not those nearest under its scale.
template <unsigned kBits>
void encode_weighted_block_ref(const float* x, const float* weights, std::byte* out) {
  uint8_t codes[ggml::kSmall];
  ggml::store_f16(out, ggml::fit_symmetric({x, ggml::kSmall}, weights, kLevels<kBits>, codes));
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
      in, n_rows * k, x, ggml::decode_by_parts<kParts<kBits>, ggml::kSmall>);
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
