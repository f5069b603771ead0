// iq4_nl and iq4_xs: 4-bit codes into a table of 16 levels, GGUF tensor types 20 and 23.
// Source:   llama.cpp b11434, ggml-quants.c, quantize_row_iq4_nl_impl with 7 trials to each side.
// Layout:   iq4_nl, 32 values, 18 bytes: f16 scale, then 16 bytes: value j in the low half of byte
//           j, value j + 16 in its high half.
//           iq4_xs, 256 values, 136 bytes: f16 scale d, u16 with the high two bits of the 8 scales,
//           4 bytes with their low four bits, then 8 times 16 bytes of codes as above.
// Value:    iq4_nl x ~ scale * level; iq4_xs x ~ d * (s - 32) * level with the sub-block's s, six
//           bits.
// Search:   for 32 values with the largest m: the nearest levels of x * t for t = 127 / m, then for
//           t = (i - 127) / m, i = -7 .. 7; of each the scale by weighted least squares; the first
//           of those that explain most. Then iq4_nl: nearest levels of x * (1 / scale). iq4_xs: d =
//           -(largest scale) / 32, s = 32 + nearest(scale * (1 / d)), levels of x * (1 / (d *
//           (s - 32))) with d not yet rounded to f16.
// Weights:  x^2; with importance w * sqrt(sigma2 + x^2), sigma2 = 2 / n times the sum of squares of
//           the block (n = 32 or 256).
// Edges:    largest below 1e-15: scale 0. x * 0 = 0 takes level 1 (code 8), so a block of zeros is
//           all 8. A product that is not a number takes the last code. Sums in float, in order.
#pragma once

#include <array>
#include <cmath>

#include "quant/ggml/blocks.h"

namespace phiquant::quant::iq4 {

constexpr size_t kSub = 32, kNlBytes = 18, kXsBytes = 136, kXsSubs = 8;
constexpr int kTrials = 7;
constexpr std::array<float, 16> kLevels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                           1,    13,   25,  38,  53,  69,  89,  113};

// Index of the nearest level, the upper one of two.
inline uint8_t code_of(float x) {
  uint8_t code = 15;
  for (size_t i = 0; i < 15; ++i) code -= x < 0.5f * (kLevels[i] + kLevels[i + 1]);
  return code;
}

// The factor of trial i = 0 .. 15: what x is multiplied by before its level is looked up.
inline float trial_factor(int trial, float largest) {
  if (trial == 0) return 1 / (-largest / kLevels[0]);
  return static_cast<float>(trial - 1 - kTrials + static_cast<int>(kLevels[0])) / largest;
}

inline void weights(const float* x, size_t n, const float* importance, float sigma2, float* w) {
  for (size_t i = 0; i < n; ++i)
    w[i] = importance ? importance[i] * std::sqrt(sigma2 + x[i] * x[i]) : x[i] * x[i];
}

inline float sigma2_of(const float* x, size_t n) {
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return sum * (2.0f / static_cast<float>(n));
}

inline float fit_scale(const float* x, const float* w) {
  float largest = 0;
  for (size_t i = 0; i < kSub; ++i)
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  if (std::fabs(largest) < 1e-15f) return 0;
  float scale = 0, best = 0;
  for (int trial = 0; trial < 2 * kTrials + 2; ++trial) {
    const float factor = trial_factor(trial, largest);
    float sum_xl = 0, sum_l2 = 0;
    for (size_t i = 0; i < kSub; ++i) {
      const float level = kLevels[code_of(factor * x[i])];
      sum_xl += w[i] * level * x[i];
      sum_l2 += w[i] * level * level;
    }
    if (trial == 0) {
      scale = sum_l2 > 0 ? sum_xl / sum_l2 : 0;
      best = scale * sum_xl;
    } else if (sum_l2 > 0 && sum_xl * sum_xl > best * sum_l2) {
      scale = sum_xl / sum_l2;
      best = scale * sum_xl;
    }
  }
  return scale;
}

// Of the sub-blocks of n values, one after the other.
inline void fit_scales(std::span<const float> x, std::span<const float> importance, float* scales) {
  const float sigma2 = sigma2_of(x.data(), x.size());
  for (size_t s = 0; s < x.size() / kSub; ++s) {
    float w[kSub];
    weights(x.data() + kSub * s, kSub, importance.empty() ? nullptr : importance.data() + kSub * s,
            sigma2, w);
    scales[s] = fit_scale(x.data() + kSub * s, w);
  }
}

inline void fit_nl(std::span<const float> x, std::span<const float> importance, const BlockSpec&,
                   Grid& g) {
  float scale;
  fit_scales(x, importance, &scale);
  g.scale[0] = ggml::through_f16(scale);
  g.by[0] = ggml::inverse_or_zero(scale);
}

inline void fit_xs(std::span<const float> x, std::span<const float> importance, const BlockSpec&,
                   Grid& g) {
  float scales[kXsSubs];
  fit_scales(x, importance, scales);
  const float d = -ggml::first_largest(scales) / 32, inverse = ggml::inverse_or_zero(d);
  g.d = ggml::through_f16(d);
  for (size_t s = 0; s < kXsSubs; ++s) {
    const int steps = std::clamp(ggml::nearest_int(inverse * scales[s]), -32, 31);
    g.steps[s] = static_cast<int16_t>(steps);
    g.scale[s] = g.d * static_cast<float>(steps);
    g.by[s] = ggml::inverse_or_zero(d * static_cast<float>(steps));
  }
}

