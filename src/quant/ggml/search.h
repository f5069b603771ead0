// What the GGUF types share: rounding, half floats, and the scalar searches for scales. The order
// of every float operation is part of the rule: sums run left to right, nothing is fused.
// Source:  ggml src/ggml-quants.c of llama.cpp b11434, as its x86-64 builds compute it:
//          nearest_int, make_qx_quants (rmse_type 1), make_qkx2_quants and make_qkx3_quants (which
//          agree for finite input), make_qp_quants; ggml_compute_fp32_to_fp16.
// Edges:   input finite. Where sums overflow, comparisons with NaN are false, and the NaN that x86
//          makes of infinities is stored (f16 0xfe00).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/half.h"

namespace phiquant::quant::ggml {

// Groups of values whose largest magnitude is below this count as zero.
inline constexpr float kZeroGroup = 1e-15f;
// Values of a super-block of the K types.
inline constexpr size_t kSuper = 256;

// To the nearest integer, halves to even, for |v| < 2^22. Beyond that the mantissa wraps: also that
// is relied upon where codes are clamped afterwards.
inline int nearest_int(float v) {
  const uint32_t bits = std::bit_cast<uint32_t>(v + 12582912.0f);
  return static_cast<int>(bits & 0x7fffffu) - 0x400000;
}

inline int nearest_code(float v, int lo, int hi) { return std::clamp(nearest_int(v), lo, hi); }

// Float to int as cvttss2si does: toward zero, and INT32_MIN for what does not fit.
inline int truncated(float v) {
  return v >= -2147483648.0f && v < 2147483648.0f ? static_cast<int>(v) : INT32_MIN;
}

// The same codes for any v, where those would wrap.
inline int saturated_code(float v, int lo, int hi) {
  if (v >= static_cast<float>(hi)) return hi;
  return v <= static_cast<float>(lo) ? lo : nearest_code(v, lo, hi);
}
// Toward zero, into 0 .. top; NaN to 0.
inline uint8_t truncated_code(float v, int top) {
  return static_cast<uint8_t>(v > 0 ? (v < static_cast<float>(top) ? static_cast<int>(v) : top)
                                    : 0);
}

inline float inverse_or_zero(float v) { return v != 0 ? 1 / v : 0.0f; }

inline void store_f16(std::byte* out, float v) {
  const uint16_t bits = v != v ? uint16_t{0xfe00} : f16_from_f32(v);
  std::memcpy(out, &bits, 2);
}

inline float load_f16(const std::byte* in) {
  uint16_t bits;
  std::memcpy(&bits, in, 2);
  return f32_from_f16(bits);
}

// What is left of v after storing it.
inline float through_f16(std::byte* out, float v) {
  store_f16(out, v);
  return load_f16(out);
}

inline float through_f16(float v) {
  std::byte scratch[2];
  return through_f16(scratch, v);
}

// Mean of squares over n values, the sum in order: what ggml calls sigma2.
inline float mean_square(const float* x, size_t n, float factor = 1.0f) {
  float sum = 0;
  for (size_t i = 0; i < n; ++i) sum += x[i] * x[i];
  return factor * sum / static_cast<float>(n);
}

// The first value of the largest magnitude; 0 where all are 0.
inline float first_largest(std::span<const float> x) {
  float largest = 0, magnitude = 0;
  for (const float v : x) {
    if (!(std::fabs(v) > magnitude)) continue;
    magnitude = std::fabs(v);
    largest = v;
  }
  return largest;
}

// ---- x ~ scale * (code - half), code in 0 .. 2 half - 1 (make_qx_quants, rmse_type 1) ----

// What the codes of one scale amount to in the weighted least squares problem.
struct SymmetricSums {
  float lx = 0, l2 = 0;
};

// weights null: the squares of x.
inline SymmetricSums symmetric_sums(std::span<const float> x, const float* weights, int half,
                                    float inverse) {
  SymmetricSums s;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto l = static_cast<float>(nearest_code(inverse * x[i], -half, half - 1));
    const float w = weights ? weights[i] : x[i] * x[i];
    s.lx += w * x[i] * l;
    s.l2 += w * l * l;
  }
  return s;
}

