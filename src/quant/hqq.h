// hqq: half-quadratic quantization; float zero points refined by a proximal solver, scales fixed.
// Source:   onnxruntime 1.31, quantization/matmul_nbits_quantizer.py, HQQWeightOnlyQuantizer (after
// Badri and Shaji). Layout:   Packing::nbits; unsigned codes of 2, 4 or 8 bits, x ~ (code -
// zero_point) * scale; zero points are floats
//           in
//           the scale's dtype. A short block is padded with zeros, which take part; the tail holds
//           the code of 0.
// Start:    r = min(max_code / (max - min), 2e4), or 1 for a constant block (r = 1 / scale); zero =
// round(-min * r). Step i:   q = clamp(round(x * r + zero)); d = x - (q - zero) / r; e = shrink(d);
// zero = mean(q - (x - e) * r);
//           shrink(d) = sign(d) * max(|d| - (|d| + 1e-8)^-0.3 / beta, 0), beta = 10 * 1.01^i.
// Codes:    clamp(round(x * r + zero)), halves to even; stored scale = 1 / r. All in float,
// whatever the weight's
//           dtype.
// Stop:     the original stops for the whole matrix when the mean of |d| over all values no longer
// falls. A block
//           cannot
//           know that: a driver sums add_step_errors() over the matrix, asks steps_taken(), and
//           encodes with SchemeParams::iterations set to the answer. Without that 20 steps are
//           taken.
// The mean sums in numpy's pairwise order (torch's depends on the machine) and the power comes from
// multiplications only (library pow() differs between systems), so bytes equal PyTorch's but for
// rare roundings.
#pragma once

#include <bit>

#include "quant/block_ref.h"

namespace phiquant::quant::hqq {

constexpr unsigned kDefaultSteps = 20;
constexpr unsigned kMaxSteps = 100;  // shrink()'s shortcut is exact up to here

inline unsigned steps_of(const SchemeParams& p) {
  if (p.iterations == 0) return kDefaultSteps;
  return p.iterations < kMaxSteps ? p.iterations : kMaxSteps;
}

// x^-0.3 for normal x > 0, to about 13 digits: a guess from the exponent, then Newton's method on
// y^10 * x^3 = 1.
inline double power_minus_0_3(double x) {
  const auto high = static_cast<uint32_t>(std::bit_cast<uint64_t>(x) >> 32);
  const auto guess = static_cast<uint64_t>(1.3 * 0x3ff00000 - 0.3 * static_cast<double>(high));
  double y = std::bit_cast<double>(guess << 32);
  const double x3 = x * x * x;
  for (int i = 0; i < 6; ++i) {
    const double y2 = y * y, y4 = y2 * y2;
    y = y * (11 - x3 * (y4 * y4 * y2)) / 10;
  }
  return y;
}

// The proximal step. |d| below 0.05 always shrinks to zero while beta < 49, that is for kMaxSteps
// steps.
inline float shrink(float d, float inverse_beta) {
  const float magnitude = std::fabs(d);
  if (magnitude < 0.05f) return 0.0f;
  const float power = static_cast<float>(power_minus_0_3(static_cast<double>(magnitude + 1e-8f)));
  const float rest = magnitude - inverse_beta * power;
  return rest > 0 ? std::copysign(rest, d) : 0.0f;
}

// One column and its state.
struct Column {
  const BlockTile& tile;
  size_t c, n;
  float max_code;
  float r = 1, zero = 0;

  void start() {
    const ColumnRange range = padded_range(tile, c, n);
    const float span = range.hi - range.lo;
    const float inverse = max_code / (span != 0 ? span : max_code);
    r = inverse < 2e4f ? inverse : 2e4f;
    zero = std::nearbyint(-range.lo * r);
  }
  float code(size_t k) const {
    return clamp_or_low(std::nearbyint(padded(tile, k, c) * r + zero), 0.0f, max_code);
  }
  float difference(size_t k) const { return padded(tile, k, c) - (code(k) - zero) / r; }
  float sum_of_differences() const {
    return pairwise_sum(0, n, [&](size_t k) { return std::fabs(difference(k)); });
  }
  void step(float inverse_beta) {
    const float sum = pairwise_sum(0, n, [&](size_t k) {
      return code(k) - (padded(tile, k, c) - shrink(difference(k), inverse_beta)) * r;
    });
    zero = sum / static_cast<float>(n);
  }
};

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  const unsigned max_code = (1u << p.bits) - 1;
  for (size_t c = 0; c < tile.n_cols; ++c) {
    Column col{tile, c, p.block_size, static_cast<float>(max_code)};
    col.start();
    double beta = 10;
    for (unsigned i = 0; i < steps_of(p); ++i, beta *= 1.01) col.step(static_cast<float>(1 / beta));
    PackedColumn column(out, c, p);
    for (size_t k = 0; k < p.block_size; ++k) column.put(k, static_cast<unsigned>(col.code(k)));
    out.scales[c] = round_to_dtype(1 / col.r, p.weight_dtype);
    if (out.zero_points) out.zero_points[c] = round_to_dtype(col.zero, p.weight_dtype);
  }
}

// The same bytes, fast.
void encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out);

// Adds to sums[i], i < steps, the sum of |d| of step i over the tile's columns, in order (doubles,
// so that adding tiles in a fixed order gives the same sums anywhere). `sums` holds steps_of(p)
// values.
inline void add_step_errors_ref(const BlockTile& tile, const SchemeParams& p, double* sums) {
  const unsigned max_code = (1u << p.bits) - 1;
  for (size_t c = 0; c < tile.n_cols; ++c) {
    Column col{tile, c, p.block_size, static_cast<float>(max_code)};
    col.start();
    double beta = 10;
    for (unsigned i = 0; i < steps_of(p); ++i, beta *= 1.01) {
      sums[i] += static_cast<double>(col.sum_of_differences());
      col.step(static_cast<float>(1 / beta));
    }
  }
}
// The same sums, fast.
void add_step_errors(const BlockTile& tile, const SchemeParams& p, double* sums);

// How many steps the original takes, from the sums of the whole matrix and its number of values
// (padding counted).
inline unsigned steps_taken(const double* sums, unsigned steps, double n_values) {
  double best = 1e4;
  for (unsigned i = 0; i < steps; ++i) {
    const double mean = sums[i] / n_values;
    if (!(mean < best))
      return i + 1;  // the step whose error did not fall has still moved the zero points
    best = mean;
  }
  return steps;
}

}  // namespace phiquant::quant::hqq
