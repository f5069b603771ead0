// q6_k: 256 values in sixteen sub-blocks of 16, each with a scale of eight bits, multiples of one
// float. The specification.
// Source:  ggml src/ggml-quants.c of llama.cpp b11434, quantize_row_q6_K_ref, ..._q6_K_impl; GGUF
//          type 14.
// Layout:  128 bytes with the lower four bits: of each 128 values l, 32 + l, 64 + l and 96 + l byte
//          l of 64 has the first and third, byte 32 + l the second and fourth; 64 bytes with the
//          upper two bits of the same four; 16 int8 scales; f16 d.
// Value:   x ~ d * scale * (code - 32).
// Search:  fit_symmetric for each sub-block, weights x^2, with importance the importance itself.
//          The scale of the largest magnitude becomes -128, the others are rounded to its 128ths,
//          and codes made anew with what was stored.
// Edges:   no scale of 1e-15 or more: every byte 0. A sub-block whose stored scale is 0 keeps the
//          codes that its search ended with.
#pragma once

#include "quant/ggml/blocks.h"

namespace phiquant::quant::q6_k {

inline constexpr size_t kSubBlocks = 16, kBytes = 210, kScales = 192;

inline void store_codes(const uint8_t* codes, std::byte* out) {
  for (size_t h = 0; h < 2; ++h) {
    const uint8_t* c = codes + 128 * h;
    for (size_t l = 0; l < 64; ++l)
      out[64 * h + l] = static_cast<std::byte>((c[l] & 15) | (c[l + 64] & 15) << 4);
    for (size_t l = 0; l < 32; ++l)
      out[128 + 32 * h + l] = static_cast<std::byte>((c[l] >> 4) | (c[l + 32] >> 4) << 2 |
                                                     (c[l + 64] >> 4) << 4 | (c[l + 96] >> 4) << 6);
  }
}

// Rounds the scales of a super-block and writes them with their half, which is returned; nothing,
// and only zeros are written, where all are too small.
inline bool store_scales(const float* scales, std::byte* out, float& d, int8_t* rounded) {
  const float largest = ggml::first_largest({scales, kSubBlocks});
  if (std::fabs(largest) < ggml::kZeroGroup) {
    std::memset(out, 0, kBytes);
    return false;
  }
  const float inverse = -128.0f / largest;
  d = ggml::through_f16(out + kBytes - 2, 1 / inverse);
  for (size_t j = 0; j < kSubBlocks; ++j)
    rounded[j] = static_cast<int8_t>(std::min(127, ggml::nearest_int(inverse * scales[j])));
  std::memcpy(out + kScales, rounded, kSubBlocks);
  return true;
}

inline uint8_t code_of(float x, float scale) {
  return static_cast<uint8_t>(ggml::saturated_code(x / scale, -32, 31) + 32);
}

// The scales of the sub-blocks, and the codes that the search for them ends with.
inline void search(const float* x, const float* importance, float* scales, uint8_t* codes) {
  for (size_t j = 0; j < kSubBlocks; ++j)
    scales[j] = ggml::fit_symmetric({x + 16 * j, 16}, importance ? importance + 16 * j : nullptr,
                                    32, codes + 16 * j);
}

inline void encode_block_ref(const float* x, const float* importance, std::byte* out) {
  float scales[kSubBlocks], d = 0;
  uint8_t codes[ggml::kSuper];
  int8_t rounded[kSubBlocks];
  search(x, importance, scales, codes);
  if (!store_scales(scales, out, d, rounded)) return;
  for (size_t j = 0; j < kSubBlocks; ++j) {
    const float scale = d * static_cast<float>(rounded[j]);
    if (scale == 0) continue;
    for (size_t i = 16 * j; i < 16 * (j + 1); ++i) codes[i] = code_of(x[i], scale);
  }
  store_codes(codes, out);
}

inline Grid grid_of(float d, const int8_t* rounded) {
  Grid g;
  g.d = d;
  for (size_t j = 0; j < kSubBlocks; ++j) {
    g.steps[j] = rounded[j];
    g.scale[j] = d * static_cast<float>(rounded[j]);
  }
  return g;
}

inline void fit(std::span<const float> x, std::span<const float> importance, const BlockSpec&,
                Grid& g) {
  float scales[kSubBlocks], d = 0;
  uint8_t codes[ggml::kSuper];
  int8_t rounded[kSubBlocks] = {};
  std::byte scratch[kBytes];
  search(x.data(), importance.empty() ? nullptr : importance.data(), scales, codes);
  store_scales(scales, scratch, d, rounded);
  g = grid_of(d, rounded);
}

inline uint8_t round(float x, size_t i, const Grid& g, const BlockSpec&) {
  const float scale = g.scale[i / 16];
  return scale == 0 ? uint8_t{0} : code_of(x, scale);
}

inline float decode_code(uint8_t code, size_t i, const Grid& g, const BlockSpec&) {
  return g.scale[i / 16] * static_cast<float>(code - 32);
}

inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                 const Planes& out) {
  store_codes(codes.data(), out[0]);
  for (size_t j = 0; j < kSubBlocks; ++j) out[0][kScales + j] = static_cast<std::byte>(g.steps[j]);
  ggml::store_f16(out[0] + kBytes - 2, g.d);
}

inline void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  const std::byte* block = in[0];
  int8_t rounded[kSubBlocks];
  std::memcpy(rounded, block + kScales, kSubBlocks);
  g = grid_of(ggml::load_f16(block + kBytes - 2), rounded);
  for (size_t i = 0; i < ggml::kSuper; ++i) {
    const size_t half = i / 128, l = i % 128;
    const auto low = static_cast<unsigned>(block[64 * half + l % 64]) >> 4 * (l / 64) & 15;
    const auto high = static_cast<unsigned>(block[128 + 32 * half + l % 32]) >> 2 * (l / 32) & 3;
    codes[i] = static_cast<uint8_t>(low | high << 4);
  }
}

inline constexpr EncodingParts kParts = {ggml::block_shape<ggml::kSuper, 16, kBytes, 64>,
                                         fit,
                                         round,
                                         decode_code,
                                         pack,
                                         unpack,
                                         PeerRule::parts_mostly};

inline void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  ggml::for_each_block<ggml::kSuper, kBytes>(tile, out, encode_block_ref);
}

inline void decode_ref(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&,
                       float* x) {
  ggml::for_each_stored<ggml::kSuper, kBytes>(in, n_rows * k, x,
                                              ggml::decode_by_parts<kParts, ggml::kSuper>);
}

// The same, fast.
void encode(const RowTile& tile, const RowParams&, const RowPlanes& out);
void decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x);

}  // namespace phiquant::quant::q6_k
