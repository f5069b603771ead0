// q4_k, q5_k: 256 values in eight sub-blocks of 32, each with a scale and an offset of six bits,
// which are multiples of two floats. The specification.
// Source:  ggml src/ggml-quants.c of llama.cpp b11434, quantize_row_q4_K_ref, ..._q4_K_impl and the
//          same of q5_K; GGUF types 12 and 13.
// Layout:  f16 d, f16 dmin; 12 bytes of scales (quant/ggml/blocks.h); of q5_k 32 bytes of fifth
// bits:
//          byte l, bit 2 g of value l and bit 2 g + 1 of value 32 + l of the g-th 64; 128 bytes of
//          nibbles, values l and 32 + l of each 64.
// Value:   x ~ d * scale * code - dmin * offset.
// Search:  fit_offset for each sub-block with weights sqrt(mean x^2 of the sub-block) + |x|, trials
//          from -1 to 1 (q4_k) or -1/2 to 1 (q5_k) by 1/10. Scales are then rounded to 63rds of the
//          largest, and codes made anew with what was stored.
// Importance: weights importance * sqrt(2 * mean x^2 of the 256 + x^2), 37 trials, and scales by
//          fit_positive, each sub-block weighing the sum of its weights.
// Edges:   a sub-block whose stored scale is 0 keeps the codes that its search ended with.
#pragma once

#include "quant/ggml/q4_1.h"

namespace phiquant::quant::q4_k {

inline constexpr size_t kSubBlocks = 8;

template <unsigned kBits>
inline constexpr size_t kBytes = kBits == 5 ? 176 : 144;
template <unsigned kBits>
inline constexpr int kTop = (1 << kBits) - 1;
template <unsigned kBits>
inline constexpr ggml::OffsetTrials kTrials =
    kBits == 5 ? ggml::OffsetTrials{-0.5f, 0.1f, 15} : ggml::OffsetTrials{-1.0f, 0.1f, 20};

// What the search gives for a super-block.
struct Fit {
  float scales[kSubBlocks], offsets[kSubBlocks];
  float weights[kSubBlocks];  // sums, with importance only
};

// Six-bit scales of a super-block, and the halves they multiply.
struct Stored {
  float d, dmin;
  uint8_t scales[kSubBlocks], offsets[kSubBlocks];

