#include "quant/q4_1.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/q4_1.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

template <unsigned kBits>
HWY_INLINE void encode_ranged_block(const float* x, std::byte* out) {
  constexpr int kTop = (1 << kBits) - 1;
  const Extremes e = extremes(x);
  const float d = (e.hi - e.lo) / kTop, inverse = inverse_or_zero(d);
  // Of a minimum of zero the sign is not known here; a constant block might give d = -0.
  if (e.lo == 0 || e.lo == e.hi || !std::isfinite(inverse) || !std::isfinite(d))
    return q4_1::encode_block_ref<kBits>(x, out);
  uint8_t codes[ggml::kSmall];
  const VF min = hn::Set(kF, e.lo);
  for (size_t i = 0; i < ggml::kSmall; i += kLanes) {
    const VF v = hn::Mul(hn::Sub(hn::LoadU(kF, x + i), min), hn::Set(kF, inverse));
    store_codes8(hn::Min(hn::ConvertTo(kI, hn::Add(v, hn::Set(kF, 0.5f))), hn::Set(kI, kTop)),
                 codes + i);
  }
  ggml::store_f16(out, d);
  ggml::store_f16(out + 2, e.lo);
  store_small_codes<kBits>(codes, out + q4_1::kBytes<kBits> - 16);
}

template <unsigned kBits>
HWY_INLINE void encode_ranged(const RowTile& tile, const RowPlanes& out) {
  constexpr size_t kBytes = q4_1::kBytes<kBits>;
  constexpr int kTop = (1 << kBits) - 1;
  if (!tile.importance) {
    for (size_t b = 0; b < tile.n_rows * tile.k / ggml::kSmall; ++b)
      encode_ranged_block<kBits>(tile.x + b * ggml::kSmall, out[0] + b * kBytes);
    return;
  }
  for_weighted_groups(tile, [&](const Lanes<ggml::kSmall>& x, const Lanes<ggml::kSmall>& w,
                                size_t first, size_t count) HWY_ATTR {
    OffsetSearch<ggml::kSmall> search(x, w, kTop);
    GroupOffsets found;
    const bool whole = search.run(q4_1::kWeightedTrials, found);
    for (size_t i = 0; i < count; ++i) {
      const float* values = tile.x + (first + i) * ggml::kSmall;
      std::byte* block = out[0] + (first + i) * kBytes;
      if (!whole) {
        float weights[ggml::kSmall];
        for (size_t l = 0; l < ggml::kSmall; ++l) weights[l] = w.v[l * kGroup + i];
        q4_1::encode_weighted_block_ref<kBits>(values, weights, block);
        continue;
      }
      uint8_t codes[ggml::kSmall];
      encode_offset(values, ggml::kSmall, found.inverse[i], found.code_min[i], kTop, codes);
      ggml::store_f16(block, found.scale[i]);
      ggml::store_f16(block + 2, found.min[i]);
      store_small_codes<kBits>(codes, block + kBytes - 16);
    }
  });
}

template <unsigned kBits>
HWY_INLINE void decode_ranged(const RowPlanesView& in, size_t n_values, float* x) {
  constexpr size_t kBytes = q4_1::kBytes<kBits>;
  for (size_t b = 0; b < n_values / ggml::kSmall; ++b) {
    const std::byte* block = in[0] + b * kBytes;
    uint8_t codes[ggml::kSmall];
    load_small_codes<kBits>(block + kBytes - 16, codes);
    const VF d = hn::Set(kF, ggml::load_f16(block)), m = hn::Set(kF, ggml::load_f16(block + 2));
    for (size_t i = 0; i < ggml::kSmall; i += kLanes)
      hn::StoreU(hn::Add(hn::Mul(load_code_floats(codes + i), d), m), kF, x + b * ggml::kSmall + i);
  }
}

void encode_q4_1(const RowTile& tile, const RowPlanes& out) { encode_ranged<4>(tile, out); }
void encode_q5_1(const RowTile& tile, const RowPlanes& out) { encode_ranged<5>(tile, out); }
void decode_q4_1(const RowPlanesView& in, size_t n, float* x) { decode_ranged<4>(in, n, x); }
void decode_q5_1(const RowPlanesView& in, size_t n, float* x) { decode_ranged<5>(in, n, x); }

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q4_1);
HWY_EXPORT(encode_q5_1);
HWY_EXPORT(decode_q4_1);
HWY_EXPORT(decode_q5_1);

template <>
void q4_1::encode<4>(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q4_1)(tile, out);
}
template <>
void q4_1::encode<5>(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q5_1)(tile, out);
}
template <>
void q4_1::decode<4>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q4_1)(in, n_rows * k, x);
}
template <>
void q4_1::decode<5>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q5_1)(in, n_rows * k, x);
}
}  // namespace phiquant::quant
#endif
