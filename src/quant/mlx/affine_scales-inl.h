// Scales and biases of MLX's affine groups, several groups at once. Included once per instruction
// set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_MLX_AFFINE_SCALES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_MLX_AFFINE_SCALES_INL_H_
#undef PHIQUANT_QUANT_MLX_AFFINE_SCALES_INL_H_
#else
#define PHIQUANT_QUANT_MLX_AFFINE_SCALES_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "quant/mlx/affine.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using AffineF = hn::CappedTag<float, 16>;
using AffineI = hn::RebindToSigned<AffineF>;
using AffineB = hn::Rebind<uint8_t, AffineF>;

using AffineU = hn::RebindToUnsigned<AffineF>;
constexpr size_t kAffineLanes = hn::MaxLanes(AffineF());
constexpr size_t kAffineRun = 32;  // every group is a multiple of it
constexpr size_t kLargestGroup = 128;

// Groups whose ranges are found before the first one's codes: one after the other they would wait
// for each other's reductions and divisions.
constexpr size_t kBatch = 16;

struct Batch {
  HWY_ALIGN float lo[kBatch], hi[kBatch], scale[kBatch], bias[kBatch], reciprocal[kBatch];
  size_t count;  // of groups
  bool usual;    // all scales are within the bounds below
};

// Beyond them a quotient may be NaN, or a reciprocal imprecise.
constexpr float kLeastScale = 0x1p-100f, kLargestScale = 0x1p100f;

struct RangeLanes {
  hn::Vec<AffineF> lo, hi;
};

// The extremes of a group, a lane each: the same in any order.
template <size_t kGroup>
HWY_INLINE RangeLanes range_lanes(const float* x) {
  const AffineF d;
  auto lo = hn::LoadU(d, x), hi = lo;
  for (size_t i = kAffineLanes; i < kGroup; i += kAffineLanes) {
    const auto v = hn::LoadU(d, x + i);
    lo = hn::Min(lo, v);
    hi = hn::Max(hi, v);
  }
  return {lo, hi};
}

#if HWY_TARGET != HWY_SCALAR
// Lane i of the result: op over all lanes of v[i].
template <class Op>
HWY_INLINE hn::Vec<hn::CappedTag<float, 4>> reduce_four(const hn::Vec<AffineF> (&v)[4],
                                                        const Op& op) {
  const AffineF d;
  const hn::RepartitionToWide<AffineF> pairs;
  const auto ab = hn::BitCast(
      pairs, op(hn::InterleaveLower(d, v[0], v[1]), hn::InterleaveUpper(d, v[0], v[1])));
  const auto cd = hn::BitCast(
      pairs, op(hn::InterleaveLower(d, v[2], v[3]), hn::InterleaveUpper(d, v[2], v[3])));
  const auto blocks = op(hn::BitCast(d, hn::InterleaveLower(pairs, ab, cd)),
                         hn::BitCast(d, hn::InterleaveUpper(pairs, ab, cd)));
  if constexpr (kAffineLanes == 4) {
    return blocks;
  } else {
    const hn::Half<AffineF> half;
    const auto fewer = op(hn::LowerHalf(half, blocks), hn::UpperHalf(half, blocks));
    if constexpr (kAffineLanes == 8) {
      return fewer;
    } else {
      const hn::Half<decltype(half)> quarter;
      return op(hn::LowerHalf(quarter, fewer), hn::UpperHalf(quarter, fewer));
    }
  }
}
#endif