inline uint8_t round(float x, size_t i, const Grid& g, const BlockSpec&) {
  return code_of(g.by[i / kSub] * x);
}

inline float decode_code(uint8_t code, size_t i, const Grid& g, const BlockSpec&) {
  return g.scale[i / kSub] * kLevels[code];
}

inline void pack_nl(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                    const Planes& out) {
  ggml::store_f16(out[0], g.scale[0]);
  ggml::pack_nibbles(codes.data(), kSub / 2, out[0] + 2);
}

inline void unpack_nl(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  g.scale[0] = ggml::load_f16(in[0]);
  g.by[0] = ggml::inverse_or_zero(g.scale[0]);
  ggml::unpack_nibbles(in[0] + 2, kSub / 2, codes.data());
}

inline void pack_xs(std::span<const uint8_t> codes, const Grid& g, const BlockSpec&,
                    const Planes& out) {
  uint16_t high = 0;
  std::array<uint8_t, 4> low = {};
  for (size_t s = 0; s < kXsSubs; ++s) {
    const auto stored = static_cast<unsigned>(g.steps[s] + 32);
    high = static_cast<uint16_t>(high | (stored >> 4) << (2 * s));
    low[s / 2] = static_cast<uint8_t>(low[s / 2] | (stored & 15) << (4 * (s % 2)));
    ggml::pack_nibbles(codes.data() + kSub * s, kSub / 2, out[0] + 8 + 16 * s);
  }
  ggml::store_f16(out[0], g.d);
  std::memcpy(out[0] + 2, &high, 2);
  std::memcpy(out[0] + 4, low.data(), 4);
}

// steps[s], the stored scale of sub-block s less 32.
inline void load_xs_steps(const std::byte* in, int16_t* steps) {
  uint16_t high;
  std::memcpy(&high, in + 2, 2);
  for (size_t s = 0; s < kXsSubs; ++s) {
    const unsigned low = static_cast<unsigned>(in[4 + s / 2]) >> (4 * (s % 2)) & 15;
    steps[s] = static_cast<int16_t>(static_cast<int>(low | (high >> (2 * s) & 3) << 4) - 32);
  }
}

inline void unpack_xs(const PlanesView& in, const BlockSpec&, Grid& g, std::span<uint8_t> codes) {
  g.d = ggml::load_f16(in[0]);
  load_xs_steps(in[0], g.steps.data());
  for (size_t s = 0; s < kXsSubs; ++s) {
    g.scale[s] = g.d * static_cast<float>(g.steps[s]);
    g.by[s] = ggml::inverse_or_zero(g.scale[s]);
    ggml::unpack_nibbles(in[0] + 8 + 16 * s, kSub / 2, codes.data() + kSub * s);
  }
}

inline constexpr EncodingParts kNl = {ggml::block_shape<kSub, kSub, kNlBytes, 16>,
                                      fit_nl,
                                      round,
                                      decode_code,
                                      pack_nl,
                                      unpack_nl,
                                      PeerRule::parts};
inline constexpr EncodingParts kXs = {ggml::block_shape<ggml::kSuper, kSub, kXsBytes, 16>,
                                      fit_xs,
                                      round,
                                      decode_code,
                                      pack_xs,
                                      unpack_xs,
                                      PeerRule::parts};

inline void encode_nl_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kSub, kNlBytes>(tile, planes, ggml::encode_by_parts<kNl, kSub>);
}
inline void encode_xs_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<ggml::kSuper, kXsBytes>(tile, planes,
                                               ggml::encode_by_parts<kXs, ggml::kSuper>);
}

inline void get_codes(const std::byte* in, float scale, float* x) {
  for (size_t j = 0; j < 16; ++j) {
    x[j] = scale * kLevels[static_cast<size_t>(in[j]) & 15];
    x[j + 16] = scale * kLevels[static_cast<size_t>(in[j]) >> 4];
  }
}

inline void decode_nl(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                      float* out) {
  ggml::for_each_stored<kSub, kNlBytes>(planes, n_rows * k, out, [](const std::byte* in, float* x) {
    get_codes(in + 2, ggml::load_f16(in), x);
  });
}
inline void decode_xs(const RowPlanesView& planes, size_t n_rows, size_t k, const RowParams&,
                      float* out) {
  ggml::for_each_stored<ggml::kSuper, kXsBytes>(
      planes, n_rows * k, out, [](const std::byte* in, float* x) {
        const float d = ggml::load_f16(in);
        int16_t steps[kXsSubs];
        load_xs_steps(in, steps);
        for (size_t s = 0; s < kXsSubs; ++s)
          get_codes(in + 8 + 16 * s, d * static_cast<float>(steps[s]), x + kSub * s);
      });
}

// The same bytes as the references, fast.
void encode_nl(const RowTile& tile, const RowParams& params, const RowPlanes& planes);
void encode_xs(const RowTile& tile, const RowParams& params, const RowPlanes& planes);

}  // namespace phiquant::quant::iq4
