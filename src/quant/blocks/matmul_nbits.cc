#include "quant/blocks/matmul_nbits.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/blocks/matmul_nbits.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/blocks/default_scale-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// Codes before they are cut to their range: never negative, and at most one too large.
struct RawCodes {
  VF reciprocal, zero_point, almost_half;

  HWY_INLINE VF rounded(VF x) const {
    return hn::Add(hn::Add(hn::Mul(x, reciprocal), zero_point), almost_half);
  }
  // Each step of rounded() is monotone, so that the range of the values bounds all codes.
  HWY_INLINE bool hold(const Range& r, float top) const {
    const VF a = rounded(r.lo), b = rounded(r.hi);
    return hn::AllTrue(kF, hn::And(hn::Gt(hn::Min(a, b), hn::Set(kF, -1.0f)),
                                   hn::Lt(hn::Max(a, b), hn::Set(kF, top + 2))));
  }
};

HWY_INLINE void pack_group(const BlockTile& t, const SchemeParams& p, const RawCodes& raw,
                           const Range& range, const BlockCodes& o) {
  const VF lo = hn::Zero(kF), hi = hn::Set(kF, static_cast<float>((1u << p.bits) - 1));
  const auto code_of = [&](VF x) HWY_ATTR {
    const VF v = clamp(hn::Add(hn::Mul(x, raw.reciprocal), raw.zero_point), lo, hi);
    return to_int_in_range(hn::Add(v, raw.almost_half));
  };
#if HWY_TARGET != HWY_SCALAR
  const bool whole = t.n_rows == p.block_size && p.block_size * p.bits % 128 == 0;
  if (whole && p.bits == 4 && raw.hold(range, 15))
    return pack_whole_columns<4>(
        t, [&](VF x) HWY_ATTR { return to_int_in_range(raw.rounded(x)); }, o);
  if (whole && p.bits == 8) return pack_whole_columns<8>(t, code_of, o);
#else
  (void)range;
#endif
  pack_columns(
      p.bits, t.n_rows, p.block_size, [&](size_t k) HWY_ATTR { return code_of(row(t, k)); },
      hn::Zero(DI()), o);
}

void encode_matmul_nbits(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  if (!packs_whole_words(p)) return matmul_nbits::encode_ref(tile, p, out);
  const VF almost_half = hn::Set(kF, kAlmostHalf);
  for_column_groups<Packing::nbits>(
      tile, p, out, matmul_nbits::encode_ref,
      [&](const BlockTile& t, const BlockCodes& o) HWY_ATTR {
        const Range range = range_of(t);
        const GroupScale s = default_scale(t, range, p);
        if (!hn::AllTrue(kF, hn::IsFinite(s.reciprocal))) return false;
        pack_group(t, p, {s.reciprocal, s.zero_point, almost_half}, range, o);
        store_scales(o, s.stored, s.zero_point);
        return true;
      });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_matmul_nbits);
void matmul_nbits::encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  HWY_DYNAMIC_DISPATCH(encode_matmul_nbits)(tile, p, out);
}
}  // namespace phiquant::quant
#endif
