#include "quant/blocks/hqq.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/blocks/hqq.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/numeric/pairwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// hqq::torch_sum of term(k) for a group of columns.
template <class Term>
HWY_INLINE VF torch_sums(size_t n, const Term& term) {
  const size_t vectors = n / 8, whole = vectors / 4 * 4;
  VF total = hn::Zero(kF);
  for (size_t lane = 0; lane < 8; ++lane) {
    VF a = hn::Zero(kF), b = a, c = a, d = a;
    for (size_t v = 0; v < whole; v += 4) {
      a = hn::Add(a, term(v * 8 + lane));
      b = hn::Add(b, term(v * 8 + 8 + lane));
      c = hn::Add(c, term(v * 8 + 16 + lane));
      d = hn::Add(d, term(v * 8 + 24 + lane));
    }
    for (size_t v = whole; v < vectors; ++v) a = hn::Add(a, term(v * 8 + lane));
    total = hn::Add(total, hn::Add(hn::Add(hn::Add(a, b), c), d));
  }
  return total;
}

class HqqGroup {
 public:
  HqqGroup(const BlockTile& t, const SchemeParams& p)
      : n_(p.block_size), max_(hn::Set(kF, static_cast<float>((1u << p.bits) - 1))) {
    x_.fill(t, n_);
    const Range range = padded_range_of(t, n_);
    const VF span = hn::Sub(range.hi, range.lo);
    const VF safe = hn::IfThenElse(hn::Eq(span, hn::Zero(kF)), max_, span);
    r_ = hn::Min(hn::Mul(hn::Div(hn::Set(kF, 1.0f), safe), max_), hn::Set(kF, 2e4f));
    zero_ = hn::Round(hn::Mul(hn::Neg(range.lo), r_));
    const VF largest = hn::Max(hn::Abs(range.lo), hn::Abs(range.hi));
    small_ = hn::AllTrue(kF, hn::Lt(largest, hn::Set(kF, 1000.0f)));
  }

  // False where r is so small that quotients overflow: the reference then decides.
  HWY_INLINE bool ok() const { return moderate(r_); }
  HWY_INLINE VF r() const { return r_; }
  HWY_INLINE VF zero() const { return zero_; }
  HWY_INLINE VF code(VF x) const {
    return clamp(hn::Round(hn::Add(hn::Mul(x, r_), zero_)), hn::Zero(kF), max_);
  }
  HWY_INLINE VF x(size_t k) const { return x_.get(k); }

  HWY_INLINE VF sum_of_differences() const {
    VF sum[1];
    pairwise_sums<1>(
        n_,
        [&](size_t k, VF* out) HWY_ATTR {
          const VF x = x_.get(k);
          out[0] = hn::Abs(hn::Sub(x, hn::Div(hn::Sub(code(x), zero_), r_)));
        },
        sum);
    return sum[0];
  }

  HWY_INLINE void step(float inverse_beta) {
    // |x * r - (q - zero)| below this proves |d| < 0.05, where shrink() is 0: with |x| < 1000 the
    // float errors of either side are below 2^-22 * 1000 * r, a quarter of the margin.
    const VF limit = small_ ? hn::Mul(r_, hn::Set(kF, 0.049f)) : hn::Zero(kF);
    const VF sum = torch_sums(n_, [&](size_t k) HWY_ATTR {
      const VF x = x_.get(k), product = hn::Mul(x, r_);
      const VF q = clamp(hn::Round(hn::Add(product, zero_)), hn::Zero(kF), max_);
      const VF steps = hn::Sub(q, zero_);
      if (HWY_LIKELY(hn::AllTrue(kF, hn::Lt(hn::Abs(hn::Sub(product, steps)), limit))))
        return hn::Sub(q, product);
      const VF d = hn::Sub(x, hn::Div(steps, r_));
      return hn::Sub(q, hn::Mul(hn::Sub(x, shrink(d, inverse_beta)), r_));
    });
    zero_ = hn::Div(sum, hn::Set(kF, static_cast<float>(n_)));
  }

 private:
  static HWY_NOINLINE VF shrink(VF d, float inverse_beta) {
    HWY_ALIGN float lanes[kMaxLanes];
    hn::Store(d, kF, lanes);
    for (size_t c = 0; c < hn::Lanes(kF); ++c) lanes[c] = hqq::shrink(lanes[c], inverse_beta);
    return hn::Load(kF, lanes);
  }

  size_t n_;
  VF max_, r_, zero_;
  bool small_;
  Buffer x_;
};

HWY_INLINE bool encode_hqq_group(const BlockTile& t, const SchemeParams& p, const BlockCodes& o) {
  HqqGroup group(t, p);
  if (!group.ok()) return false;
  double beta = 10;
  for (unsigned i = 0; i < hqq::steps_of(p); ++i, beta *= 1.01)
    group.step(static_cast<float>(1 / beta));
  pack_columns(
      p.bits, p.block_size, p.block_size,
      [&](size_t k) HWY_ATTR { return hn::ConvertTo(DI(), group.code(group.x(k))); },
      hn::Zero(DI()), o);
  store_scales(o, round_to(hn::Div(hn::Set(kF, 1.0f), group.r()), p.weight_dtype),
               round_to(group.zero(), p.weight_dtype));
  return true;
}

void encode_hqq(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  if (!packs_whole_words(p) || !sums_pairwise(p.block_size)) return hqq::encode_ref(tile, p, out);
  for_column_groups<Packing::nbits>(tile, p, out, hqq::encode_ref,
                                    [&](const BlockTile& t, const BlockCodes& o)
                                        HWY_ATTR { return encode_hqq_group(t, p, o); });
}

// No overlap here: every column must be added once.
void add_hqq_errors(const BlockTile& tile, const SchemeParams& p, double* sums) {
  const size_t lanes = hn::Lanes(kF);
  size_t c = 0;
  if (sums_pairwise(p.block_size)) {
    for (; c + lanes <= tile.n_cols; c += lanes) {
      HqqGroup group(columns(tile, c, lanes), p);
      if (!group.ok()) {
        hqq::add_step_errors_ref(columns(tile, c, lanes), p, sums);
        continue;
      }
      double beta = 10;
      for (unsigned i = 0; i < hqq::steps_of(p); ++i, beta *= 1.01) {
        HWY_ALIGN float errors[kMaxLanes];
        hn::Store(group.sum_of_differences(), kF, errors);
        for (size_t j = 0; j < lanes; ++j) sums[i] += static_cast<double>(errors[j]);
        group.step(static_cast<float>(1 / beta));
      }
    }
  }
  if (c < tile.n_cols) hqq::add_step_errors_ref(columns(tile, c, tile.n_cols - c), p, sums);
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_hqq);
HWY_EXPORT(add_hqq_errors);
void hqq::encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  HWY_DYNAMIC_DISPATCH(encode_hqq)(tile, p, out);
}
void hqq::add_step_errors(const BlockTile& tile, const SchemeParams& p, double* sums) {
  HWY_DYNAMIC_DISPATCH(add_hqq_errors)(tile, p, sums);
}
}  // namespace phiquant::quant
#endif
