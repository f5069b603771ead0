// q2_k: 2 bits, sub-blocks of 16 with 4-bit scales and minimums, GGUF tensor type 10.
// Source:   llama.cpp b11434, ggml-quants.c, quantize_row_q2_K_ref; with importance
//           quantize_row_q2_K_impl.
// Layout:   256 values, 84 bytes: 16 bytes, a scale in the low half and a minimum in the high
//           half; 64 bytes of codes: byte m of each half (128 values) holds values m, m + 32,
//           m + 64 and m + 96, the first in the low bits; f16 d; f16 dmin.
// Value:    x ~ d * scale * code - dmin * minimum.
// Search:   fit_offset of each sub-block. The error is the sum of |x| * |x - y| without importance,
//           of w * (x - y)^2 with it, w = importance * sqrt(mean x^2 of the block + x^2). The
//           scales are stored in steps of a fifteenth of the largest, so are the minimums; with
//           importance fit_positive chooses the steps.
// Codes:    nearest((x + dmin * minimum) / (d * scale)), with d and dmin as stored. Where d * scale
//           is 0 the codes of the search stay.
#pragma once

#include "quant/ggml/blocks.h"

namespace phiquant::quant::q2_k {

constexpr size_t kValues = ggml::kSuper, kBytes = 84, kSub = 16, kSubs = 16;
constexpr int kMaxCode = 3, kMaxScale = 15;
constexpr ggml::OffsetTrials kTrials = {-0.5f, 0.1f, 15, true};
constexpr ggml::OffsetTrials kImportanceTrials = {-0.9f, 0.05f, 36, false};

// A block on its way: what the search leaves, and the stored form of scales and minimums.
struct Block {
  float scales[kSubs], minimums[kSubs], sub_weights[kSubs];
  uint8_t codes[kValues];
  uint8_t stored_scales[kSubs], stored_minimums[kSubs];
  float d, dmin;
};

inline void search(const float* x, Block& b) {
  for (size_t s = 0; s < kSubs; ++s) {
    float w[kSub];
    for (size_t i = 0; i < kSub; ++i) w[i] = std::fabs(x[kSub * s + i]);
    const ggml::OffsetGrid grid =
        ggml::fit_offset({x + kSub * s, kSub}, w, kMaxCode, kTrials, b.codes + kSub * s);
    b.scales[s] = grid.scale;
    b.minimums[s] = grid.offset;
  }
}

inline void search(const float* x, const float* importance, Block& b) {
  const float sigma2 = ggml::mean_square(x, kValues);
  for (size_t s = 0; s < kSubs; ++s) {
    float w[kSub], sum = 0;
    ggml::importance_weights(x + kSub * s, importance + kSub * s, sigma2, kSub, w);
    for (const float v : w) sum += v;
    const ggml::OffsetGrid grid =
        ggml::fit_offset({x + kSub * s, kSub}, w, kMaxCode, kImportanceTrials, b.codes + kSub * s);
    b.scales[s] = grid.scale;
    b.minimums[s] = grid.offset;
    b.sub_weights[s] = sum;
  }
}

// Steps of a fifteenth of the largest, wrapped to a byte; returns the step.
inline float store_steps(const float* values, uint8_t* stored) {
  float largest = 0;
  for (size_t s = 0; s < kSubs; ++s)
    if (values[s] > largest) largest = values[s];
  const float inverse = largest > 0 ? kMaxScale / largest : 0.0f;
  for (size_t s = 0; s < kSubs; ++s)
    stored[s] =
        largest > 0 ? static_cast<uint8_t>(ggml::nearest_int(inverse * values[s])) : uint8_t{0};
  return largest > 0 ? largest / kMaxScale : 0.0f;
}

// The stored form of scales and minimums, from the search's result.
inline void store_grid(bool importance, Block& b) {
  if (importance) {
    b.d = ggml::fit_positive(b.scales, b.sub_weights, kMaxScale, b.stored_scales);
    b.dmin = ggml::fit_positive(b.minimums, b.sub_weights, kMaxScale, b.stored_minimums);
  } else {
    b.d = store_steps(b.scales, b.stored_scales);
    b.dmin = store_steps(b.minimums, b.stored_minimums);
  }
}

// Scales, d and dmin to their places in `out`; b then holds them as a reader sees them.
inline void put_grid(Block& b, std::byte* out) {
  for (size_t s = 0; s < kSubs; ++s) {
    const auto both = static_cast<uint8_t>(b.stored_scales[s] | b.stored_minimums[s] << 4);
    out[s] = static_cast<std::byte>(both);
    b.stored_scales[s] = both & 15;
    b.stored_minimums[s] = both >> 4;
  }
  b.d = ggml::through_f16(out + 80, b.d);
  b.dmin = ggml::through_f16(out + 82, b.dmin);
}

inline void put_codes(const uint8_t* codes, std::byte* out) {
  for (size_t m = 0; m < 64; ++m) {
    const uint8_t* c = codes + m / 32 * 128 + m % 32;
    out[m] = static_cast<std::byte>(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
  }
}

inline uint8_t code_of(float x, float scale, float minimum) {
  return static_cast<uint8_t>(ggml::saturated_code((x + minimum) / scale, 0, kMaxCode));
}
inline float value_of(uint8_t code, float scale, float minimum) {
  return scale * static_cast<float>(code) - minimum;
}

// The scales of x, stored in `out`, and the codes of the search.
inline void encode_grid(const float* x, const float* importance, Block& b, std::byte* out) {
  importance ? search(x, importance, b) : search(x, b);
  store_grid(importance != nullptr, b);
  put_grid(b, out);
}

inline void encode_block(const float* x, const float* importance, std::byte* out) {
  Block b;
  encode_grid(x, importance, b, out);
  for (size_t s = 0; s < kSubs; ++s) {
    const float d = b.d * b.stored_scales[s], m = b.dmin * b.stored_minimums[s];
    if (d == 0) continue;
    for (size_t i = kSub * s; i < kSub * (s + 1); ++i) b.codes[i] = code_of(x[i], d, m);
  }
  put_codes(b.codes, out + 16);
}

inline void encode_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kValues, kBytes>(tile, planes, encode_block);
}

// From the bytes of a block: its scales, and the codes of sub-block s.
inline Grid load_grid(const std::byte* in) {
  Grid g;
  g.d = ggml::load_f16(in + 80);
  g.dmin = ggml::load_f16(in + 82);
  for (size_t s = 0; s < kSubs; ++s) {
    const auto both = static_cast<uint8_t>(in[s]);
    g.steps[s] = both & 15;
    g.min_steps[s] = both >> 4;
    g.scale[s] = g.d * static_cast<float>(both & 15);
    g.offset[s] = g.dmin * static_cast<float>(both >> 4);
  }
  return g;
}
inline void load_codes(const std::byte* in, size_t s, uint8_t* codes) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(in + 16 + s / 8 * 32 + s % 2 * kSub);
  const size_t shift = s % 8 / 2 * 2;
  for (size_t i = 0; i < kSub; ++i) codes[i] = bytes[i] >> shift & 3;
}

