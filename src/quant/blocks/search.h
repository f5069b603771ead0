// search: the format of matmul_nbits with scales that fit better. Needs no data.
// Source:   own; the idea (trial ranges, then least squares) is that of ggml's make_qx_quants.
// Layout:   as matmul_nbits, 4 or 8 bits, symmetric or asymmetric: any reader of those reads these.
// Trials:   i = 0 .. 8, d = -1 + i / 4: the default rule's scale times base / (base + d), base =
// 2^(bits-1) symmetric,
//           2^bits - 1 asymmetric, with the zero point of that range. Codes, then the scale that
//           minimizes sum w (x - scale * (code - zero_point))^2, rounded to the weight's dtype,
//           then the nearest codes of that scale.
// Weights:  see weight().
// Choice:   the least weighted error among those trials whose plain squared error is not above the
// default rule's; the
//           default rule's own scale where none is better. So neither error ever exceeds the
//           default's, block by block (for bf16: the default with the scale as it is stored; in the
//           float arithmetic given here).
// Codes:    zero_point + clamp(round(x * r)), halves to even, r = 1 / scale with the scale that is
// stored, in any
//           dtype.
//           Sums run in eight parts as numpy's (block_ref.h). Tail of a short block 0; it takes no
//           part.
// Edges:    a default scale whose reciprocal is 0 or not finite is kept, with the default's codes.
#pragma once

#include "quant/blocks/matmul_nbits.h"

namespace phiquant::quant::search {

constexpr int kTrials = 9;

// What trial i divides the default scale by.
inline float trial_divisor(int trial, float base) {
  return (base + (-1.0f + 0.25f * static_cast<float>(trial))) / base;
}

// A grid: x ~ scale * level, level in lo .. hi, stored as level + zero_point.
struct Grid {
  float scale = 0, reciprocal = 0;
  float lo = 0, hi = 0;  // lo = -zero_point

  float level(float x) const { return clamp_or_low(std::nearbyint(x * reciprocal), lo, hi); }
};

struct Errors {
  float weighted = 0, plain = 0;
};

// One column of a block.
struct Column {
  const BlockTile& tile;
  size_t c;
  float mean_root = 0;

  float x(size_t k) const { return tile.x[k * tile.stride + c]; }
  // Large weights matter more than small ones, but not by their square.
  float weight(size_t k) const { return mean_root + std::fabs(x(k)); }
  template <class F>
  float sum(const F& f) const {
    return pairwise_sum(0, tile.n_rows, f);
  }

  Errors errors(const Grid& g) const {
    const auto squared = [&](size_t k) {
      const float d = x(k) - g.scale * g.level(x(k));
      return d * d;
    };
    return {sum([&](size_t k) { return weight(k) * squared(k); }), sum(squared)};
  }
  // The scale of least weighted error for g's levels; 0 where all levels are 0.
  float refit(const Grid& g) const {
    const float xl = sum([&](size_t k) { return weight(k) * g.level(x(k)) * x(k); });
    const float l2 = sum([&](size_t k) { return weight(k) * g.level(x(k)) * g.level(x(k)); });
    return l2 > 0 ? xl / l2 : 0.0f;
  }
};

// The grid of scale `s` with `zero_point`.
inline Grid make_grid(float s, float zero_point, float max_code) {
  return {s, reciprocal_or_zero(s), -zero_point, max_code - zero_point};
}

inline bool usable(float reciprocal) {
  return std::fabs(reciprocal) > 0x1p-100f && std::fabs(reciprocal) < 0x1p100f;
}

inline Grid search_column(Column& col, const SchemeParams& p, const BlockScale& start) {
  const float max_code = static_cast<float>((1u << p.bits) - 1);
  const float base = p.symmetric ? static_cast<float>(1u << (p.bits - 1)) : max_code;
  const float n = static_cast<float>(col.tile.n_rows);
  col.mean_root = std::sqrt(col.sum([&](size_t k) { return col.x(k) * col.x(k); }) / n);
  Grid best = make_grid(start.stored, start.zero_point, max_code);
  Errors least = col.errors(best);
  const float plain_limit = least.plain;
  float lowest = 0;
  for (size_t k = 0; k < col.tile.n_rows; ++k) lowest = col.x(k) < lowest ? col.x(k) : lowest;
  for (int trial = 0; trial < kTrials; ++trial) {
    const float s = start.stored / trial_divisor(trial, base);
    const float r = 1 / s;
    const float zero = p.symmetric
                           ? start.zero_point
                           : clamp_or_low(std::nearbyint(0.0f - lowest * r), 0.0f, max_code);
    const Grid guess{s, r, -zero, max_code - zero};
    const float refitted = round_to_dtype(col.refit(guess), p.weight_dtype);
    const Grid grid = make_grid(refitted, zero, max_code);
    if (!usable(grid.reciprocal)) continue;
    const Errors e = col.errors(grid);
    if (e.weighted < least.weighted && e.plain <= plain_limit) {
      least = e;
      best = grid;
    }
  }
  return best;
}

inline void encode_ref(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  for (size_t c = 0; c < tile.n_cols; ++c) {
    const BlockScale start = default_scale(tile, c, p);
    if (!usable(reciprocal_or_zero(start.stored))) {
      BlockCodes one = out;
      one.codes += c * out.codes_stride;
      one.scales += c;
      if (one.zero_points) one.zero_points += c;
      matmul_nbits::encode_ref({tile.x + c, tile.stride, tile.n_rows, 1}, p, one);
      continue;
    }
    Column col{tile, c};
    const Grid grid = search_column(col, p, start);
    PackedColumn column(out, c, p);
    for (size_t k = 0; k < tile.n_rows; ++k)
      column.put(k, static_cast<unsigned>(grid.level(col.x(k)) - grid.lo));
    out.scales[c] = grid.scale;
    if (out.zero_points) out.zero_points[c] = -grid.lo;
  }
}

// The same bytes, fast.
void encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out);

}  // namespace phiquant::quant::search