// The scale; codes are those of the trial that gave it. 19 trials of -(half + t / 10) / largest,
// that with t = 0 first, then t = -9 .. 9; a later one must be strictly better. A group of zeros:
// scale 0, codes 0.
inline float fit_symmetric(std::span<const float> x, const float* weights, int half,
                           uint8_t* codes) {
  const float largest = first_largest(x);
  if (std::fabs(largest) < kZeroGroup) {
    std::fill_n(codes, x.size(), uint8_t{0});
    return 0;
  }
  float best_inverse = static_cast<float>(-half) / largest;
  SymmetricSums s = symmetric_sums(x, weights, half, best_inverse);
  float scale = s.l2 != 0 ? s.lx / s.l2 : 0.0f;
  float best = scale * s.lx;
  for (int t = -9; t <= 9; ++t) {
    if (t == 0) continue;
    const float inverse = -(static_cast<float>(half) + 0.1f * static_cast<float>(t)) / largest;
    s = symmetric_sums(x, weights, half, inverse);
    if (!(s.l2 > 0) || !(s.lx * s.lx > best * s.l2)) continue;
    best_inverse = inverse;
    scale = s.lx / s.l2;
    best = scale * s.lx;
  }
  for (size_t i = 0; i < x.size(); ++i)
    codes[i] = static_cast<uint8_t>(nearest_code(best_inverse * x[i], -half, half - 1) + half);
  return scale;
}

// ---- x ~ scale * code - offset, code in 0 .. max_code (make_qkx2_quants, make_qkx3_quants) ----

struct OffsetGrid {
  float scale = 0, offset = 0;  // offset >= 0
};

// Trials of (first + step * t + max_code) / (max - min), t = 0 .. last.
struct OffsetTrials {
  float first, step;
  int last;
  bool absolute = false;  // errors by magnitude instead of square
};

inline void offset_codes(std::span<const float> x, float inverse, float min, int max_code,
                         uint8_t* codes) {
  for (size_t i = 0; i < x.size(); ++i)
    codes[i] = static_cast<uint8_t>(nearest_code(inverse * (x[i] - min), 0, max_code));
}

inline float offset_error(std::span<const float> x, const float* weights, const uint8_t* codes,
                          float scale, float min, bool absolute) {
  float error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const float diff = scale * static_cast<float>(codes[i]) + min - x[i];
    error += weights[i] * (absolute ? std::fabs(diff) : diff * diff);
  }
  return error;
}

// Weighted sums over a group; those of the codes change with every trial.
struct OffsetSums {
  float w = 0, x = 0, l = 0, l2 = 0, xl = 0;
};

inline void add_codes(std::span<const float> x, const float* weights, const uint8_t* codes,
                      OffsetSums& s) {
  s.l = s.l2 = s.xl = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto l = static_cast<float>(codes[i]);
    s.l += weights[i] * l;
    s.l2 += weights[i] * l * l;
    s.xl += weights[i] * l * x[i];
  }
}

// Scale and offset by weighted least squares, the best of the trials; codes are that trial's.
// The minimum is at most 0, is replaced when a trial is taken, and later trials see the new one. A
// constant group: scale 0, codes 0. At most 32 values.
inline OffsetGrid fit_offset(std::span<const float> x, const float* weights, int max_code,
                             const OffsetTrials& trials, uint8_t* codes) {
  const size_t n = x.size();
  float min = std::min(*std::min_element(x.begin(), x.end()), 0.0f);
  const float max = *std::max_element(x.begin(), x.end());
  OffsetSums s{weights[0], weights[0] * x[0]};
  for (size_t i = 1; i < n; ++i) {
    s.w += weights[i];
    s.x += weights[i] * x[i];
  }
  if (max == min) {
    std::fill_n(codes, n, uint8_t{0});
    return {0, -min};
  }
  const auto top = static_cast<float>(max_code);
  const float first_inverse = top / (max - min);
  float scale = 1 / first_inverse;
  offset_codes(x, first_inverse, min, max_code, codes);
  float best = offset_error(x, weights, codes, scale, min, trials.absolute);
  for (int t = 0; t <= trials.last; ++t) {
    uint8_t trial[32];
    const float inverse = (trials.first + trials.step * static_cast<float>(t) + top) / (max - min);
    offset_codes(x, inverse, min, max_code, trial);
    add_codes(x, weights, trial, s);
    const float d = s.w * s.l2 - s.l * s.l;
    if (!(d > 0)) continue;
    float new_scale = (s.w * s.xl - s.x * s.l) / d, new_min = (s.l2 * s.x - s.l * s.xl) / d;
    if (new_min > 0) {
      new_min = 0;
      new_scale = s.xl / s.l2;
    }
    const float error = offset_error(x, weights, trial, new_scale, new_min, trials.absolute);
    if (!(error < best)) continue;
    std::copy_n(trial, n, codes);
    best = error;
    scale = new_scale;
    min = new_min;
  }
  return {scale, -min};
}