inline void decode(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                   float* out) {
  ggml::for_each_stored<kValues, kBytes>(planes, n_rows * k, out,
                                         [](const std::byte* in, float* x) {
                                           const Grid g = load_grid(in);
                                           for (size_t s = 0; s < kSubs; ++s, x += kSub) {
                                             uint8_t codes[kSub];
                                             load_codes(in, s, codes);
                                             for (size_t i = 0; i < kSub; ++i)
                                               x[i] = value_of(codes[i], g.scale[s], g.offset[s]);
                                           }
                                         });
}

inline void fit(std::span<const float> x, std::span<const float> importance, const BlockSpec&,
                Grid& g) {
  Block b;
  std::byte scratch[kBytes];
  encode_grid(x.data(), importance.empty() ? nullptr : importance.data(), b, scratch);
  g = load_grid(scratch);
}

inline uint8_t round(float x, size_t i, const Grid& g, const BlockSpec&) {
  const size_t s = i / kSub;
  return g.scale[s] == 0 ? uint8_t{0} : code_of(x, g.scale[s], g.offset[s]);
}

inline float decode_code(uint8_t code, size_t i, const Grid& g, const BlockSpec&) {
  return value_of(code, g.scale[i / kSub], g.offset[i / kSub]);
}

inline void pack(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                 const Planes& out) {
  for (size_t s = 0; s < kSubs; ++s)
    out[0][s] = static_cast<std::byte>(g.steps[s] | g.min_steps[s] << 4);
  put_codes(codes.data(), out[0] + 16);
  ggml::store_f16(out[0] + 80, g.d);
  ggml::store_f16(out[0] + 82, g.dmin);
}

inline void unpack(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  g = load_grid(in[0]);
  for (size_t s = 0; s < kSubs; ++s) load_codes(in[0], s, codes.data() + kSub * s);
}

inline constexpr EncodingParts kParts = {ggml::block_shape<kValues, kSub, kBytes, kMaxCode + 1>,
                                         fit,
                                         round,
                                         decode_code,
                                         pack,
                                         unpack,
                                         PeerRule::parts_mostly};

// The same bytes as encode_ref, fast.
void encode(const RowTile& tile, const RowParams& params, const RowPlanes& planes);

}  // namespace phiquant::quant::q2_k