  float scale(size_t j) const { return d * static_cast<float>(scales[j]); }
  float offset(size_t j) const { return dmin * static_cast<float>(offsets[j]); }
};

// Rounds to 63rds of the largest; returns what one of them is.
inline float round_scales(const float* values, uint8_t* codes) {
  float max = 0;
  for (size_t j = 0; j < kSubBlocks; ++j) max = std::max(max, values[j]);
  const float inverse = max > 0 ? 63.0f / max : 0.0f;
  for (size_t j = 0; j < kSubBlocks; ++j)
    codes[j] = std::min(uint8_t{63}, static_cast<uint8_t>(ggml::nearest_int(inverse * values[j])));
  return max / 63.0f;
}

// Rounds scales and offsets, and writes them and their halves to the block.
template <unsigned kBits>
Stored store_scales(const Fit& fit, bool weighted, std::byte* out) {
  Stored s;
  const float d = weighted ? ggml::fit_positive(fit.scales, fit.weights, 63, s.scales)
                           : round_scales(fit.scales, s.scales);
  const float dmin = weighted ? ggml::fit_positive(fit.offsets, fit.weights, 63, s.offsets)
                              : round_scales(fit.offsets, s.offsets);
  // A code that wrapped: q5_k clamps it, q4_k lets it spill into its neighbour.
  if (kBits == 5)
    for (size_t j = 0; j < kSubBlocks; ++j) {
      s.scales[j] = std::min(s.scales[j], uint8_t{63});
      s.offsets[j] = std::min(s.offsets[j], uint8_t{63});
    }
  s.d = ggml::through_f16(out, d);
  s.dmin = ggml::through_f16(out + 2, dmin);
  ggml::pack_six_bits(s.scales, s.offsets, out + 4);
  ggml::unpack_six_bits(out + 4, s.scales, s.offsets);
  return s;
}

template <unsigned kBits>
void store_codes(const uint8_t* codes, std::byte* out) {
  std::byte* nibbles = out + kBytes<kBits> - 128;
  for (size_t g = 0; g < 4; ++g) ggml::pack_nibbles(codes + 64 * g, 32, nibbles + 32 * g);
  if (kBits != 5) return;
  for (size_t l = 0; l < 32; ++l) {
    unsigned bits = 0;
    for (unsigned j = 0; j < kSubBlocks; ++j) bits |= (codes[32 * j + l] >> 4 & 1u) << j;
    out[16 + l] = static_cast<std::byte>(bits);
  }
}

inline void fit_block(const float* x, const float* importance, int top,
                      const ggml::OffsetTrials& trials, Fit& fit, uint8_t* codes) {
  const float sigma2 = importance ? ggml::mean_square(x, ggml::kSuper, 2) : 0;
  for (size_t j = 0; j < kSubBlocks; ++j) {
    const float* sub = x + 32 * j;
    float weights[32];
    if (importance) {
      ggml::importance_weights(sub, importance + 32 * j, sigma2, 32, weights);
    } else {
      const float mean_root = std::sqrt(ggml::mean_square(sub, 32));
      for (size_t i = 0; i < 32; ++i) weights[i] = mean_root + std::fabs(sub[i]);
    }
    fit.weights[j] = 0;
    for (const float w : weights) fit.weights[j] += w;
    const ggml::OffsetGrid grid = ggml::fit_offset({sub, 32}, weights, top, trials, codes + 32 * j);
    fit.scales[j] = grid.scale;
    fit.offsets[j] = grid.offset;
  }
}

inline uint8_t code_of(float x, float scale, float offset, int top) {
  return static_cast<uint8_t>(ggml::saturated_code((x + offset) / scale, 0, top));
}

// Codes for the scales as they are stored.
inline void encode_again(const float* x, const Stored& s, int top, uint8_t* codes) {
  for (size_t j = 0; j < kSubBlocks; ++j) {
    const float d = s.scale(j), offset = s.offset(j);
    if (d == 0) continue;
    for (size_t i = 32 * j; i < 32 * (j + 1); ++i) codes[i] = code_of(x[i], d, offset, top);
  }
}

inline Grid grid_of(const Stored& s) {
  Grid g;
  g.d = s.d;
  g.dmin = s.dmin;
  for (size_t j = 0; j < kSubBlocks; ++j) {
    g.steps[j] = s.scales[j];
    g.min_steps[j] = s.offsets[j];
    g.scale[j] = s.scale(j);
    g.offset[j] = s.offset(j);
  }
  return g;
}

template <unsigned kBits>
void fit(std::span<const float> x, std::span<const float> importance, const BlockSpec&, Grid& g) {
  const bool weighted = !importance.empty();
  Fit found;
  uint8_t codes[ggml::kSuper];
  std::byte scratch[kBytes<kBits>];
  fit_block(x.data(), weighted ? importance.data() : nullptr, kTop<kBits>,
            weighted ? q4_1::kWeightedTrials : kTrials<kBits>, found, codes);
  g = grid_of(store_scales<kBits>(found, weighted, scratch));
}

template <unsigned kBits>
uint8_t round(float x, size_t i, const Grid& g, const BlockSpec&) {
  const size_t j = i / 32;
  return g.scale[j] == 0 ? uint8_t{0} : code_of(x, g.scale[j], g.offset[j], kTop<kBits>);
}

inline float decode_code(uint8_t code, size_t i, const Grid& g, const BlockSpec&) {
  return g.scale[i / 32] * static_cast<float>(code) - g.offset[i / 32];
}

template <unsigned kBits>
void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&, const Planes& out) {
  uint8_t scales[kSubBlocks], offsets[kSubBlocks];
  std::copy_n(g.steps.begin(), kSubBlocks, scales);
  std::copy_n(g.min_steps.begin(), kSubBlocks, offsets);
  ggml::store_f16(out[0], g.d);
  ggml::store_f16(out[0] + 2, g.dmin);
  ggml::pack_six_bits(scales, offsets, out[0] + 4);
  store_codes<kBits>(codes.data(), out[0]);
}

template <unsigned kBits>
void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  const std::byte* block = in[0];
  Stored s{ggml::load_f16(block), ggml::load_f16(block + 2), {}, {}};
  ggml::unpack_six_bits(block + 4, s.scales, s.offsets);
  g = grid_of(s);
  for (size_t i = 0; i < ggml::kSuper; ++i) {
    const size_t j = i / 32, l = i % 32;
    const auto byte = static_cast<unsigned>(block[kBytes<kBits> - 128 + 32 * (j / 2) + l]);
    unsigned code = byte >> 4 * (j % 2) & 15;
    if (kBits == 5) code |= (static_cast<unsigned>(block[16 + l]) >> j & 1) << 4;
    codes[i] = static_cast<uint8_t>(code);
  }
}

template <unsigned kBits>
inline constexpr EncodingParts kParts = {
    ggml::block_shape<ggml::kSuper, 32, kBytes<kBits>, 1 << kBits>,
    fit<kBits>,
    round<kBits>,
    decode_code,
    pack<kBits>,
    unpack<kBits>,
    PeerRule::parts_mostly};

template <unsigned kBits>
void encode_block_ref(const float* x, const float* importance, std::byte* out) {
  Fit fit;
  uint8_t codes[ggml::kSuper];
  fit_block(x, importance, kTop<kBits>, importance ? q4_1::kWeightedTrials : kTrials<kBits>, fit,
            codes);
  const Stored stored = store_scales<kBits>(fit, importance != nullptr, out);
  encode_again(x, stored, kTop<kBits>, codes);
  store_codes<kBits>(codes, out);
}

template <unsigned kBits>
void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  ggml::for_each_block<ggml::kSuper, kBytes<kBits>>(tile, out, encode_block_ref<kBits>);
}

template <unsigned kBits>
void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  ggml::for_each_stored<ggml::kSuper, kBytes<kBits>>(
      in, n_rows * k, x, ggml::decode_by_parts<kParts<kBits>, ggml::kSuper>);
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

}  // namespace phiquant::quant::q4_k