// ---- x ~ scale * code, code in 0 .. max_code, for scales of scales (make_qp_quants) ----

// Weighted squared error of the codes of `inverse`, decoded with `scale`.
inline float positive_error(std::span<const float> x, const float* weights, float inverse,
                            float scale, int max_code) {
  float error = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const int l = std::min(max_code, nearest_int(inverse * x[i]));
    const float diff = x[i] - scale * static_cast<float>(l);
    error += weights[i] * diff * diff;
  }
  return error;
}

// One pass over all values: each code moves to what is best with the others as they are, where that
// is strictly better. Whether any moved.
inline bool descend(std::span<const float> x, const float* weights, int max_code, uint8_t* codes,
                    SymmetricSums& s) {
  bool moved = false;
  for (size_t i = 0; i < x.size(); ++i) {
    const float w = weights[i];
    const auto old = static_cast<float>(codes[i]);
    float lx = s.lx - w * x[i] * old, l2 = s.l2 - w * old * old;
    if (!(lx > 0) || !(l2 > 0)) continue;
    const int code = std::min(max_code, nearest_int(x[i] * l2 / lx));
    if (code == codes[i]) continue;
    const auto l = static_cast<float>(code);
    lx += w * x[i] * l;
    l2 += w * l * l;
    if (!(lx * lx * s.l2 > s.lx * s.lx * l2)) continue;
    codes[i] = static_cast<uint8_t>(code);
    s = {lx, l2};
    moved = true;
  }
  return moved;
}

// The scale: nine trial ranges, then at most five passes of coordinate descent. Values are mostly
// positive; of a negative one the code wraps to 8 bits, as it does in ggml.
inline float fit_positive(std::span<const float> x, const float* weights, int max_code,
                          uint8_t* codes) {
  float max = 0;
  for (const float v : x) max = std::max(max, v);
  if (max < kZeroGroup) {
    std::fill_n(codes, x.size(), uint8_t{0});
    return 0;
  }
  const auto top = static_cast<float>(max_code);
  float inverse = top / max, best = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto code = static_cast<uint8_t>(nearest_int(inverse * x[i]));
    const float diff = x[i] - 1 / inverse * static_cast<float>(code);
    best += weights[i] * diff * diff;
  }
  for (int t = -4; t <= 4; ++t) {
    if (t == 0) continue;
    const float trial = (0.1f * static_cast<float>(t) + top) / max;
    const float error = positive_error(x, weights, trial, 1 / trial, max_code);
    if (!(error < best)) continue;
    best = error;
    inverse = trial;
  }
  SymmetricSums s;
  for (size_t i = 0; i < x.size(); ++i) {
    const int code = std::min(max_code, nearest_int(inverse * x[i]));
    const auto l = static_cast<float>(code);
    codes[i] = static_cast<uint8_t>(code);
    s.lx += weights[i] * x[i] * l;
    s.l2 += weights[i] * l * l;
  }
  for (int pass = 0; pass < 5 && descend(x, weights, max_code, codes, s); ++pass) {
  }
  return s.l2 > 0 ? s.lx / s.l2 : 0.0f;
}

}  // namespace phiquant::quant::ggml
