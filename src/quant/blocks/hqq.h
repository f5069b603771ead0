// hqq: half-quadratic quantization; float zero points refined by a proximal solver, scales fixed.
// Source:   onnxruntime 1.31, quantization/matmul_nbits_quantizer.py, HQQWeightOnlyQuantizer (after
// Badri and Shaji). Layout:   Packing::nbits; unsigned codes of 2, 4 or 8 bits, x ~ (code -
// zero_point) * scale; zero points are floats
//           in
//           the scale's dtype. A short block is padded with zeros, which take part; the tail holds
//           the code of 0.
// Start:    r = min(1 / (max - min) * max_code, 2e4), two roundings as in PyTorch; for a constant
// block 1 (r = 1 / scale); zero = round(-min * r). Step i:   q = clamp(round(x * r + zero)); d = x
// - (q - zero) / r; e = shrink(d); zero = mean(q - (x - e) * r);
//           shrink(d) = sign(d) * max(|d| - (|d| + 1e-8)^-0.3 / beta, 0), beta = 10 * 1.01^i.
// Codes:    clamp(round(x * r + zero)), halves to even; stored scale = 1 / r. All in float,
// whatever the weight's
//           dtype.
// Stop:     the original stops for the whole matrix when the mean of |d| over all values, a float,
// no longer falls. A block cannot know that: a driver sums add_step_errors() over the matrix, asks
// steps_taken(), and encodes with SchemeParams::iterations set to the answer. Without that 20 steps
// are taken. The original's sum over the matrix is in float, in an order that depends on the number
// of threads; ours is in double. So the number of steps may differ; for the same number the bytes
// are the same. zero's mean sums in PyTorch's order for one row, which is the same on every
// processor; the power comes from multiplications only (library pow() differs between systems).
#pragma once

#include <bit>

#include "quant/blocks/block_ref.h"

namespace phiquant::quant::hqq {

constexpr unsigned kDefaultSteps = 20;
constexpr unsigned kMaxSteps = 100;  // shrink()'s shortcut is exact up to here

inline unsigned steps_of(const SchemeParams& p) {
  if (p.iterations == 0) return kDefaultSteps;
  return p.iterations < kMaxSteps ? p.iterations : kMaxSteps;
}

// x^-0.3f for normal x > 0, to about 10 digits: x^-0.3 from a guess by the exponent and Newton's
// method on y^10 * x^3 = 1; what float makes of the exponent is a factor of 1 - (0.3f - 0.3) * ln
// x.
inline double power_minus_0_3(double x) {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const auto high = static_cast<uint32_t>(bits >> 32);
  const auto guess = static_cast<uint64_t>(1.3 * 0x3ff00000 - 0.3 * static_cast<double>(high));
  double y = std::bit_cast<double>(guess << 32);
  const double x3 = x * x * x;
  for (int i = 0; i < 6; ++i) {
    const double y2 = y * y, y4 = y2 * y2;
    y = y * (11 - x3 * (y4 * y4 * y2)) / 10;
  }
  const double exponent = static_cast<double>(bits >> 52) - 1023;
  const double f = std::bit_cast<double>((bits & 0xfffffffffffff) | 0x3ff0000000000000) - 1;
  const double log2 = exponent + f + 0.346 * f * (1 - f);  // within 0.01
  return y * (1 - (static_cast<double>(0.3f) - 0.3) * 0.6931471805599453 * log2);
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

// The sum of value(k), k < n, in the order of PyTorch's inner reduction (SumKernel.cpp): vectors of
// 8; sums of every fourth vector, those left over going to the first; the four added in order; then
// their lanes in order. `Value` is a float or a vector of floats of different columns.
// n: a multiple of 8, up to 512 (PyTorch cascades beyond).
template <class Value, class Add, class Get>
inline Value torch_sum(size_t n, Value zero, Add add, Get value) {
  const size_t vectors = n / 8, whole = vectors / 4 * 4;
  Value total = zero;
  for (size_t lane = 0; lane < 8; ++lane) {
    Value sums[4] = {zero, zero, zero, zero};
    for (size_t v = 0; v < vectors; ++v) {
      Value& sum = sums[v < whole ? v % 4 : 0];
      sum = add(sum, value(v * 8 + lane));
    }
    total = add(total, add(add(add(sums[0], sums[1]), sums[2]), sums[3]));
  }
  return total;
}

// An integer.
inline float code_of(float x, float r, float zero, float max_code) {
  return clamp_or_low(std::nearbyint(x * r + zero), 0.0f, max_code);
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
    const float inverse = 1 / (span != 0 ? span : max_code) * max_code;
    r = inverse < 2e4f ? inverse : 2e4f;
    zero = std::nearbyint(-range.lo * r);
  }
  float code(size_t k) const { return code_of(padded(tile, k, c), r, zero, max_code); }
  float difference(size_t k) const { return padded(tile, k, c) - (code(k) - zero) / r; }
  float sum_of_differences() const {
    return pairwise_sum(0, n, [&](size_t k) { return std::fabs(difference(k)); });
  }
  void step(float inverse_beta) {
    const auto add = [](float a, float b) { return a + b; };
    const float sum = torch_sum(n, 0.0f, add, [&](size_t k) {
      return code(k) - (padded(tile, k, c) - shrink(difference(k), inverse_beta)) * r;
    });
    zero = sum / static_cast<float>(n);
  }
  void solve(unsigned steps) {
    start();
    double beta = 10;
    for (unsigned i = 0; i < steps; ++i, beta *= 1.01) step(static_cast<float>(1 / beta));
  }
};

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  const unsigned max_code = (1u << p.bits) - 1;
  for (size_t c = 0; c < tile.n_cols; ++c) {
    Column col{tile, c, p.block_size, static_cast<float>(max_code)};
    col.solve(steps_of(p));
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
  float best = 1e4f;
  for (unsigned i = 0; i < steps; ++i) {
    const float mean = static_cast<float>(sums[i] / n_values);  // the original's sums are floats
    if (!(mean < best))
      return i + 1;  // the step whose error did not fall has still moved the zero points
    best = mean;
  }
  return steps;
}

}  // namespace phiquant::quant::hqq
