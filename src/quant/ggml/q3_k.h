// q3_k: 3 bits, sub-blocks of 16 with signed 6-bit scales, GGUF tensor type 11.
// Source:   llama.cpp b11434, ggml-quants.c, quantize_row_q3_K_ref and make_q3_quants; with
//           importance quantize_row_q3_K_impl.
// Layout:   256 values, 110 bytes: 32 bytes of third bits, bit g of byte m for value 32 g + m; 64
//           bytes of low pairs as in q2_k; 12 bytes of scales s + 32: low four bits of scale j in
//           the low (j < 8) or high half of byte j % 8, high two at bit 2 (j / 4) of byte 8 + j %
//           4; f16 d.
// Value:    x ~ d * s * (code - 4), code in 0..7, s in -32..31.
// Search:   without importance descend_symmetric of each sub-block, d = 1 / (-32 / largest scale),
//           s = nearest(scale * (-32 / largest)). With it fit_symmetric of each sub-block, weights
//           importance * sqrt(2 * mean x^2 of the block + x^2), then fit_symmetric of the scales,
//           weighted with their sub-blocks' sums.
// Codes:    nearest(x / (d * s)) with d as stored. Where d * s is 0 the codes of the search stay.
#pragma once

#include "quant/ggml/blocks.h"

namespace phiquant::quant::q3_k {

constexpr size_t kValues = ggml::kSuper, kBytes = 110, kSub = 16, kSubs = 16;
constexpr int kHalf = 4, kHalfScale = 32, kPasses = 5;

// One pass over all codes (signed, in float): each moves to what is best with the others as they
// are, weights x^2, where that is strictly better. Whether any moved.
inline bool descend(const float* x, float* codes, ggml::SymmetricSums& sums) {
  bool moved = false;
  for (size_t i = 0; i < kSub; ++i) {
    const float w = x[i] * x[i];
    float lx = sums.lx - w * x[i] * codes[i];
    if (!(lx > 0)) continue;
    float l2 = sums.l2 - w * codes[i] * codes[i];
    const auto code = static_cast<float>(ggml::nearest_code(x[i] * l2 / lx, -kHalf, kHalf - 1));
    if (code == codes[i]) continue;
    lx += w * x[i] * code;
    l2 += w * code * code;
    if (!(l2 > 0) || !(lx * lx * sums.l2 > sums.lx * sums.lx * l2)) continue;
    codes[i] = code;
    sums = {lx, l2};
    moved = true;
  }
  return moved;
}

// The scale of 16 values by coordinate descent from the codes that reach the largest. A group of
// zeros: scale 0, codes 0.
inline float descend_symmetric(const float* x, uint8_t* codes) {
  const float largest = ggml::first_largest({x, kSub});
  if (std::fabs(largest) < ggml::kZeroGroup) {
    std::fill_n(codes, kSub, uint8_t{0});
    return 0;
  }
  const float inverse = -kHalf / largest;
  float levels[kSub];
  ggml::SymmetricSums sums;
  for (size_t i = 0; i < kSub; ++i) {
    levels[i] = static_cast<float>(ggml::nearest_code(inverse * x[i], -kHalf, kHalf - 1));
    const float w = x[i] * x[i];
    sums.lx += w * x[i] * levels[i];
    sums.l2 += w * levels[i] * levels[i];
  }
  for (int pass = 0; pass < kPasses && descend(x, levels, sums); ++pass) {
  }
  for (size_t i = 0; i < kSub; ++i) codes[i] = static_cast<uint8_t>(levels[i] + kHalf);
  return sums.l2 > 0 ? sums.lx / sums.l2 : 0.0f;
}

// A block on its way: codes of the search, scales as stored (s + 32), d.
struct Block {
  uint8_t codes[kValues];
  uint8_t stored[kSubs] = {};
  float d = 0;
};

// From the sub-blocks' scales, without importance.
inline void store_scales(const float* scales, Block& b) {
  const float largest = ggml::first_largest({scales, kSubs});
  if (largest == 0) return;
  const float inverse = -kHalfScale / largest;
  for (size_t s = 0; s < kSubs; ++s) {
    const auto steps = static_cast<int8_t>(ggml::nearest_int(inverse * scales[s]));
    b.stored[s] =
        static_cast<uint8_t>(std::clamp<int>(steps, -kHalfScale, kHalfScale - 1) + kHalfScale);
  }
  b.d = 1 / inverse;
}

inline void search(const float* x, Block& b) {
  float scales[kSubs];
  for (size_t s = 0; s < kSubs; ++s)
    scales[s] = descend_symmetric(x + kSub * s, b.codes + kSub * s);
  store_scales(scales, b);
}

inline void search(const float* x, const float* importance, Block& b) {
  const float sigma2 = ggml::mean_square(x, kValues, 2.0f);
  float scales[kSubs], sub_weights[kSubs] = {};
  for (size_t s = 0; s < kSubs; ++s) {
    float w[kSub];
    ggml::importance_weights(x + kSub * s, importance + kSub * s, sigma2, kSub, w);
    for (const float v : w) sub_weights[s] += v;
    scales[s] = ggml::fit_symmetric({x + kSub * s, kSub}, w, kHalf, b.codes + kSub * s);
  }
  b.d = ggml::fit_symmetric(scales, sub_weights, kHalfScale, b.stored);
}

// Scales and d to their places; returns d as a reader sees it.
inline float put_scales(const Block& b, std::byte* out) {
  uint8_t packed[12] = {};
  for (unsigned s = 0; s < kSubs; ++s) {
    const unsigned low = b.stored[s] & 15u, high = b.stored[s] >> 4;
    packed[s % 8] = static_cast<uint8_t>(packed[s % 8] | low << (s / 8 * 4));
    packed[8 + s % 4] = static_cast<uint8_t>(packed[8 + s % 4] | high << (s / 4 * 2));
  }
  std::memcpy(out + 96, packed, 12);
  return ggml::through_f16(out + 108, b.d);
}

inline void put_codes(const uint8_t* codes, std::byte* out) {
  for (size_t m = 0; m < 32; ++m) {
    unsigned third = 0;
    for (size_t g = 0; g < 8; ++g) third |= static_cast<unsigned>(codes[32 * g + m] >> 2) << g;
    out[m] = static_cast<std::byte>(third);
  }
  for (size_t m = 0; m < 64; ++m) {
    const uint8_t* c = codes + m / 32 * 128 + m % 32;
    out[32 + m] =
        static_cast<std::byte>((c[0] & 3) | (c[32] & 3) << 2 | (c[64] & 3) << 4 | (c[96] & 3) << 6);
  }
}

inline uint8_t code_of(float x, float scale) {
  return static_cast<uint8_t>(ggml::saturated_code(x / scale, -kHalf, kHalf - 1) + kHalf);
}
inline float value_of(uint8_t code, float scale) {
  return scale * static_cast<float>(code - kHalf);
}

// The scales of x, stored in `out`, and the codes of the search; returns d as a reader sees it.
inline float encode_scales(const float* x, const float* importance, Block& b, std::byte* out) {
  importance ? search(x, importance, b) : search(x, b);
  return put_scales(b, out);
}

inline void encode_block(const float* x, const float* importance, std::byte* out) {
  Block b;
  const float d = encode_scales(x, importance, b, out);
  for (size_t s = 0; s < kSubs; ++s) {
    const float scale = d * static_cast<float>(b.stored[s] - kHalfScale);
    if (scale == 0) continue;
    for (size_t i = kSub * s; i < kSub * (s + 1); ++i) b.codes[i] = code_of(x[i], scale);
  }
  put_codes(b.codes, out);
}

inline void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kValues, kBytes>(tile, planes, encode_block);
}

