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
inline constexpr int kTop = (1 << kBits) - 1;

template <unsigned kBits>
void fit(std::span<const float> x, std::span<const float> importance, const BlockSpec&, Grid& g) {
  float d, min;
  if (importance.empty()) {
    // The first of equals, also of zeros of either sign.
    min = *std::min_element(x.begin(), x.end());
    d = (*std::max_element(x.begin(), x.end()) - min) / kTop<kBits>;
  } else {
    // As if the block were the row.
    float weights[ggml::kSmall];
    uint8_t codes[ggml::kSmall];
    const float sigma2 = ggml::mean_square(x.data(), x.size());
    ggml::importance_weights(x.data(), importance.data(), sigma2, x.size(), weights);
    const ggml::OffsetGrid grid = ggml::fit_offset(x, weights, kTop<kBits>, kWeightedTrials, codes);
    d = grid.scale;
    min = -grid.offset;
  }
  g.scale[0] = ggml::through_f16(d);
  g.offset[0] = ggml::through_f16(min);
  g.by[0] = ggml::inverse_or_zero(d);
  g.from[0] = min;
}

template <unsigned kBits>
uint8_t round(float x, size_t, const Grid& g, const BlockSpec&) {
  if (std::isinf(g.by[0])) return 0;
  return ggml::truncated_code((x - g.from[0]) * g.by[0] + 0.5f, kTop<kBits>);
}

template <unsigned kBits>
float decode_code(uint8_t code, size_t, const Grid& g, const BlockSpec&) {
  return static_cast<float>(code) * g.scale[0] + g.offset[0];
}

template <unsigned kBits>
void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&, const Planes& out) {
  ggml::store_f16(out[0], g.scale[0]);
  ggml::store_f16(out[0] + 2, g.offset[0]);
  ggml::pack_small_codes<kBits>(codes.data(), out[0] + 4);
}

template <unsigned kBits>
void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  g.scale[0] = ggml::load_f16(in[0]);
  g.offset[0] = g.from[0] = ggml::load_f16(in[0] + 2);
  g.by[0] = ggml::inverse_or_zero(g.scale[0]);
  ggml::unpack_small_codes<kBits>(in[0] + 4, codes.data());
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
  const ggml::OffsetGrid grid =
      ggml::fit_offset({x, ggml::kSmall}, weights, kTop<kBits>, kWeightedTrials, codes);
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

}  // namespace phiquant::quant::q4_1
