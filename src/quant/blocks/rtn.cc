#include "quant/blocks/rtn.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/blocks/rtn.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/blocks/divided_codes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

HWY_INLINE bool encode_rtn_group(const BlockTile& t, const SchemeParams& p, const BlockCodes& o) {
  const unsigned max_code = (1u << p.bits) - 1;
  const VF max = hn::Set(kF, static_cast<float>(max_code)), zero = hn::Zero(kF);
  const Range r = padded_range_of(t, p.block_size);
  const VF extreme = hn::Max(hn::Abs(r.lo), hn::Abs(r.hi));
  const VF span = p.symmetric ? hn::Add(extreme, extreme) : hn::Sub(r.hi, r.lo);
  const VF rounded = p.weight_dtype == DType::f16 ? round_f16(span) : span;
  const VF numerator = hn::IfThenElse(hn::Eq(span, zero), max, rounded);  // scale 1
  // The float quotient is the double one rounded: 53 >= 2 * 24 + 2 bits.
  const VF scale = hn::Div(numerator, max);
  if (!moderate(scale)) return false;
  const VF reciprocal = hn::Div(hn::Set(kF, 1.0f), scale);
  HWY_ALIGN float numerators[kMaxLanes];
  double scales[kMaxLanes];
  hn::Store(numerator, kF, numerators);
  for (size_t c = 0; c < hn::Lanes(kF); ++c)
    scales[c] = static_cast<double>(numerators[c]) / static_cast<double>(max_code);
  const VF zero_point =
      p.symmetric
          ? hn::Set(kF, static_cast<float>(1u << (p.bits - 1)))
          : hn::ConvertTo(kF, DividedCodes(reciprocal, zero, scales, max_code)(hn::Neg(r.lo)));
  DividedCodes codes(reciprocal, zero_point, scales, max_code);
  if (p.symmetric) codes.know_half(hn::Neg(extreme));
  pack_columns(
      p.bits, t.n_rows, p.block_size, [&](size_t k) HWY_ATTR { return codes(row(t, k)); },
      hn::ConvertTo(DI(), zero_point), o);
  store_scales(o, round_to(scale, p.weight_dtype), zero_point);
  return true;
}

void encode_rtn(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  if (!packs_whole_words(p)) return rtn::encode_ref(tile, p, out);
  for_column_groups<Packing::nbits>(tile, p, out, rtn::encode_ref,
                                    [&](const BlockTile& t, const BlockCodes& o)
                                        HWY_ATTR { return encode_rtn_group(t, p, o); });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_rtn);
void rtn::encode(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  HWY_DYNAMIC_DISPATCH(encode_rtn)(tile, p, out);
}
}  // namespace phiquant::quant
#endif
