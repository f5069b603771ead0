#include "quant/ggml/q4_1.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/ggml/q4_1.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/ggml/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// Blocks b < n <= kRun.
template <unsigned kBits>
HWY_INLINE void encode_ranged_run(const float* x, size_t n, std::byte* out) {
  constexpr int kTop = (1 << kBits) - 1;
  constexpr size_t kBytes = q4_1::kBytes<kBits>;
  float lo[kRun], hi[kRun], d[kRun], inverse[kRun];
  extremes(x, n, lo, hi);
  for (size_t b = 0; b < kRun; ++b) d[b] = (hi[b] - lo[b]) / kTop;
  inverses_or_zero(d, inverse);
  uint16_t halves[kRun];
  round_to_halves(d, halves);
  for (size_t b = 0; b < n; ++b, x += ggml::kSmall, out += kBytes) {
    // Of a minimum of zero the sign is not known here; a constant block might give d = -0.
    if (lo[b] == 0 || lo[b] == hi[b] || std::isinf(inverse[b]) || std::isinf(d[b])) {
      q4_1::encode_block_ref<kBits>(x, out);
      continue;
    }
    std::memcpy(out, halves + b, 2);
    ggml::store_f16(out + 2, lo[b]);
    const VF min = hn::Set(kF, lo[b]), factor = hn::Set(kF, inverse[b]);
    store_small_codes<kBits>(
        [&](size_t i) HWY_ATTR {
          const VF v = hn::Mul(hn::Sub(hn::LoadU(kF, x + i), min), factor);
          return hn::Min(hn::ConvertTo(kI, hn::Add(v, hn::Set(kF, 0.5f))), hn::Set(kI, kTop));
        },
        out + kBytes - 16);
  }
}

template <unsigned kBits>
HWY_INLINE void encode_ranged(const RowTile& tile, const RowPlanes& out) {
  constexpr size_t kBytes = q4_1::kBytes<kBits>;
  constexpr int kTop = (1 << kBits) - 1;
  const size_t blocks = tile.n_rows * tile.k / ggml::kSmall;
  if (!tile.importance) {
    for (size_t b = 0; b < blocks; b += kRun)
      encode_ranged_run<kBits>(tile.x + b * ggml::kSmall, std::min(kRun, blocks - b),
                               out[0] + b * kBytes);
    return;
  }
  for_weighted_groups(tile, [&](const Lanes<ggml::kSmall>& x, const Lanes<ggml::kSmall>& w,
                                size_t first, size_t count) HWY_ATTR {
    OffsetSearch<ggml::kSmall> search(x, w, kTop);
    GroupOffsets found;
    const bool whole = search.run(q4_1::kWeightedTrials, found);
    for (size_t b = 0; b < count; ++b) {
      const float* values = tile.x + (first + b) * ggml::kSmall;
      std::byte* block = out[0] + (first + b) * kBytes;
      if (!whole) {
        float weights[ggml::kSmall];
        for (size_t i = 0; i < ggml::kSmall; ++i) weights[i] = w.v[i * kGroup + b];
        q4_1::encode_weighted_block_ref<kBits>(values, weights, block);
        continue;
      }
      ggml::store_f16(block, found.scale[b]);
      ggml::store_f16(block + 2, found.min[b]);
      store_small_codes<kBits>(
          [&](size_t i) HWY_ATTR {
            return offset_code(values + i, found.inverse[b], found.code_min[b], kTop);
          },
          block + kBytes - 16);
    }
  });
}

template <unsigned kBits>
HWY_INLINE void decode_ranged(const RowPlanesView& in, size_t n_values, float* x) {
  constexpr size_t kBytes = q4_1::kBytes<kBits>;
  for (size_t b = 0; b < n_values / ggml::kSmall; ++b, x += ggml::kSmall) {
    const std::byte* block = in[0] + b * kBytes;
    const VF d = hn::Set(kF, ggml::load_f16(block)), m = hn::Set(kF, ggml::load_f16(block + 2));
    load_small_codes<kBits>(block + kBytes - 16, [&](size_t i, VI codes) HWY_ATTR {
      hn::StoreU(hn::Add(hn::Mul(hn::ConvertTo(kF, codes), d), m), kF, x + i);
    });
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
