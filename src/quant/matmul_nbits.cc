#include "quant/matmul_nbits.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/matmul_nbits.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/default_scale-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

void encode_matmul_nbits(const BlockTile& tile, const SchemeParams& p, const BlockCodes& out) {
  if (!packs_whole_words(p)) return matmul_nbits::encode_ref(tile, p, out);
  const VF lo = hn::Zero(kF), hi = hn::Set(kF, static_cast<float>((1u << p.bits) - 1));
  const VF almost_half = hn::Set(kF, kAlmostHalf);
  for_column_groups<Packing::nbits>(
      tile, p, out, matmul_nbits::encode_ref,
      [&](const BlockTile& t, const BlockCodes& o) HWY_ATTR {
        const GroupScale s = default_scale(t, p);
        if (!hn::AllTrue(kF, hn::IsFinite(s.reciprocal))) return false;
        const auto code_at = [&](size_t k) HWY_ATTR {
          const VF v = clamp(hn::Add(hn::Mul(row(t, k), s.reciprocal), s.zero_point), lo, hi);
          return to_int_in_range(hn::Add(v, almost_half));
        };
        pack_columns(p.bits, t.n_rows, p.block_size, code_at, hn::Zero(DI()), o);
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
