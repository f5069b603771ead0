#include "quant/ggml/mxfp4_gguf.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/mxfp4_gguf.cc"
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

HWY_INLINE VU mxfp4_codes(VF x, const VF* limits) {
  const VF magnitude = hn::Abs(x);
  VU code = hn::Zero(DU());
  for (size_t i = 0; i < 7; ++i) {
    const auto above = hn::RebindMask(DU(), hn::Gt(magnitude, limits[i]));
    code = hn::IfThenElse(above, hn::Set(DU(), static_cast<uint32_t>(i + 1)), code);
  }
  const auto has_sign = hn::RebindMask(DU(), hn::Lt(x, hn::Zero(kF)));
  const auto sign = hn::IfThenElseZero(has_sign, hn::Set(DU(), 8u));
  return hn::Or(code, hn::IfThenElseZero(hn::Ne(code, hn::Zero(DU())), sign));
}

HWY_INLINE void encode_mxfp4_block(const float* x, std::byte* out) {
  const size_t lanes = hn::Lanes(kF);
  VF largest = hn::Zero(kF);
  for (size_t i = 0; i < mxfp4_gguf::kValues; i += lanes)
    largest = hn::Max(largest, hn::Abs(hn::LoadU(kF, x + i)));
  const uint8_t e = mxfp4_gguf::exponent_of(hn::GetLane(hn::MaxOfLanes(kF, largest)));
  const float scale = mxfp4_gguf::scale_of(e);
  out[0] = static_cast<std::byte>(e);
  VF limits[7];
  for (size_t i = 0; i < 7; ++i)
    limits[i] =
        hn::Set(kF, 0.5f * (mxfp4_gguf::kMagnitudes[i] + mxfp4_gguf::kMagnitudes[i + 1]) * scale);
  const hn::Rebind<uint8_t, DF> bytes;
  auto* codes = reinterpret_cast<uint8_t*>(out + 1);
  for (size_t j = 0; j < 16; j += lanes) {
    const VU low = mxfp4_codes(hn::LoadU(kF, x + j), limits);
    const VU high = mxfp4_codes(hn::LoadU(kF, x + j + 16), limits);
    hn::StoreU(hn::TruncateTo(bytes, hn::Or(low, hn::ShiftLeft<4>(high))), bytes, codes + j);
  }
}

void encode_mxfp4(const RowTile& tile, const RowPlanes& planes) {
  ggml::for_each_block<mxfp4_gguf::kValues, mxfp4_gguf::kBytes>(
      tile, planes,
      [](const float* x, const float*, std::byte* out) HWY_ATTR { encode_mxfp4_block(x, out); });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_mxfp4);
void mxfp4_gguf::encode(const RowTile& tile, const RowParams&, const RowPlanes& planes) {
  HWY_DYNAMIC_DISPATCH(encode_mxfp4)(tile, planes);
}
}  // namespace phiquant::quant
#endif
