#include "quant/ggml/q2_k.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/q2_k.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/lanes-inl.h"
#include "quant/ggml/positive-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {
namespace q2 {

using namespace lanes;
using q2_k::kBytes;
using q2_k::kSub;
using q2_k::kSubs;
using q2_k::kValues;

struct Grid {
  VI scales[kSubs], minimums[kSubs];
  VF d, dmin;
};

// As q2_k::store_steps.
HWY_INLINE VF store_steps(const VF* values, VI* stored) {
  VF largest = zero();
  for (size_t s = 0; s < kSubs; ++s)
    largest = choose(hn::Gt(values[s], largest), values[s], largest);
  const MF any = hn::Gt(largest, zero());
  const VF steps = set(q2_k::kMaxScale);
  const VF inverse = hn::Div(steps, largest);
  for (size_t s = 0; s < kSubs; ++s)
    stored[s] = choose(any, hn::And(nearest_int(hn::Mul(inverse, values[s])), hn::Set(kI, 255)),
                       hn::Zero(kI));
  return choose(any, hn::Div(largest, steps), zero());
}

HWY_INLINE void search(const Values<kValues>& x, Fit* fits) {
  for (size_t s = 0; s < kSubs; ++s) {
    VF v[kSub], w[kSub];
    for (size_t i = 0; i < kSub; ++i) {
      v[i] = x.get(kSub * s + i);
      w[i] = hn::Abs(v[i]);
    }
    fits[s] = fit_offset<kSub, true>(v, w, q2_k::kMaxCode, q2_k::kTrials);
  }
}

HWY_INLINE void search(const Values<kValues>& x, const Values<kValues>& importance, Fit* fits,
                       VF* sub_weights) {
  const VF sigma2 = mean_square(x, 1.0f);
  for (size_t s = 0; s < kSubs; ++s) {
    VF v[kSub], w[kSub];
    sub_weights[s] = zero();
    for (size_t i = 0; i < kSub; ++i) {
      v[i] = x.get(kSub * s + i);
      w[i] = importance_weight(v[i], importance.get(kSub * s + i), sigma2);
      sub_weights[s] = hn::Add(sub_weights[s], w[i]);
    }
    fits[s] = fit_offset<kSub, false>(v, w, q2_k::kMaxCode, q2_k::kImportanceTrials);
  }
}

HWY_INLINE void store_grid(const Fit* fits, const VF* sub_weights, Grid& g) {
  VF scales[kSubs], minimums[kSubs];
  for (size_t s = 0; s < kSubs; ++s) {
    scales[s] = fits[s].scale;
    minimums[s] = fits[s].offset;
  }
  if (sub_weights) {
    g.d = fit_positive<kSubs>(scales, sub_weights, q2_k::kMaxScale, g.scales);
    g.dmin = fit_positive<kSubs>(minimums, sub_weights, q2_k::kMaxScale, g.minimums);
  } else {
    g.d = store_steps(scales, g.scales);
    g.dmin = store_steps(minimums, g.minimums);
  }
}

HWY_INLINE void put_grid(Grid& g, std::byte* out, size_t n) {
  for (size_t s = 0; s < kSubs; s += 4) {
    VI word = hn::Zero(kI);
    for (size_t j = s + 4; j-- > s;) {
      const VI both =
          hn::And(hn::Or(g.scales[j], hn::ShiftLeft<4>(g.minimums[j])), hn::Set(kI, 255));
      g.scales[j] = hn::And(both, hn::Set(kI, 15));
      g.minimums[j] = hn::ShiftRight<4>(both);
      word = hn::Or(hn::ShiftLeft<8>(word), both);
    }
    store_words(word, out + s, kBytes, n);
  }
  g.d = store_halves(g.d, out + 80, kBytes, n);
  g.dmin = store_halves(g.dmin, out + 82, kBytes, n);
}

// The codes of sub-block s for the grid as it is stored.
HWY_INLINE void final_codes(const Values<kValues>& x, size_t s, const Grid& g, const Fit& fit,
                            VI* codes) {
  const VF d = hn::Mul(g.d, to_float(g.scales[s])), m = hn::Mul(g.dmin, to_float(g.minimums[s]));
  const MF none = hn::Eq(d, zero());
  for (size_t i = 0; i < kSub; ++i) {
    const VF v = x.get(kSub * s + i);
    codes[i] = nearest_code(hn::Div(hn::Add(v, m), d), 0, q2_k::kMaxCode);
    if (HWY_UNLIKELY(!hn::AllFalse(kF, none)))
      codes[i] =
          choose(none, nearest_code(hn::Mul(fit.inverse, hn::Sub(v, fit.min)), 0, q2_k::kMaxCode),
                 codes[i]);
  }
}

HWY_INLINE void put_codes(const VI* codes, std::byte* out, size_t n) {
  for (size_t m = 0; m < 64; m += 4) {
    VI word = hn::Zero(kI);
    for (size_t j = m + 4; j-- > m;) {
      const VI* c = codes + j / 32 * 128 + j % 32;
      const VI low = hn::Or(c[0], hn::ShiftLeft<2>(c[32]));
      const VI high = hn::Or(c[64], hn::ShiftLeft<2>(c[96]));
      word = hn::Or(hn::ShiftLeft<8>(word), hn::Or(low, hn::ShiftLeft<4>(high)));
    }
    store_words(word, out + m, kBytes, n);
  }
}

HWY_NOINLINE void encode_group(const RowTile& tile, size_t first, size_t n, std::byte* out) {
  Values<kValues> x;
  x.fill(tile.x + first * kValues, n);
  Fit fits[kSubs];
  VF sub_weights[kSubs];
  if (tile.importance) {
    Values<kValues> importance;
    importance.fill_importance(tile, first, n);
    search(x, importance, fits, sub_weights);
  } else {
    search(x, fits);
  }
  Grid grid;
  store_grid(fits, tile.importance ? sub_weights : nullptr, grid);
  put_grid(grid, out, n);
  VI codes[kValues];
  for (size_t s = 0; s < kSubs; ++s) final_codes(x, s, grid, fits[s], codes + kSub * s);
  put_codes(codes, out + 16, n);
}

}  // namespace q2

void encode_q2_k(const RowTile& tile, const RowPlanes& planes) {
  lanes::for_block_groups<q2_k::kValues>(tile, [&](size_t first, size_t n) HWY_ATTR {
    q2::encode_group(tile, first, n, planes[0] + first * q2_k::kBytes);
  });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q2_k);
void q2_k::encode(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  HWY_DYNAMIC_DISPATCH(encode_q2_k)(tile, planes);
}
}  // namespace phiquant::quant
#endif
