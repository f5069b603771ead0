#include "quant/blocks/k_quant.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/blocks/k_quant.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/blocks/divided_codes-inl.h"
#include "quant/numeric/pairwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

struct GroupFit {
  VF scale, min;
};

// A group of columns: values, weights and the codes of the trial at hand.
class KQuantGroup {
 public:
  KQuantGroup(const BlockTile& t, size_t n, unsigned max_code) : n_(n), max_code_(max_code) {
    x_.fill(t, n);
    const Range r = padded_range_of(t, n);
    lo_ = r.lo;
    hi_ = r.hi;
    max_ = hn::Set(kF, static_cast<float>(max_code));
  }

  // False where a division by a tiny range overflows or a huge range does: the reference then
  // decides.
  HWY_INLINE bool fit(GroupFit& best) {
    weigh();
    const VF one = hn::Set(kF, 1.0f);
    VF inverse = inverse_range(max_, lo_);
    if (!moderate(inverse)) return false;
    best = {hn::Div(one, inverse), lo_};
    encode_trial(inverse, lo_);
    VF best_error = error(best);
    for (int trial = 0; trial < k_quant::kTrials; ++trial) {
      inverse = inverse_range(hn::Set(kF, k_quant::trial_factor(trial, max_code_)), best.min);
      if (!moderate(inverse)) return false;
      const GroupFit fit = least_squares(inverse, best.min);
      const VF e = error(fit);
      const MF better = hn::Lt(e, best_error);
      best_error = hn::IfThenElse(better, e, best_error);
      best = {hn::IfThenElse(better, fit.scale, best.scale),
              hn::IfThenElse(better, fit.min, best.min)};
    }
    return true;
  }

  HWY_INLINE VF x(size_t k) const { return x_.get(k); }

 private:
  HWY_INLINE VF inverse_range(VF factor, VF min) const {
    return hn::IfThenElse(hn::Eq(min, hi_), hn::Set(kF, 1.0f), hn::Div(factor, hn::Sub(hi_, min)));
  }

  HWY_INLINE void weigh() {
    VF sums[2];
    pairwise_sums<1>(
        n_, [&](size_t k, VF* out) HWY_ATTR { out[0] = hn::Mul(x_.get(k), x_.get(k)); }, sums);
    const VF mean_root = hn::Sqrt(hn::Div(sums[0], hn::Set(kF, static_cast<float>(n_))));
    for (size_t k = 0; k < n_; ++k) w_.set(k, hn::Add(mean_root, hn::Abs(x_.get(k))));
    pairwise_sums<2>(
        n_,
        [&](size_t k, VF* out) HWY_ATTR {
          out[0] = w_.get(k);
          out[1] = hn::Mul(w_.get(k), x_.get(k));
        },
        sums);
    sum_w_ = sums[0];
    sum_x_ = sums[1];
  }

  HWY_INLINE VF trial_code(VF x, VF inverse, VF min) const {
    return round_even_small(clamp(hn::Mul(inverse, hn::Sub(x, min)), hn::Zero(kF), max_));
  }

  HWY_INLINE void encode_trial(VF inverse, VF min) {
    for (size_t k = 0; k < n_; ++k) q_.set(k, trial_code(x_.get(k), inverse, min));
  }

  // Encodes the trial and fits scale and minimum to its codes.
  HWY_INLINE GroupFit least_squares(VF inverse, VF min) {
    VF sums[3];
    pairwise_sums<3>(
        n_,
        [&](size_t k, VF* out) HWY_ATTR {
          const VF x = x_.get(k), q = trial_code(x, inverse, min);
          q_.set(k, q);
          out[0] = hn::Mul(w_.get(k), q);
          out[1] = hn::Mul(out[0], q);
          out[2] = hn::Mul(out[0], x);
        },
        sums);
    const VF l = sums[0], l2 = sums[1], xl = sums[2];
    const VF d = hn::Sub(hn::Mul(sum_w_, l2), hn::Mul(l, l));
    return {hn::Div(hn::Sub(hn::Mul(sum_w_, xl), hn::Mul(sum_x_, l)), d),
            hn::Div(hn::Sub(hn::Mul(l2, sum_x_), hn::Mul(l, xl)), d)};
  }

  HWY_INLINE VF error(const GroupFit& f) const {
    VF sum[1];
    pairwise_sums<1>(
        n_,
        [&](size_t k, VF* out) HWY_ATTR {
          const VF d = hn::Sub(hn::Add(hn::Mul(f.scale, q_.get(k)), f.min), x_.get(k));
          out[0] = hn::Mul(w_.get(k), hn::Mul(d, d));
        },
        sum);
    return sum[0];
  }

  size_t n_;
  unsigned max_code_;
  VF lo_, hi_, max_, sum_w_, sum_x_;
  Buffer x_, w_, q_;
};

HWY_INLINE bool encode_k_quant_group(const BlockTile& t, const SchemeParams& p,
                                     const BlockCodes& o) {
  const unsigned max_code = (1u << p.bits) - 1;
  KQuantGroup group(t, p.block_size, max_code);
  GroupFit best;
  if (!group.fit(best) || !moderate(best.scale)) return false;
  const VF exact = hn::Round(hn::Div(hn::Neg(best.min), best.scale));
  // A sum with +0 turns -0 into +0.
  const VF zero_point =
      hn::Add(clamp(exact, hn::Zero(kF), hn::Set(kF, static_cast<float>(max_code))), hn::Zero(kF));
  HWY_ALIGN float scales[kMaxLanes];
  double wide[kMaxLanes];
  hn::Store(best.scale, kF, scales);
  for (size_t c = 0; c < hn::Lanes(kF); ++c) wide[c] = static_cast<double>(scales[c]);
  const DividedCodes codes(hn::Div(hn::Set(kF, 1.0f), best.scale), zero_point, wide, max_code);
  pack_columns(
      p.bits, p.block_size, p.block_size, [&](size_t k) HWY_ATTR { return codes(group.x(k)); },
      hn::Zero(DI()), o);
  store_scales(o, round_to(best.scale, p.weight_dtype), zero_point);
  return true;
}

void encode_k_quant(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  if (!packs_whole_words(p) || !sums_pairwise(p.block_size))
    return k_quant::encode_ref(tile, p, out);
  for_column_groups<Packing::nbits>(tile, p, out, k_quant::encode_ref,
                                    [&](const BlockTile& t, const BlockCodes& o)
                                        HWY_ATTR { return encode_k_quant_group(t, p, o); });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_k_quant);
void k_quant::encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  HWY_DYNAMIC_DISPATCH(encode_k_quant)(tile, p, out);
}
}  // namespace phiquant::quant
#endif
