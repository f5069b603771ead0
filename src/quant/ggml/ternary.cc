#include "quant/ggml/ternary.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/ternary.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
using VU = hn::Vec<DU>;
constexpr DF kF;

// The block's scale and its reciprocal, as fit() of the reference has them.
struct TernaryScale {
  float scale, inverse;
};

HWY_INLINE TernaryScale ternary_scale(const float* x) {
  VF largest = hn::Zero(kF);
  for (size_t i = 0; i < ternary::kValues; i += hn::Lanes(kF))
    largest = hn::Max(largest, hn::Abs(hn::LoadU(kF, x + i)));
  const float scale = hn::GetLane(hn::MaxOfLanes(kF, largest));
  const float inverse = scale != 0 ? 1.0f / scale : 0.0f;
  // With 0 every code comes out as 0, which is what an unusable reciprocal asks for.
  return {scale, inverse <= std::numeric_limits<float>::max() ? inverse : 0.0f};
}

HWY_INLINE VU ternary_codes(const float* x, VF inverse) {
  const VF q = hn::Mul(hn::LoadU(kF, x), inverse);
  const VF half = hn::Set(kF, 0.5f);
  const auto up = hn::RebindMask(DU(), hn::Ge(q, half));
  const auto down = hn::RebindMask(DU(), hn::Le(q, hn::Neg(half)));
  const VU one = hn::Set(DU(), 1u);
  return hn::IfThenElse(up, hn::Set(DU(), 2u), hn::IfThenZeroElse(down, one));
}

HWY_INLINE void encode_tq2_block(const float* x, std::byte* out) {
  const TernaryScale s = ternary_scale(x);
  const VF inverse = hn::Set(kF, s.inverse);
  const hn::Rebind<uint8_t, DF> bytes;
  for (size_t half = 0; half < 2; ++half)
    for (size_t m = 0; m < 32; m += hn::Lanes(kF)) {
      const float* v = x + 128 * half + m;
      const VU low =
          hn::Or(ternary_codes(v, inverse), hn::ShiftLeft<2>(ternary_codes(v + 32, inverse)));
      const VU high =
          hn::Or(ternary_codes(v + 64, inverse), hn::ShiftLeft<2>(ternary_codes(v + 96, inverse)));
      hn::StoreU(hn::TruncateTo(bytes, hn::Or(low, hn::ShiftLeft<4>(high))), bytes,
                 reinterpret_cast<uint8_t*>(out + 32 * half + m));
    }
  ggml::store_f16(out + 64, s.scale);
}

// `digits` codes, `bytes` values apart, to each of `bytes` bytes, a multiple of the lanes.
HWY_INLINE void encode_tq1_part(const float* x, VF inverse, size_t bytes, std::byte* out) {
  const hn::Rebind<uint8_t, DF> to;
  const VU three = hn::Set(DU(), 3u);
  for (size_t m = 0; m < bytes; m += hn::Lanes(kF)) {
    VU q = ternary_codes(x + m, inverse);
    for (size_t n = 1; n < 5; ++n)
      q = hn::Add(hn::Mul(q, three), ternary_codes(x + m + n * bytes, inverse));
    // (256 q + 242) / 243 by the reciprocal: exact for all q below 243.
    const VU fraction = hn::Add(hn::ShiftLeft<8>(q), hn::Set(DU(), 242u));
    q = hn::ShiftRight<23>(hn::Mul(fraction, hn::Set(DU(), 34522u)));
    hn::StoreU(hn::TruncateTo(to, q), to, reinterpret_cast<uint8_t*>(out + m));
  }
}

HWY_INLINE void encode_tq1_block(const float* x, std::byte* out) {
  const TernaryScale s = ternary_scale(x);
  const VF inverse = hn::Set(kF, s.inverse);
  encode_tq1_part(x, inverse, 32, out);
  encode_tq1_part(x + 160, inverse, 16, out + 32);
  uint8_t last[16];  // too few for a vector
  for (size_t i = 0; i < 16; ++i) {
    const float q = x[240 + i] * s.inverse;
    last[i] = static_cast<uint8_t>(1 + (q >= 0.5f) - (q <= -0.5f));
  }
  for (size_t m = 0; m < 4; ++m) {
    const unsigned q = ((last[m] * 3u + last[m + 4]) * 3u + last[m + 8]) * 3u + last[m + 12];
    out[48 + m] = static_cast<std::byte>((q * 3 * 256 + 242) / 243);
  }
  ggml::store_f16(out + 52, s.scale);
}

void encode_tq1(const RowTile& tile, const RowPlanes& planes) {
  ggml::for_each_block<ternary::kValues, ternary::kTq1Bytes>(
      tile, planes,
      [](const float* x, const float*, std::byte* out) HWY_ATTR { encode_tq1_block(x, out); });
}
void encode_tq2(const RowTile& tile, const RowPlanes& planes) {
  ggml::for_each_block<ternary::kValues, ternary::kTq2Bytes>(
      tile, planes,
      [](const float* x, const float*, std::byte* out) HWY_ATTR { encode_tq2_block(x, out); });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_tq1);
HWY_EXPORT(encode_tq2);
void ternary::encode_tq1(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  HWY_DYNAMIC_DISPATCH(encode_tq1)(tile, planes);
}
void ternary::encode_tq2(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  HWY_DYNAMIC_DISPATCH(encode_tq2)(tile, planes);
}
}  // namespace phiquant::quant
#endif
