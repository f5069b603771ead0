// ggml::fit_positive, a lane a super-block: steps for its scales or minimums. Included once per
// instruction set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_GGML_POSITIVE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_GGML_POSITIVE_INL_H_
#undef PHIQUANT_QUANT_GGML_POSITIVE_INL_H_
#else
#define PHIQUANT_QUANT_GGML_POSITIVE_INL_H_
#endif

#include "quant/ggml/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {
namespace lanes {

HWY_INLINE VI wrapped_byte(VI v) { return hn::And(v, hn::Set(kI, 255)); }

HWY_INLINE VI positive_code(VF v, int max_code) {
  return hn::Min(nearest_int(v), hn::Set(kI, max_code));
}

// One pass of ggml::descend. Lanes that have come to rest stay as they are; whether any moved.
template <size_t kN>
HWY_INLINE bool descend_positive(const VF* x, const VF* w, int max_code, VI* codes, VF& sum_lx,
                                 VF& sum_l2) {
  MF moved = hn::Lt(zero(), zero());
  for (size_t i = 0; i < kN; ++i) {
    const VF old = to_float(codes[i]), wx = hn::Mul(w[i], x[i]);
    VF lx = hn::Sub(sum_lx, hn::Mul(wx, old));
    VF l2 = hn::Sub(sum_l2, hn::Mul(hn::Mul(w[i], old), old));
    const MF possible = hn::And(hn::Gt(lx, zero()), hn::Gt(l2, zero()));
    const VI code = positive_code(hn::Div(hn::Mul(x[i], l2), lx), max_code);
    const MF other = hn::RebindMask(kF, hn::Ne(code, codes[i]));
    const VF l = to_float(code);
    lx = hn::Add(lx, hn::Mul(wx, l));
    l2 = hn::Add(l2, hn::Mul(hn::Mul(w[i], l), l));
    const MF better =
        hn::Gt(hn::Mul(hn::Mul(lx, lx), sum_l2), hn::Mul(hn::Mul(sum_lx, sum_lx), l2));
    const MF take = hn::And(hn::And(possible, other), better);
    codes[i] = choose(take, wrapped_byte(code), codes[i]);
    sum_lx = choose(take, lx, sum_lx);
    sum_l2 = choose(take, l2, sum_l2);
    moved = hn::Or(moved, take);
  }
  return !hn::AllFalse(kF, moved);
}

// The ranges' inverse with the least error: the plain one, then eight others.
template <size_t kN>
HWY_INLINE VF best_positive_inverse(const VF* x, const VF* w, VF max, int max_code) {
  VF best_inverse = zero(), best = zero();
  for (int t = -5; t <= 4; ++t) {  // -5 stands for the plain one, whose codes wrap
    if (t == 0) continue;
    const float top = t == -5 ? static_cast<float>(max_code)
                              : 0.1f * static_cast<float>(t) + static_cast<float>(max_code);
    const VF inverse = hn::Div(set(top), max), scale = hn::Div(set(1.0f), inverse);
    VF error = zero();
    for (size_t i = 0; i < kN; ++i) {
      const VF v = hn::Mul(inverse, x[i]);
      const VI code = t == -5 ? wrapped_byte(nearest_int(v)) : positive_code(v, max_code);
      const VF diff = hn::Sub(x[i], hn::Mul(scale, to_float(code)));
      error = hn::Add(error, hn::Mul(hn::Mul(w[i], diff), diff));
    }
    const MF better = t == -5 ? hn::Eq(zero(), zero()) : hn::Lt(error, best);
    best = choose(better, error, best);
    best_inverse = choose(better, inverse, best_inverse);
  }
  return best_inverse;
}

template <size_t kN>
HWY_INLINE VF fit_positive(const VF* x, const VF* w, int max_code, VI* codes) {
  VF max = zero();
  for (size_t i = 0; i < kN; ++i) max = choose(hn::Lt(max, x[i]), x[i], max);
  const MF zeros = hn::Lt(max, set(ggml::kZeroGroup));
  const VF inverse = best_positive_inverse<kN>(x, w, max, max_code);
  VF lx = zero(), l2 = zero();
  for (size_t i = 0; i < kN; ++i) {
    const VI code = positive_code(hn::Mul(inverse, x[i]), max_code);
    const VF l = to_float(code);
    codes[i] = wrapped_byte(code);
    lx = hn::Add(lx, hn::Mul(hn::Mul(w[i], x[i]), l));
    l2 = hn::Add(l2, hn::Mul(hn::Mul(w[i], l), l));
  }
  for (int pass = 0; pass < 5 && descend_positive<kN>(x, w, max_code, codes, lx, l2); ++pass) {
  }
  for (size_t i = 0; i < kN; ++i) codes[i] = choose(zeros, hn::Zero(kI), codes[i]);
  return choose(hn::Or(zeros, hn::Not(hn::Gt(l2, zero()))), zero(), hn::Div(lx, l2));
}

}  // namespace lanes
}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
