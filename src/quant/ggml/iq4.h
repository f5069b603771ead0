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

inline float inverse_or_zero(float v) { return v != 0 ? 1 / v : 0.0f; }

inline void put_codes(const float* x, float factor, std::byte* out) {
  for (size_t j = 0; j < 16; ++j)
    out[j] = static_cast<std::byte>(code_of(factor * x[j]) | code_of(factor * x[j + 16]) << 4);
}

inline void encode_nl_block(const float* x, const float* importance, std::byte* out) {
  float w[kSub];
  weights(x, kSub, importance, sigma2_of(x, kSub), w);
  const float scale = fit_scale(x, w);
  ggml::store_f16(out, scale);
  put_codes(x, inverse_or_zero(scale), out + 2);
}

// From the scales of the sub-blocks.
inline void put_xs_block(const float* x, const float* scales, std::byte* out) {
  float largest = 0;
  for (size_t s = 0; s < kXsSubs; ++s)
    if (std::fabs(scales[s]) > std::fabs(largest)) largest = scales[s];
  const float d = -largest / 32, inverse = inverse_or_zero(d);
  uint16_t high = 0;
  std::array<uint8_t, 4> low = {};
  for (size_t s = 0; s < kXsSubs; ++s) {
    const int steps = std::clamp(ggml::nearest_int(inverse * scales[s]), -32, 31);
    const auto stored = static_cast<unsigned>(steps + 32);
    high = static_cast<uint16_t>(high | (stored >> 4) << (2 * s));
    low[s / 2] = static_cast<uint8_t>(low[s / 2] | (stored & 15) << (4 * (s % 2)));
    put_codes(x + kSub * s, inverse_or_zero(d * static_cast<float>(steps)), out + 8 + 16 * s);
  }
  ggml::store_f16(out, d);
  std::memcpy(out + 2, &high, 2);
  std::memcpy(out + 4, low.data(), 4);
}

inline void encode_xs_block(const float* x, const float* importance, std::byte* out) {
  const float sigma2 = sigma2_of(x, ggml::kSuper);
  float scales[kXsSubs];
  for (size_t s = 0; s < kXsSubs; ++s) {
    float w[kSub];
    weights(x + kSub * s, kSub, importance ? importance + kSub * s : nullptr, sigma2, w);
    scales[s] = fit_scale(x + kSub * s, w);
  }
  put_xs_block(x, scales, out);
}

inline void encode_nl_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<kSub, kNlBytes>(tile, planes, encode_nl_block);
}
inline void encode_xs_ref(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  ggml::for_each_block<ggml::kSuper, kXsBytes>(tile, planes, encode_xs_block);
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
        uint16_t high;
        std::memcpy(&high, in + 2, 2);
        for (size_t s = 0; s < kXsSubs; ++s) {
          const unsigned low = static_cast<unsigned>(in[4 + s / 2]) >> (4 * (s % 2)) & 15;
          const auto stored = static_cast<int>(low | (high >> (2 * s) & 3) << 4);
          get_codes(in + 8 + 16 * s, d * static_cast<float>(stored - 32), x + kSub * s);
        }
      });
}

// The same bytes as the references, fast.
void encode_nl(const RowTile& tile, const RowParams& params, const RowPlanes& planes);
void encode_xs(const RowTile& tile, const RowParams& params, const RowPlanes& planes);

}  // namespace phiquant::quant::iq4
