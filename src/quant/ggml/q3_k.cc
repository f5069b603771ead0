#include "quant/ggml/q3_k.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/q3_k.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {
namespace q3 {

using namespace lanes;
using q3_k::kBytes;
using q3_k::kHalf;
using q3_k::kHalfScale;
using q3_k::kSub;
using q3_k::kSubs;
using q3_k::kValues;

// Scales as they are stored (s + 32), and d.
struct Grid {
  VI stored[kSubs];
  VF d;
};

// Sub-blocks whose searches run side by side: each waits for the division of the value before.
constexpr size_t kWays = 4;

// A sub-block's search: values, signed codes in float, sums.
struct Descent {
  VF x[kSub], codes[kSub], lx, l2, largest;
};

// What q3_k::descend does to value i. Which lanes moved.
HWY_INLINE MF move_code(Descent& b, size_t i) {
  const VF x = b.x[i], old = b.codes[i];
  const VF w = hn::Mul(x, x), wx = hn::Mul(w, x);
  VF lx = hn::Sub(b.lx, hn::Mul(wx, old));
  const MF possible = hn::Gt(lx, zero());
  VF l2 = hn::Sub(b.l2, hn::Mul(hn::Mul(w, old), old));
  const VF code = to_float(nearest_code(hn::Div(hn::Mul(x, l2), lx), -kHalf, kHalf - 1));
  const MF other = hn::Ne(code, old);
  lx = hn::Add(lx, hn::Mul(wx, code));
  l2 = hn::Add(l2, hn::Mul(hn::Mul(w, code), code));
  const MF better = hn::And(
      hn::Gt(l2, zero()), hn::Gt(hn::Mul(hn::Mul(lx, lx), b.l2), hn::Mul(hn::Mul(b.lx, b.lx), l2)));
  const MF take = hn::And(hn::And(possible, other), better);
  b.codes[i] = choose(take, code, old);
  b.lx = choose(take, lx, b.lx);
  b.l2 = choose(take, l2, b.l2);
  return take;
}

HWY_INLINE void start(const Values<kValues>& x, size_t s, Descent& b) {
  for (size_t i = 0; i < kSub; ++i) b.x[i] = x.get(kSub * s + i);
  b.largest = first_largest(kSub, [&b](size_t i) HWY_ATTR { return b.x[i]; });
  const VF inverse = hn::Div(set(-kHalf), b.largest);
  b.lx = b.l2 = zero();
  for (size_t i = 0; i < kSub; ++i) {
    b.codes[i] = to_float(nearest_code(hn::Mul(inverse, b.x[i]), -kHalf, kHalf - 1));
    const VF w = hn::Mul(b.x[i], b.x[i]);
    b.lx = hn::Add(b.lx, hn::Mul(hn::Mul(w, b.x[i]), b.codes[i]));
    b.l2 = hn::Add(b.l2, hn::Mul(hn::Mul(w, b.codes[i]), b.codes[i]));
  }
}

// As q3_k::descend_symmetric, of kWays sub-blocks; codes unsigned. A lane that has come to rest
// stays as it is in further passes.
HWY_INLINE void descend_symmetric(const Values<kValues>& x, size_t first, VF* scales, VI* codes) {
  Descent ways[kWays];
  for (size_t way = 0; way < kWays; ++way) start(x, first + way, ways[way]);
  bool any = true;
  for (int pass = 0; pass < q3_k::kPasses && any; ++pass) {
    MF moved = hn::Lt(zero(), zero());
    for (size_t i = 0; i < kSub; ++i)
      for (Descent& b : ways) moved = hn::Or(moved, move_code(b, i));
    any = !hn::AllFalse(kF, moved);
  }
  for (size_t way = 0; way < kWays; ++way) {
    const Descent& b = ways[way];
    const MF zeros = hn::Lt(hn::Abs(b.largest), set(ggml::kZeroGroup));
    for (size_t i = 0; i < kSub; ++i) {
      const VI code = hn::Add(hn::ConvertTo(kI, b.codes[i]), hn::Set(kI, kHalf));
      codes[kSub * way + i] = choose(zeros, hn::Zero(kI), code);
    }
    const MF none = hn::Or(zeros, hn::Not(hn::Gt(b.l2, zero())));
    scales[way] = choose(none, zero(), hn::Div(b.lx, b.l2));
  }
}

// As q3_k::store_scales.
HWY_INLINE void store_scales(const VF* scales, Grid& g) {
  const VF largest = first_largest(kSubs, [scales](size_t s) HWY_ATTR { return scales[s]; });
  const MF none = hn::Eq(largest, zero());
  const VF inverse = hn::Div(set(-kHalfScale), largest);
  for (size_t s = 0; s < kSubs; ++s) {
    // Wrapped to eight bits, with their sign.
    const VI wrapped =
        hn::ShiftRight<24>(hn::ShiftLeft<24>(nearest_int(hn::Mul(inverse, scales[s]))));
    const VI steps =
        hn::Min(hn::Max(wrapped, hn::Set(kI, -kHalfScale)), hn::Set(kI, kHalfScale - 1));
    g.stored[s] = choose(none, hn::Zero(kI), hn::Add(steps, hn::Set(kI, kHalfScale)));
  }
  g.d = choose(none, zero(), hn::Div(set(1.0f), inverse));
}

HWY_INLINE void search(const Values<kValues>& x, VI* codes, Grid& g) {
  VF scales[kSubs];
  for (size_t s = 0; s < kSubs; s += kWays) descend_symmetric(x, s, scales + s, codes + kSub * s);
  store_scales(scales, g);
}

HWY_INLINE void search(const Values<kValues>& x, const Values<kValues>& importance, VI* codes,
                       Grid& g) {
  const VF sigma2 = mean_square(x, 2.0f);
  VF scales[kSubs], sub_weights[kSubs];
  for (size_t s = 0; s < kSubs; ++s) {
    VF v[kSub], w[kSub];
    sub_weights[s] = zero();
    for (size_t i = 0; i < kSub; ++i) {
      v[i] = x.get(kSub * s + i);
      w[i] = importance_weight(v[i], importance.get(kSub * s + i), sigma2);
      sub_weights[s] = hn::Add(sub_weights[s], w[i]);
    }
    const SymmetricFit fit = fit_symmetric<kSub, true>(v, w, kHalf);
    scales[s] = fit.scale;
    for (size_t i = 0; i < kSub; ++i) codes[kSub * s + i] = symmetric_code(fit, v[i], kHalf);
  }
  const SymmetricFit fit = fit_symmetric<kSubs, false>(scales, sub_weights, kHalfScale);
  for (size_t s = 0; s < kSubs; ++s) g.stored[s] = symmetric_code(fit, scales[s], kHalfScale);
  g.d = fit.scale;
}

HWY_INLINE void put_grid(Grid& g, std::byte* out, size_t n) {
  for (size_t w = 0; w < 3; ++w) {
    VI word = hn::Zero(kI);
    for (size_t j = 4; j-- > 0;) {
      const size_t s = 4 * w + j;
      VI byte;
      if (w < 2) {
        byte = hn::Or(hn::And(g.stored[s], hn::Set(kI, 15)),
                      hn::ShiftLeft<4>(hn::And(g.stored[s + 8], hn::Set(kI, 15))));
      } else {
        const VI a = hn::ShiftRight<4>(g.stored[j]), b = hn::ShiftRight<4>(g.stored[j + 4]);
        const VI c = hn::ShiftRight<4>(g.stored[j + 8]), d = hn::ShiftRight<4>(g.stored[j + 12]);
        byte = hn::Or(hn::Or(a, hn::ShiftLeft<2>(b)),
                      hn::Or(hn::ShiftLeft<4>(c), hn::ShiftLeft<6>(d)));
      }
      word = hn::Or(hn::ShiftLeft<8>(word), byte);
    }
    store_words(word, out + 96 + 4 * w, kBytes, n);
  }
  g.d = store_halves(g.d, out + 108, kBytes, n);
}

// The codes of sub-block s for the grid as it is stored, over those of the search.
HWY_INLINE void final_codes(const Values<kValues>& x, size_t s, const Grid& g, VI* codes) {
  const VF scale = hn::Mul(g.d, to_float(hn::Sub(g.stored[s], hn::Set(kI, kHalfScale))));
  const MF none = hn::Eq(scale, zero());
  for (size_t i = 0; i < kSub; ++i) {
    const VI code = nearest_code(hn::Div(x.get(kSub * s + i), scale), -kHalf, kHalf - 1);
    codes[i] = choose(none, codes[i], hn::Add(code, hn::Set(kI, kHalf)));
  }
}

HWY_INLINE void put_codes(const VI* codes, std::byte* out, size_t n) {
  for (size_t m = 0; m < 32; m += 4) {
    VI word = hn::Zero(kI);
    for (size_t j = m + 4; j-- > m;) {
      VI third = hn::Zero(kI);
      for (size_t g = 8; g-- > 0;)
        third = hn::Or(hn::Add(third, third), hn::ShiftRight<2>(codes[32 * g + j]));
      word = hn::Or(hn::ShiftLeft<8>(word), third);
    }
    store_words(word, out + m, kBytes, n);
  }
  const VI low = hn::Set(kI, 3);
  for (size_t m = 0; m < 64; m += 4) {
    VI word = hn::Zero(kI);
    for (size_t j = m + 4; j-- > m;) {
      const VI* c = codes + j / 32 * 128 + j % 32;
      for (size_t g = 4; g-- > 0;) word = hn::Or(hn::ShiftLeft<2>(word), hn::And(c[32 * g], low));
    }
    store_words(word, out + 32 + m, kBytes, n);
  }
}

HWY_NOINLINE void encode_group(const RowTile& tile, size_t first, size_t n, std::byte* out) {
  Values<kValues> x;
  x.fill(tile.x + first * kValues, n);
  VI codes[kValues];
  Grid grid;
  if (tile.importance) {
    Values<kValues> importance;
    importance.fill_importance(tile, first, n);
    search(x, importance, codes, grid);
  } else {
    search(x, codes, grid);
  }
  put_grid(grid, out, n);
  for (size_t s = 0; s < kSubs; ++s) final_codes(x, s, grid, codes + kSub * s);
  put_codes(codes, out, n);
}

}  // namespace q3

void encode_q3_k(const RowTile& tile, const RowPlanes& planes) {
  lanes::for_block_groups<q3_k::kValues>(tile, [&](size_t first, size_t n) HWY_ATTR {
    q3::encode_group(tile, first, n, planes[0] + first * q3_k::kBytes);
  });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q3_k);
void q3_k::encode(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  HWY_DYNAMIC_DISPATCH(encode_q3_k)(tile, planes);
}
}  // namespace phiquant::quant
#endif
