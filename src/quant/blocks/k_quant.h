// k_quant: asymmetric, scale and minimum refined by weighted least squares over 20 trial ranges.
// Source:   onnxruntime 1.31, quantization/neural_compressor/weight_only.py,
// quant_tensor_k_quant_cpu (after ggml's
//           make_qkx2_quants). Sums in numpy's pairwise order; the GPU path of the same function
//           sums otherwise.
// Layout:   Packing::nbits; unsigned codes of 4 or 8 bits, x ~ (code - zero_point) * scale; zero
// points always stored.
//           A short block is padded with zeros, which take part in everything; the tail holds the
//           code of 0.
// Weights:  w = sqrt(sum x^2 / block_size) + |x|.
// Trials:   q = clamp(round(f / (max - min) * (x - min))) with f = -1 + 0.1 i + 2^bits - 1; least
// squares gives scale
//           and
//           min; they replace the best where the weighted error is strictly lower. Trials see the
//           replaced min: the original updates it in place.
// Codes:    zero point = clamp(round(-min / scale)), then clamp(round(x / scale + zero_point)) in
// double. Edges:    constant block: scale 1, so it becomes 0 unless integer. f16 and bf16: computed
// in float, scale rounded
//           last. 0 / 0 in a zero point or code (range so small that 1/range overflows) gives 0.
#pragma once

#include "quant/blocks/rtn.h"

namespace phiquant::quant::k_quant {

constexpr int kTrials = 20;

// The trial's numerator, -1 + 0.1 i + max_code, rounded to float as numpy does.
inline float trial_factor(int trial, unsigned max_code) {
  return static_cast<float>(-1 + 0.1 * trial + static_cast<double>(max_code));
}

// One column of a block: what the trials need.
struct Column {
  const BlockTile& tile;
  size_t c, n;
  float max_code;
  float mean_root = 0;

  float x(size_t k) const { return padded(tile, k, c); }
  float w(size_t k) const { return mean_root + std::fabs(x(k)); }
  // NaN stays NaN, so that its trial is never taken.
  float code(size_t k, float inverse, float min) const {
    const float q = std::nearbyint(inverse * (x(k) - min));
    return q < 0 ? 0.0f : (q > max_code ? max_code : q);
  }
  template <class F>
  float sum(const F& f) const {
    return pairwise_sum(0, n, f);
  }
  // Weighted squared error of scale * code + min, the codes being those of (inverse, code_min).
  float error(float inverse, float code_min, float scale, float min) const {
    return sum([&](size_t k) {
      const float d = scale * code(k, inverse, code_min) + min - x(k);
      return w(k) * (d * d);
    });
  }
};

struct Fit {
  float scale = 1, min = 0;
};

inline Fit fit_column(Column& col, unsigned max_code) {
  const ColumnRange range = padded_range(col.tile, col.c, col.n);
  const float max = range.hi;
  col.mean_root =
      std::sqrt(col.sum([&](size_t k) { return col.x(k) * col.x(k); }) / static_cast<float>(col.n));
  const float sum_w = col.sum([&](size_t k) { return col.w(k); });
  const float sum_x = col.sum([&](size_t k) { return col.w(k) * col.x(k); });
  const float inverse = range.lo != max ? col.max_code / (max - range.lo) : 1.0f;
  Fit best{1 / inverse, range.lo};
  float best_error = col.error(inverse, best.min, best.scale, best.min);
  for (int trial = 0; trial < kTrials; ++trial) {
    const float inv = best.min != max ? trial_factor(trial, max_code) / (max - best.min) : 1.0f;
    const auto q = [&](size_t k) { return col.code(k, inv, best.min); };
    const float l = col.sum([&](size_t k) { return col.w(k) * q(k); });
    const float l2 = col.sum([&](size_t k) { return col.w(k) * q(k) * q(k); });
    const float xl = col.sum([&](size_t k) { return col.w(k) * q(k) * col.x(k); });
    const float d = sum_w * l2 - l * l;
    const Fit fit{(sum_w * xl - sum_x * l) / d, (l2 * sum_x - l * xl) / d};
    const float error = col.error(inv, best.min, fit.scale, fit.min);
    if (error < best_error) {
      best_error = error;
      best = fit;
    }
  }
  return best;
}

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  const unsigned max_code = (1u << p.bits) - 1;
  for (size_t c = 0; c < tile.n_cols; ++c) {
    Column col{tile, c, p.block_size, static_cast<float>(max_code)};
    const Fit fit = fit_column(col, max_code);
    const float zero_point = clamp_or_low(std::nearbyint(-fit.min / fit.scale), 0.0f, col.max_code);
    PackedColumn column(out, c, p);
    for (size_t k = 0; k < p.block_size; ++k)
      column.put(k, divided_code(col.x(k), static_cast<double>(fit.scale),
                                 static_cast<double>(zero_point), max_code));
    out.scales[c] = round_to_dtype(fit.scale, p.weight_dtype);
    if (out.zero_points) out.zero_points[c] = zero_point;
  }
}

// The same bytes, fast.
void encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out);

}  // namespace phiquant::quant::k_quant
