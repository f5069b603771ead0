#include "quant/blocks/search.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/blocks/search.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/blocks/default_scale-inl.h"
#include "quant/numeric/pairwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

struct GroupGrid {
  VF scale, reciprocal, lo, hi;

  HWY_INLINE VF level(VF x) const {
    // For |v| < 2^22 halves to even, as nearbyint.
    const VF magic = hn::Set(kF, 0x1.8p23f);
    return hn::Sub(hn::Add(clamp(hn::Mul(x, reciprocal), lo, hi), magic), magic);
  }
};

struct GroupErrors {
  VF weighted, plain;
};

HWY_INLINE MF usable_lanes(VF reciprocal) {
  const VF m = hn::Abs(reciprocal);
  return hn::And(hn::Gt(m, hn::Set(kF, 0x1p-100f)), hn::Lt(m, hn::Set(kF, 0x1p100f)));
}

class SearchGroup {
 public:
  SearchGroup(const BlockTile& t, const SchemeParams& p) : n_(t.n_rows), params_(p) {
    max_code_ = hn::Set(kF, static_cast<float>((1u << p.bits) - 1));
    lowest_ = with_zero(range_of(t)).lo;
    x_.fill(t, n_);
    VF sum[1];
    pairwise_sums<1>(
        n_, [&](size_t k, VF* out) HWY_ATTR { out[0] = hn::Mul(x(k), x(k)); }, sum);
    const VF mean_root = hn::Sqrt(hn::Div(sum[0], hn::Set(kF, static_cast<float>(n_))));
    for (size_t k = 0; k < n_; ++k) w_.set(k, hn::Add(mean_root, hn::Abs(x(k))));
  }

  HWY_INLINE VF x(size_t k) const { return x_.get(k); }

  HWY_INLINE GroupGrid find(const GroupScale& start) const {
    const float max_code = static_cast<float>((1u << params_.bits) - 1);
    const float base = params_.symmetric ? static_cast<float>(1u << (params_.bits - 1)) : max_code;
    const VF one = hn::Set(kF, 1.0f), zero = hn::Zero(kF);
    GroupGrid best = make_grid(start.stored, start.zero_point);
    GroupErrors least = errors(best);
    const VF plain_limit = least.plain;
    for (int trial = 0; trial < search::kTrials; ++trial) {
      const VF s = hn::Div(start.stored, hn::Set(kF, search::trial_divisor(trial, base)));
      const VF r = hn::Div(one, s);
      const VF zero_point =
          params_.symmetric ? start.zero_point
                            : clamp(hn::Round(hn::Sub(zero, hn::Mul(lowest_, r))), zero, max_code_);
      const GroupGrid guess{s, r, hn::Neg(zero_point), hn::Sub(max_code_, zero_point)};
      const GroupGrid grid = make_grid(round_to(refit(guess), params_.weight_dtype), zero_point);
      const GroupErrors e = errors(grid);
      const MF lower = hn::And(hn::Lt(e.weighted, least.weighted), hn::Le(e.plain, plain_limit));
      const MF better = hn::And(lower, usable_lanes(grid.reciprocal));
      least.weighted = hn::IfThenElse(better, e.weighted, least.weighted);
      best = {hn::IfThenElse(better, grid.scale, best.scale),
              hn::IfThenElse(better, grid.reciprocal, best.reciprocal),
              hn::IfThenElse(better, grid.lo, best.lo), hn::IfThenElse(better, grid.hi, best.hi)};
    }
    return best;
  }

 private:
  HWY_INLINE GroupGrid make_grid(VF s, VF zero_point) const {
    const VF r = hn::IfThenZeroElse(hn::Eq(s, hn::Zero(kF)), hn::Div(hn::Set(kF, 1.0f), s));
    return {s, r, hn::Neg(zero_point), hn::Sub(max_code_, zero_point)};
  }

  HWY_INLINE GroupErrors errors(const GroupGrid& g) const {
    VF sums[2];
    pairwise_sums<2>(
        n_,
        [&](size_t k, VF* out) HWY_ATTR {
          const VF d = hn::Sub(x(k), hn::Mul(g.scale, g.level(x(k))));
          out[1] = hn::Mul(d, d);
          out[0] = hn::Mul(w_.get(k), out[1]);
        },
        sums);
    return {sums[0], sums[1]};
  }

  HWY_INLINE VF refit(const GroupGrid& g) const {
    VF sums[2];
    pairwise_sums<2>(
        n_,
        [&](size_t k, VF* out) HWY_ATTR {
          const VF q = g.level(x(k)), wq = hn::Mul(w_.get(k), q);
          out[0] = hn::Mul(wq, x(k));
          out[1] = hn::Mul(wq, q);
        },
        sums);
    return hn::IfThenElseZero(hn::Gt(sums[1], hn::Zero(kF)), hn::Div(sums[0], sums[1]));
  }

  size_t n_;
  SchemeParams params_;
  VF max_code_, lowest_;
  Buffer x_, w_;
};

HWY_INLINE bool encode_search_group(const BlockTile& t, const SchemeParams& p,
                                    const BlockCodes& o) {
  const GroupScale start = default_scale(t, range_of(t), p);
  const VF inverse = hn::Div(hn::Set(kF, 1.0f), start.stored);
  if (!hn::AllTrue(kF, usable_lanes(inverse))) return false;
  const SearchGroup group(t, p);
  const GroupGrid grid = group.find(start);
  pack_columns(
      p.bits, t.n_rows, p.block_size,
      [&](size_t k)
          HWY_ATTR { return hn::ConvertTo(DI(), hn::Sub(grid.level(group.x(k)), grid.lo)); },
      hn::Zero(DI()), o);
  store_scales(o, grid.scale, hn::Neg(grid.lo));
  return true;
}

void encode_search(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  if (!packs_whole_words(p) || !sums_pairwise(tile.n_rows)) return search::encode_ref(tile, p, out);
  for_column_groups<Packing::nbits>(tile, p, out, search::encode_ref,
                                    [&](const BlockTile& t, const BlockCodes& o)
                                        HWY_ATTR { return encode_search_group(t, p, o); });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_search);
void search::encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  HWY_DYNAMIC_DISPATCH(encode_search)(tile, p, out);
}
}  // namespace phiquant::quant
#endif
