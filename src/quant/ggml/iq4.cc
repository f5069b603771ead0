#include "quant/ggml/iq4.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/iq4.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {
namespace iq {

using namespace lanes;
using iq4::kLevels;
using iq4::kSub;
using iq4::kXsSubs;

// A code and its level.
struct Level {
  VI code;
  VF level;
};

constexpr float limit_above(size_t i) { return 0.5f * (kLevels[i] + kLevels[i + 1]); }

// Of each vector width the fastest way to find a level. Each compares so that what is not a number
// takes the last one.
template <size_t kLanes = hn::MaxLanes(DF())>
class LevelFinder {
 public:
  HWY_INLINE Level operator()(VF x) const {
    Level found{hn::Zero(kI), set(kLevels[0])};
    for (size_t i = 0; i < 15; ++i) {
      const MF above = hn::Not(hn::Lt(x, set(limit_above(i))));
      found.level = choose(above, set(kLevels[i + 1]), found.level);
      found.code = choose(above, hn::Set(kI, static_cast<int>(i + 1)), found.code);
    }
    return found;
  }
};

#if HWY_TARGET != HWY_SCALAR
HWY_INLINE VF lookup(VF table, VI index) {
  return hn::TableLookupLanes(table, hn::IndicesFromVec(kF, index));
}
// index + step where x is not below its limit.
HWY_INLINE VI stepped(VF x, VF limit, VI index, int step) {
  return choose(hn::Lt(x, limit), index, hn::Add(index, hn::Set(kI, step)));
}

// Tables of 8: binary search, the last lookups in the half that the first comparison chose.
template <>
class LevelFinder<8> {
 public:
  LevelFinder() {
    HWY_ALIGN float quarters[8], eighths[8];
    for (size_t i = 0; i < 8; ++i) {
      quarters[i] = limit_above(4 * (i % 4) + 1);
      eighths[i] = limit_above(2 * i);
    }
    quarters_ = hn::Load(kF, quarters);
    eighths_ = hn::Load(kF, eighths);
    low_ = hn::LoadU(kF, kLevels.data());
    high_ = hn::LoadU(kF, kLevels.data() + 8);
  }
  HWY_INLINE Level operator()(VF x) const {
    const MF below = hn::Lt(x, set(limit_above(7)));
    VI code = choose(below, hn::Zero(kI), hn::Set(kI, 8));
    code = stepped(x, choose(below, set(limit_above(3)), set(limit_above(11))), code, 4);
    code = stepped(x, lookup(quarters_, hn::ShiftRight<2>(code)), code, 2);
    code = stepped(x, lookup(eighths_, hn::ShiftRight<1>(code)), code, 1);
    const VI within = hn::And(code, hn::Set(kI, 7));
    return {code, choose(below, lookup(low_, within), lookup(high_, within))};
  }

 private:
  VF quarters_, eighths_, low_, high_;
};

// Tables of 16.
template <>
class LevelFinder<16> {
 public:
  LevelFinder() {
    HWY_ALIGN float limits[16] = {};
    for (size_t i = 0; i < 15; ++i) limits[i] = limit_above(i);
    limits_ = hn::Load(kF, limits);
    levels_ = hn::LoadU(kF, kLevels.data());
  }
  HWY_INLINE Level operator()(VF x) const {
    VI code = stepped(x, set(limit_above(7)), hn::Zero(kI), 8);
    for (const int step : {4, 2, 1})
      code = stepped(x, lookup(limits_, hn::Add(code, hn::Set(kI, step - 1))), code, step);
    return {code, lookup(levels_, code)};
  }

