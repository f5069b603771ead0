#include "quant/mlx_affine.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/mlx_affine.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace spec = phiquant::quant::mlx_affine;

using AffineF = hn::CappedTag<float, 16>;
using AffineI = hn::RebindToSigned<AffineF>;
using AffineB = hn::Rebind<uint8_t, AffineF>;

constexpr size_t kAffineRun = 32;  // every group is a multiple of it

struct GroupRange {
  float lo, hi;
};

// The extremes of n values: the same in any order.
HWY_INLINE GroupRange group_range(const float* x, size_t n) {
  const AffineF d;
  const size_t lanes = hn::Lanes(d);
  auto lo = hn::LoadU(d, x), hi = lo;
  for (size_t i = lanes; i < n; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    lo = hn::Min(lo, v);
    hi = hn::Max(hi, v);
  }
  return {hn::GetLane(hn::MinOfLanes(d, lo)), hn::GetLane(hn::MaxOfLanes(d, hi))};
}

// Quotients below 512 from a reciprocal are off by less than 2^-13; only those that come this close
// to a half are divided.
constexpr float kNearHalf = 0.5f - 0x1p-12f;

template <unsigned kBits>
HWY_INLINE void encode_codes(const float* x, size_t n, const spec::Affine& a, std::byte* out) {
  const AffineF d;
  const AffineI di;
  const AffineB db;
  const auto scale = hn::Set(d, a.scale), bias = hn::Set(d, a.bias), zero = hn::Zero(d),
             max = hn::Set(d, static_cast<float>((1u << kBits) - 1));
  const auto reciprocal = hn::Set(d, 1.0f / a.scale), near_half = hn::Set(d, kNearHalf);
  HWY_ALIGN uint8_t codes[kAffineRun];
  for (size_t run = 0; run < n; run += kAffineRun, out += kAffineRun * kBits / 8) {
    for (size_t i = 0; i < kAffineRun; i += hn::Lanes(d)) {
      const auto v = hn::Sub(hn::LoadU(d, x + run + i), bias), q = hn::Mul(v, reciprocal);
      auto rounded = hn::Round(q);
      if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Lt(hn::Abs(hn::Sub(q, rounded)), near_half))))
        rounded = hn::Round(hn::Div(v, scale));
      const auto code = hn::Min(hn::Max(rounded, zero), max);
      hn::StoreU(hn::DemoteTo(db, hn::ConvertTo(di, code)), db, codes + i);
    }
    pack_codes<kBits>(codes, kAffineRun, out);
  }
}

// Groups whose ranges are found before the first one's codes: one after the other they would wait
// for each other's reductions and divisions.
constexpr size_t kBatch = 8;

template <unsigned kBits>
void encode_affine_bits(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  const RowLayout l = spec::layout(p);
  const size_t n = p.group_size, groups = tile.n_rows * tile.k / n;
  for (size_t first = 0; first < groups; first += kBatch) {
    const size_t count = groups - first < kBatch ? groups - first : kBatch;
    GroupRange ranges[kBatch];
    spec::Affine affine[kBatch];
    for (size_t i = 0; i < count; ++i) ranges[i] = group_range(tile.x + (first + i) * n, n);
    for (size_t i = 0; i < count; ++i)
      affine[i] =
          spec::affine_of(ranges[i].lo, ranges[i].hi, static_cast<float>((1u << kBits) - 1));
    for (size_t i = 0; i < count; ++i) {
      const size_t g = first + i;
      const spec::Affine& a = affine[i];
      std::byte* const codes = out[0] + g * l.block_bytes[0];
      std::byte* const scale = out[1] + g * l.block_bytes[1];
      std::byte* const bias = out[2] + g * l.block_bytes[2];
      // Elsewhere a quotient may be NaN, or a reciprocal imprecise.
      if (!(std::fabs(a.scale) >= 0x1p-100f && std::fabs(a.scale) <= 0x1p100f)) {
        spec::encode_group_ref(tile.x + g * n, n, p, codes, scale, bias);
        continue;
      }
      encode_codes<kBits>(tile.x + g * n, n, a, codes);
      spec::store_float(a.scale, p.scale_dtype, scale);
      spec::store_float(a.bias, p.scale_dtype, bias);
    }
  }
}

void encode_affine(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  with_bits(p.bits, [&]<unsigned kBits>() { encode_affine_bits<kBits>(tile, p, out); });
}

template <unsigned kBits>
void decode_affine_bits(const RowPlanesView& in, size_t n_values, const RowParams& p, float* x) {
  const AffineF d;
  const AffineI di;
  const AffineB db;
  const RowLayout l = spec::layout(p);
  const size_t n = p.group_size;
  HWY_ALIGN uint8_t codes[kAffineRun];
  for (size_t g = 0; g < n_values / n; ++g) {
    const std::byte* packed = in[0] + g * l.block_bytes[0];
    const auto scale = hn::Set(d, spec::load_float(in[1] + g * l.block_bytes[1], p.scale_dtype));
    const auto bias = hn::Set(d, spec::load_float(in[2] + g * l.block_bytes[2], p.scale_dtype));
    for (size_t run = 0; run < n; run += kAffineRun, packed += kAffineRun * kBits / 8) {
      unpack_codes<kBits>(packed, kAffineRun, codes);
      for (size_t i = 0; i < kAffineRun; i += hn::Lanes(d)) {
        const auto code = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(db, codes + i)));
        hn::StoreU(hn::Add(hn::Mul(code, scale), bias), d, x + g * n + run + i);
      }
    }
  }
}

void decode_affine(const RowPlanesView& in, size_t n_values, const RowParams& p, float* x) {
  with_bits(p.bits, [&]<unsigned kBits>() { decode_affine_bits<kBits>(in, n_values, p, x); });
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
HWY_EXPORT(encode_affine);
HWY_EXPORT(decode_affine);
void mlx_affine::encode(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  HWY_DYNAMIC_DISPATCH(encode_affine)(tile, p, out);
}
void mlx_affine::decode(const RowPlanesView& in, size_t n_rows, size_t k, const RowParams& p,
                        float* x) {
  HWY_DYNAMIC_DISPATCH(decode_affine)(in, n_rows * k, p, x);
}
}  // namespace phiquant::quant
#endif
