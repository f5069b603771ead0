#include "quant/ggml/q8_0.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/q8_0.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

using DInt8 = hn::Rebind<int8_t, DF>;

// std::round for |v| < 2^22: adding the float before 1/2 carries halves, and nothing below them.
HWY_INLINE VI round_half_away(VF v) {
  return hn::ConvertTo(kI, hn::Add(v, hn::CopySign(hn::Set(kF, 0x1.fffffep-2f), v)));
}

// Blocks b < n <= kRun.
HWY_INLINE void encode_q8_run(const float* x, size_t n, std::byte* out) {
  const DInt8 d8;
  float d[kRun], inverse[kRun];
  magnitudes(x, n, d);
  for (size_t b = 0; b < kRun; ++b) d[b] /= 127;
  inverses_or_zero(d, inverse);
  uint16_t halves[kRun];
  round_to_halves(d, halves);
  for (size_t b = 0; b < n; ++b, x += ggml::kSmall, out += q8_0::kBytes) {
    if (std::isinf(inverse[b])) {
      q8_0::encode_block_ref(x, out);
      continue;
    }
    std::memcpy(out, halves + b, 2);
    const VF factor = hn::Set(kF, inverse[b]);
    for (size_t i = 0; i < ggml::kSmall; i += kLanes)
      hn::StoreU(hn::DemoteTo(d8, round_half_away(hn::Mul(hn::LoadU(kF, x + i), factor))), d8,
                 reinterpret_cast<int8_t*>(out) + 2 + i);
  }
}

void encode_q8_0(const RowTile& tile, const RowPlanes& out) {
  const size_t blocks = tile.n_rows * tile.k / ggml::kSmall;
  for (size_t b = 0; b < blocks; b += kRun)
    encode_q8_run(tile.x + b * ggml::kSmall, std::min(kRun, blocks - b), out[0] + b * q8_0::kBytes);
}

void decode_q8_0(const RowPlanesView& in, size_t n_values, float* x) {
  const DInt8 d8;
  for (size_t b = 0; b < n_values / ggml::kSmall; ++b) {
    const std::byte* block = in[0] + b * q8_0::kBytes;
    const VF d = hn::Set(kF, ggml::load_f16(block));
    for (size_t i = 0; i < ggml::kSmall; i += kLanes) {
      const auto codes = hn::LoadU(d8, reinterpret_cast<const int8_t*>(block) + 2 + i);
      hn::StoreU(hn::Mul(hn::ConvertTo(kF, hn::PromoteTo(kI, codes)), d), kF,
                 x + b * ggml::kSmall + i);
    }
  }
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q8_0);
HWY_EXPORT(decode_q8_0);

void q8_0::encode(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q8_0)(tile, out);
}
void q8_0::decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q8_0)(in, n_rows * k, x);
}
}  // namespace phiquant::quant
#endif