 private:
  VF limits_, levels_;
};
#endif

// As iq4::trial_factor.
HWY_INLINE VF trial_factor(int trial, VF largest) {
  if (trial == 0) return hn::Div(set(1.0f), hn::Div(hn::Neg(largest), set(kLevels[0])));
  return hn::Div(set(static_cast<float>(trial - 1 - iq4::kTrials) + kLevels[0]), largest);
}

// As iq4::fit_scale.
HWY_INLINE VF fit_scale(const VF* x, const VF* w, const LevelFinder<>& find) {
  const VF largest = first_largest(kSub, [x](size_t i) HWY_ATTR { return x[i]; });
  VF scale = zero(), best = zero();
  for (int trial = 0; trial < 2 * iq4::kTrials + 2; ++trial) {
    const VF factor = trial_factor(trial, largest);
    VF xl = zero(), l2 = zero();
    for (size_t i = 0; i < kSub; ++i) {
      const VF level = find(hn::Mul(factor, x[i])).level;
      const VF wl = hn::Mul(w[i], level);
      xl = hn::Add(xl, hn::Mul(wl, x[i]));
      l2 = hn::Add(l2, hn::Mul(wl, level));
    }
    const MF any = hn::Gt(l2, zero());
    const VF new_scale = choose(any, hn::Div(xl, l2), zero());
    const MF better = trial == 0 ? hn::Eq(zero(), zero())
                                 : hn::And(any, hn::Gt(hn::Mul(xl, xl), hn::Mul(best, l2)));
    scale = choose(better, new_scale, scale);
    best = choose(better, hn::Mul(new_scale, xl), best);
  }
  return choose(hn::Lt(hn::Abs(largest), set(1e-15f)), zero(), scale);
}

HWY_INLINE VF inverse_or_zero(VF v) {
  // Not Ne: of what is not a number, instruction sets disagree.
  return choose(hn::Eq(v, zero()), zero(), hn::Div(set(1.0f), v));
}

// 16 bytes of codes of 32 vectors.
HWY_INLINE void put_codes(const VF* x, VF factor, const LevelFinder<>& find, std::byte* out,
                          size_t stride, size_t n) {
  for (size_t m = 0; m < 16; m += 4) {
    VI word = hn::Zero(kI);
    for (size_t j = m + 4; j-- > m;) {
      const VI low = find(hn::Mul(factor, x[j])).code;
      const VI high = find(hn::Mul(factor, x[j + 16])).code;
      word = hn::Or(hn::ShiftLeft<8>(word), hn::Or(low, hn::ShiftLeft<4>(high)));
    }
    store_words(word, out + m, stride, n);
  }
}

// Values of a sub-block and their weights; importance may be null.
template <size_t kValues>
HWY_INLINE void load(const Values<kValues>& x, const Values<kValues>* importance, VF sigma2,
                     size_t first, VF* v, VF* w) {
  for (size_t i = 0; i < kSub; ++i) {
    v[i] = x.get(first + i);
    w[i] = importance ? importance_weight(v[i], importance->get(first + i), sigma2)
                      : hn::Mul(v[i], v[i]);
  }
}

// As iq4::sigma2_of.
template <size_t kValues>
HWY_INLINE VF sigma2_of(const Values<kValues>& x) {
  VF sum = zero();
  for (size_t i = 0; i < kValues; ++i) sum = hn::Add(sum, hn::Mul(x.get(i), x.get(i)));
  return hn::Mul(sum, set(2.0f / static_cast<float>(kValues)));
}

HWY_INLINE void put_nl(const Values<kSub>& x, const Values<kSub>* importance, std::byte* out,
                       size_t n) {
  const LevelFinder<> find;
  VF v[kSub], w[kSub];
  load(x, importance, importance ? sigma2_of(x) : zero(), 0, v, w);
  const VF scale = fit_scale(v, w, find);
  store_halves(scale, out, iq4::kNlBytes, n);
  put_codes(v, inverse_or_zero(scale), find, out + 2, iq4::kNlBytes, n);
}

HWY_NOINLINE void encode_nl_group(const RowTile& tile, size_t first, size_t n, std::byte* out) {
  Values<kSub> x;
  x.fill(tile.x + first * kSub, n);
  if (!tile.importance) return put_nl(x, nullptr, out, n);
  Values<kSub> importance;
  importance.fill_importance(tile, first, n);
  put_nl(x, &importance, out, n);
}

// As iq4::fit_xs, and the codes.
HWY_INLINE void put_xs(const Values<ggml::kSuper>& x, const VF* scales, const LevelFinder<>& find,
                       std::byte* out, size_t n) {
  const VF largest = first_largest(kXsSubs, [scales](size_t s) HWY_ATTR { return scales[s]; });
  const VF d = hn::Div(hn::Neg(largest), set(32.0f)), inverse = inverse_or_zero(d);
  VI low = hn::Zero(kI), high = hn::Zero(kI);
  for (size_t s = kXsSubs; s-- > 0;) {
    const VI steps = nearest_code(hn::Mul(inverse, scales[s]), -32, 31);
    const VI stored = hn::Add(steps, hn::Set(kI, 32));
    low = hn::Or(hn::ShiftLeft<4>(low), hn::And(stored, hn::Set(kI, 15)));
    high = hn::Or(hn::ShiftLeft<2>(high), hn::ShiftRight<4>(stored));
    VF v[kSub];
    for (size_t i = 0; i < kSub; ++i) v[i] = x.get(kSub * s + i);
    put_codes(v, inverse_or_zero(hn::Mul(d, to_float(steps))), find, out + 8 + 16 * s,
              iq4::kXsBytes, n);
  }
  store_words(high, out + 2, iq4::kXsBytes, n);  // its upper half is then overwritten
  store_words(low, out + 4, iq4::kXsBytes, n);
  store_halves(d, out, iq4::kXsBytes, n);
}

HWY_INLINE void put_xs(const Values<ggml::kSuper>& x, const Values<ggml::kSuper>* importance,
                       std::byte* out, size_t n) {
  const LevelFinder<> find;
  const VF sigma2 = importance ? sigma2_of(x) : zero();
  VF scales[kXsSubs];
  for (size_t s = 0; s < kXsSubs; ++s) {
    VF v[kSub], w[kSub];
    load(x, importance, sigma2, kSub * s, v, w);
    scales[s] = fit_scale(v, w, find);
  }
  put_xs(x, scales, find, out, n);
}

HWY_NOINLINE void encode_xs_group(const RowTile& tile, size_t first, size_t n, std::byte* out) {
  Values<ggml::kSuper> x;
  x.fill(tile.x + first * ggml::kSuper, n);
  if (!tile.importance) return put_xs(x, nullptr, out, n);
  Values<ggml::kSuper> importance;
  importance.fill_importance(tile, first, n);
  put_xs(x, &importance, out, n);
}

}  // namespace iq

void encode_iq4_nl(const RowTile& tile, const RowPlanes& planes) {
  lanes::for_block_groups<iq4::kSub>(tile, [&](size_t first, size_t n) HWY_ATTR {
    iq::encode_nl_group(tile, first, n, planes[0] + first * iq4::kNlBytes);
  });
}
void encode_iq4_xs(const RowTile& tile, const RowPlanes& planes) {
  lanes::for_block_groups<ggml::kSuper>(tile, [&](size_t first, size_t n) HWY_ATTR {
    iq::encode_xs_group(tile, first, n, planes[0] + first * iq4::kXsBytes);
  });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_iq4_nl);
HWY_EXPORT(encode_iq4_xs);
void iq4::encode_nl(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  HWY_DYNAMIC_DISPATCH(encode_iq4_nl)(tile, planes);
}
void iq4::encode_xs(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  HWY_DYNAMIC_DISPATCH(encode_iq4_xs)(tile, planes);
}
}  // namespace phiquant::quant
#endif