// From the bytes of a block: its scales, and the codes of sub-block s.
inline Grid load_scales(const std::byte* in) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  Grid g;
  g.d = ggml::load_f16(in + 108);
  for (size_t s = 0; s < kSubs; ++s) {
    const int stored =
        (bytes[96 + s % 8] >> (s / 8 * 4) & 15) | (bytes[104 + s % 4] >> (s / 4 * 2) & 3) << 4;
    g.steps[s] = static_cast<int16_t>(stored - kHalfScale);
    g.scale[s] = g.d * static_cast<float>(stored - kHalfScale);
  }
  return g;
}
inline void load_codes(const std::byte* in, size_t s, uint8_t* codes) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  const uint8_t *third = bytes + s % 2 * kSub, *low = bytes + 32 + s / 8 * 32 + s % 2 * kSub;
  const size_t shift = s % 8 / 2 * 2, bit = s / 2;
  for (size_t i = 0; i < kSub; ++i)
    codes[i] = static_cast<uint8_t>((low[i] >> shift & 3) | (third[i] >> bit & 1) << 2);
}

inline void decode(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                   float* out) {
  ggml::for_each_stored<kValues, kBytes>(planes, n_rows * k, out,
                                         [](const std::byte* in, float* x) {
                                           const Grid g = load_scales(in);
                                           for (size_t s = 0; s < kSubs; ++s, x += kSub) {
                                             uint8_t codes[kSub];
                                             load_codes(in, s, codes);
                                             for (size_t i = 0; i < kSub; ++i)
                                               x[i] = value_of(codes[i], g.scale[s]);
                                           }
                                         });
}

inline void fit(std::span<const float> x, std::span<const float> importance, const BlockSpec&,
                Grid& g) {
  Block b;
  std::byte scratch[kBytes];
  encode_scales(x.data(), importance.empty() ? nullptr : importance.data(), b, scratch);
  g = load_scales(scratch);
}

inline uint8_t round(float x, size_t i, const Grid& g, const BlockSpec&) {
  const float scale = g.scale[i / kSub];
  return scale == 0 ? uint8_t{0} : code_of(x, scale);
}

inline float decode_code(uint8_t code, size_t i, const Grid& g, const BlockSpec&) {
  return value_of(code, g.scale[i / kSub]);
}

inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                 const Planes& out) {
  Block b;
  for (size_t s = 0; s < kSubs; ++s) b.stored[s] = static_cast<uint8_t>(g.steps[s] + kHalfScale);
  b.d = g.d;
  put_scales(b, out[0]);
  put_codes(codes.data(), out[0]);
}

inline void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  g = load_scales(in[0]);
  for (size_t s = 0; s < kSubs; ++s) load_codes(in[0], s, codes.data() + kSub * s);
}

inline constexpr EncodingParts kParts = {ggml::block_shape<kValues, kSub, kBytes, 2 * kHalf>,
                                         fit,
                                         round,
                                         decode_code,
                                         pack,
                                         unpack,
                                         PeerRule::parts_mostly};

// The same bytes as encode_ref, fast.
void encode(const RowTile& tile, const RowParams& params, const RowPlanes& planes);

}  // namespace phiquant::quant::q3_k
