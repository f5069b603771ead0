#include "quant/q4_0.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/q4_0.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

template <unsigned kBits>
HWY_INLINE void encode_scaled_block(const float* x, std::byte* out) {
  constexpr int kHalf = 1 << (kBits - 1);
  const Extremes e = extremes(x);
  // Equal magnitudes of both signs, and zeros: the first one decides.
  const float largest = e.hi > -e.lo   ? e.hi
                        : e.hi < -e.lo ? e.lo
                                       : ggml::first_largest({x, ggml::kSmall});
  const float d = largest / -kHalf, inverse = inverse_or_zero(d);
  if (std::isinf(inverse)) return q4_0::encode_block_ref<kBits>(x, out);
  uint8_t codes[ggml::kSmall];
  const VI top = hn::Set(kI, 2 * kHalf - 1);
  for (size_t i = 0; i < ggml::kSmall; i += kLanes) {
    const VF v = hn::Mul(hn::LoadU(kF, x + i), hn::Set(kF, inverse));
    store_codes8(hn::Min(hn::ConvertTo(kI, hn::Add(v, hn::Set(kF, kHalf + 0.5f))), top), codes + i);
  }
  ggml::store_f16(out, d);
  store_small_codes<kBits>(codes, out + q4_0::kBytes<kBits> - 16);
}

template <unsigned kBits>
HWY_INLINE void encode_scaled(const RowTile& tile, const RowPlanes& out) {
  constexpr size_t kBytes = q4_0::kBytes<kBits>;
  constexpr int kHalf = 1 << (kBits - 1);
  if (!tile.importance) {
    for (size_t b = 0; b < tile.n_rows * tile.k / ggml::kSmall; ++b)
      encode_scaled_block<kBits>(tile.x + b * ggml::kSmall, out[0] + b * kBytes);
    return;
  }
  for_weighted_groups(tile, [&](const Lanes<ggml::kSmall>& x, const Lanes<ggml::kSmall>& w,
                                size_t first, size_t count) HWY_ATTR {
    SymmetricSearch<ggml::kSmall> search(x, w, kHalf);
    GroupScales found;
    search.run(found);
    for (size_t i = 0; i < count; ++i) {
      std::byte* block = out[0] + (first + i) * kBytes;
      uint8_t codes[ggml::kSmall];
      encode_symmetric(tile.x + (first + i) * ggml::kSmall, ggml::kSmall, found.inverse[i], kHalf,
                       codes);
      ggml::store_f16(block, found.scale[i]);
      store_small_codes<kBits>(codes, block + kBytes - 16);
    }
  });
}

template <unsigned kBits>
HWY_INLINE void decode_scaled(const RowPlanesView& in, size_t n_values, float* x) {
  constexpr size_t kBytes = q4_0::kBytes<kBits>;
  for (size_t b = 0; b < n_values / ggml::kSmall; ++b) {
    const std::byte* block = in[0] + b * kBytes;
    uint8_t codes[ggml::kSmall];
    load_small_codes<kBits>(block + kBytes - 16, codes);
    const VF d = hn::Set(kF, ggml::load_f16(block));
    for (size_t i = 0; i < ggml::kSmall; i += kLanes) {
      const VI level = hn::Sub(load_codes8(codes + i), hn::Set(kI, 1 << (kBits - 1)));
      hn::StoreU(hn::Mul(hn::ConvertTo(kF, level), d), kF, x + b * ggml::kSmall + i);
    }
  }
}

void encode_q4_0(const RowTile& tile, const RowPlanes& out) { encode_scaled<4>(tile, out); }
void encode_q5_0(const RowTile& tile, const RowPlanes& out) { encode_scaled<5>(tile, out); }
void decode_q4_0(const RowPlanesView& in, size_t n, float* x) { decode_scaled<4>(in, n, x); }
void decode_q5_0(const RowPlanesView& in, size_t n, float* x) { decode_scaled<5>(in, n, x); }

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_q4_0);
HWY_EXPORT(encode_q5_0);
HWY_EXPORT(decode_q4_0);
HWY_EXPORT(decode_q5_0);

template <>
void q4_0::encode<4>(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q4_0)(tile, out);
}
template <>
void q4_0::encode<5>(const RowTile& tile, const RowParams&, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_q5_0)(tile, out);
}
template <>
void q4_0::decode<4>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q4_0)(in, n_rows * k, x);
}
template <>
void q4_0::decode<5>(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams&, float* x) {
  HWY_DYNAMIC_DISPATCH(decode_q5_0)(in, n_rows * k, x);
}
}  // namespace phiquant::quant
#endif