// Ranges of the groups at x; the last one again where there are fewer than kBatch.
template <size_t kGroup>
HWY_INLINE void find_ranges_of(const float* x, Batch& batch) {
  const auto range_of = [&](size_t i) HWY_ATTR {
    return range_lanes<kGroup>(x + (i < batch.count ? i : batch.count - 1) * kGroup);
  };
#if HWY_TARGET == HWY_SCALAR
  for (size_t i = 0; i < kBatch; ++i) {
    const RangeLanes range = range_of(i);
    batch.lo[i] = hn::GetLane(range.lo);
    batch.hi[i] = hn::GetLane(range.hi);
  }
#else
  const hn::CappedTag<float, 4> d4;
  for (size_t i = 0; i < kBatch; i += 4) {
    const RangeLanes r[4] = {range_of(i), range_of(i + 1), range_of(i + 2), range_of(i + 3)};
    const hn::Vec<AffineF> lo[4] = {r[0].lo, r[1].lo, r[2].lo, r[3].lo};
    const hn::Vec<AffineF> hi[4] = {r[0].hi, r[1].hi, r[2].hi, r[3].hi};
    hn::Store(reduce_four(lo, [](auto a, auto b) HWY_ATTR { return hn::Min(a, b); }), d4,
              batch.lo + i);
    hn::Store(reduce_four(hi, [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); }), d4,
              batch.hi + i);
  }
#endif
}

HWY_INLINE void find_ranges(const float* x, size_t n, Batch& batch) {
  if (n == 32)
    find_ranges_of<32>(x, batch);
  else if (n == 64)
    find_ranges_of<64>(x, batch);
  else
    find_ranges_of<128>(x, batch);
}

// mlx_affine::affine_of, a group a lane. The signs of zeros do not matter: an edge is 0 only where
// both extremes are.
HWY_INLINE void find_scales(float max_code, Batch& batch) {
  const AffineF d;
  const auto zero = hn::Zero(d);
  auto usual = hn::Eq(zero, zero);
  for (size_t i = 0; i < kBatch; i += kAffineLanes) {
    const auto lo = hn::Load(d, batch.lo + i), hi = hn::Load(d, batch.hi + i);
    const auto negative = hn::Gt(hn::Abs(lo), hn::Abs(hi));
    const auto magnitude =
        hn::Max(hn::Div(hn::Sub(hi, lo), hn::Set(d, max_code)), hn::Set(d, 1e-7f));
    const auto scale = hn::IfThenElse(negative, magnitude, hn::Neg(magnitude));
    const auto edge = hn::IfThenElse(negative, lo, hi);
    const auto distance = hn::Round(hn::Div(edge, scale));
    const auto none = hn::Eq(distance, zero);
    const auto result = hn::IfThenElse(none, scale, hn::Div(edge, distance));
    const auto size = hn::Abs(result);
    hn::Store(result, d, batch.scale + i);
    hn::Store(hn::IfThenElse(none, zero, edge), d, batch.bias + i);
    hn::Store(hn::Div(hn::Set(d, 1.0f), result), d, batch.reciprocal + i);
    usual = hn::And(usual, hn::And(hn::Ge(size, hn::Set(d, kLeastScale)),
                                   hn::Le(size, hn::Set(d, kLargestScale))));
  }
  batch.usual = hn::AllTrue(d, usual);
}

// `count` scales or biases of a batch, one after the other.
HWY_INLINE void store_floats(const float* values, size_t count, DType to, std::byte* out) {
  if (to == DType::f32) {
    std::memcpy(out, values, count * sizeof(float));
  } else if (to == DType::f16) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
    const hn::Rebind<hwy::float16_t, AffineF> d16;
    HWY_ALIGN hwy::float16_t halves[kBatch];
    for (size_t i = 0; i < kBatch; i += kAffineLanes)
      hn::Store(hn::DemoteTo(d16, hn::Load(AffineF(), values + i)), d16, halves + i);
    std::memcpy(out, halves, count * sizeof(uint16_t));
#else
    for (size_t i = 0; i < count; ++i) store_float(values[i], DType::f16, out + 2 * i);
#endif
  } else {
    const AffineU du;
    const hn::Rebind<uint16_t, AffineU> d16;
    HWY_ALIGN uint16_t halves[kBatch];
    for (size_t i = 0; i < kBatch; i += kAffineLanes) {
      const auto u = hn::BitCast(du, hn::Load(AffineF(), values + i));
      const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1u));
      const auto up = hn::Add(hn::Add(u, hn::Set(du, 0x7fffu)), odd);
      hn::Store(hn::TruncateTo(d16, hn::ShiftRight<16>(up)), d16, halves + i);
    }
    std::memcpy(out, halves, count * sizeof(uint16_t));
  }
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
