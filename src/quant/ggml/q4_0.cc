#include "quant/ggml/q4_0.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/q4_0.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// Blocks b < n <= kRun.
template <unsigned kBits>
HWY_INLINE void encode_scaled_run(const float* x, size_t n, std::byte* out) {
  constexpr int kHalf = 1 << (kBits - 1);
  constexpr size_t kBytes = q4_0::kBytes<kBits>;
  float lo[kRun], hi[kRun], d[kRun], inverse[kRun];
  extremes(x, n, lo, hi);
  for (size_t b = 0; b < kRun; ++b) d[b] = (hi[b] > -lo[b] ? hi[b] : lo[b]) / -kHalf;
  // Equal magnitudes of both signs, and zeros: the first one decides.
  for (size_t b = 0; b < n; ++b)
    if (hi[b] == -lo[b]) d[b] = ggml::first_largest({x + b * ggml::kSmall, ggml::kSmall}) / -kHalf;
  inverses_or_zero(d, inverse);
  uint16_t halves[kRun];
  round_to_halves(d, halves);
  for (size_t b = 0; b < n; ++b, x += ggml::kSmall, out += kBytes) {
    if (std::isinf(inverse[b])) {
      q4_0::encode_block_ref<kBits>(x, out);
      continue;
    }
    std::memcpy(out, halves + b, 2);
    const VF factor = hn::Set(kF, inverse[b]), half = hn::Set(kF, kHalf + 0.5f);
    store_small_codes<kBits>(
        [&](size_t i) HWY_ATTR {
          const VF v = hn::Add(hn::Mul(hn::LoadU(kF, x + i), factor), half);
          return hn::Min(hn::ConvertTo(kI, v), hn::Set(kI, 2 * kHalf - 1));
        },
        out + kBytes - 16);
  }
}

template <unsigned kBits>
HWY_INLINE void encode_scaled(const RowTile& tile, const RowPlanes& out) {
  constexpr size_t kBytes = q4_0::kBytes<kBits>;
  constexpr int kHalf = 1 << (kBits - 1);
  const size_t blocks = tile.n_rows * tile.k / ggml::kSmall;
  if (!tile.importance) {
    for (size_t b = 0; b < blocks; b += kRun)
      encode_scaled_run<kBits>(tile.x + b * ggml::kSmall, std::min(kRun, blocks - b),
                               out[0] + b * kBytes);
    return;
  }
  for_weighted_groups(tile, [&](const Lanes<ggml::kSmall>& x, const Lanes<ggml::kSmall>& w,
                                size_t first, size_t count) HWY_ATTR {
    SymmetricSearch<ggml::kSmall> search(x, w, kHalf);
    GroupScales found;
    search.run(found);
    for (size_t b = 0; b < count; ++b) {
      const float* values = tile.x + (first + b) * ggml::kSmall;
      std::byte* block = out[0] + (first + b) * kBytes;
      ggml::store_f16(block, found.scale[b]);
      store_small_codes<kBits>(
          [&](size_t i) HWY_ATTR { return symmetric_code(values + i, found.inverse[b], kHalf); },
          block + kBytes - 16);
    }
  });
}

template <unsigned kBits>
HWY_INLINE void decode_scaled(const RowPlanesView& in, size_t n_values, float* x) {
  constexpr size_t kBytes = q4_0::kBytes<kBits>;
  for (size_t b = 0; b < n_values / ggml::kSmall; ++b, x += ggml::kSmall) {
    const std::byte* block = in[0] + b * kBytes;
    const VF d = hn::Set(kF, ggml::load_f16(block));
    load_small_codes<kBits>(block + kBytes - 16, [&](size_t i, VI codes) HWY_ATTR {
      const VI level = hn::Sub(codes, hn::Set(kI, 1 << (kBits - 1)));
      hn::StoreU(hn::Mul(hn::ConvertTo(kF, level), d), kF, x + i);
    });
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
