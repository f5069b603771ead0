#include "quant/mlx_affine.h"

#include <type_traits>

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

using AffineU = hn::RebindToUnsigned<AffineF>;
constexpr size_t kAffineLanes = hn::MaxLanes(AffineF());
constexpr size_t kAffineRun = 32;  // every group is a multiple of it
constexpr size_t kLargestGroup = 128;

// Groups whose ranges are found before the first one's codes: one after the other they would wait
// for each other's reductions and divisions.
constexpr size_t kBatch = 16;

struct Batch {
  HWY_ALIGN float lo[kBatch], hi[kBatch], scale[kBatch], bias[kBatch], reciprocal[kBatch];
};

struct RangeLanes {
  hn::Vec<AffineF> lo, hi;
};

// The extremes of n values, a lane each: the same in any order.
HWY_INLINE RangeLanes range_lanes(const float* x, size_t n) {
  const AffineF d;
  auto lo = hn::LoadU(d, x), hi = lo;
  for (size_t i = kAffineLanes; i < n; i += kAffineLanes) {
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

// Ranges of groups [first, first + kBatch); the last one again where there are fewer.
HWY_INLINE void find_ranges(const float* x, size_t n, size_t first, size_t groups, Batch& batch) {
  const auto range_of = [&](size_t i) HWY_ATTR {
    return range_lanes(x + (first + i < groups ? first + i : groups - 1) * n, n);
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

// spec::affine_of, a group a lane. The signs of zeros do not matter: an edge is 0 only where both
// extremes are.
HWY_INLINE void find_scales(float max_code, Batch& batch) {
  const AffineF d;
  const auto zero = hn::Zero(d);
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
    hn::Store(result, d, batch.scale + i);
    hn::Store(hn::IfThenElse(none, zero, edge), d, batch.bias + i);
    hn::Store(hn::Div(hn::Set(d, 1.0f), result), d, batch.reciprocal + i);
  }
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
    for (size_t i = 0; i < count; ++i) spec::store_float(values[i], DType::f16, out + 2 * i);
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

// A quotient clamped to codes, and its code in the low byte of the result.
template <unsigned kBits>
HWY_INLINE hn::Vec<AffineF> clamped(hn::Vec<AffineF> q) {
  const AffineF d;
  return hn::Min(hn::Max(q, hn::Zero(d)), hn::Set(d, static_cast<float>((1u << kBits) - 1)));
}
constexpr float kToInteger = 0x1p23f;  // adding it leaves the integer, halves to even

HWY_INLINE void store_codes(hn::Vec<AffineF> sum, uint8_t* codes) {
  const AffineB db;
  const auto bits = hn::BitCast(AffineU(), sum);
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  hn::StoreU(hn::Vec<AffineB>{_mm512_cvtepi32_epi8(bits.raw)}, db, codes);
#else
  hn::StoreU(hn::TruncateTo(db, bits), db, codes);
#endif
}

template <unsigned kBits>
HWY_NOINLINE void divided_codes(const float* x, size_t n, float scale, float bias, uint8_t* codes) {
  const AffineF d;
  for (size_t i = 0; i < n; i += kAffineLanes) {
    const auto q = hn::Div(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, bias)), hn::Set(d, scale));
    store_codes(hn::Add(clamped<kBits>(q), hn::Set(d, kToInteger)), codes + i);
  }
}

// Quotients are below 2^(kBits + 1): a range is at most twice the edge or, where both extremes have
// one sign, the distance at least 1. From a reciprocal they are off by less than 2^(kBits - 21);
// only groups in which one comes as close as four times this to a half are divided.
template <unsigned kBits>
HWY_INLINE void find_codes(const float* x, size_t n, float scale, float bias, float reciprocal,
                           uint8_t* codes) {
  const AffineF d;
  constexpr float kNearHalf = 0.5f - 1.0f / static_cast<float>(1u << (19 - kBits));
  const auto to_integer = hn::Set(d, kToInteger);
  auto furthest = hn::Zero(d);
  for (size_t run = 0; run < n; run += kAffineRun)
    for (size_t i = run; i < run + kAffineRun; i += kAffineLanes) {
      const auto v = hn::Sub(hn::LoadU(d, x + i), hn::Set(d, bias));
      const auto q = clamped<kBits>(hn::Mul(v, hn::Set(d, reciprocal)));
      const auto sum = hn::Add(q, to_integer);
      furthest = hn::Max(furthest, hn::Abs(hn::Sub(q, hn::Sub(sum, to_integer))));
      store_codes(sum, codes + i);
    }
  if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Lt(furthest, hn::Set(d, kNearHalf)))))
    divided_codes<kBits>(x, n, scale, bias, codes);
}

// n codes, a multiple of 32.
template <unsigned kBits>
HWY_INLINE void pack_bytes(const uint8_t* codes, size_t n, std::byte* out) {
  using Word = std::conditional_t<kBits == 2, uint32_t, uint16_t>;
  if constexpr (kBits == 2 || kBits == 4) {
    constexpr size_t kPerByte = 8 / kBits;
    const hn::CappedTag<Word, kAffineRun / kPerByte> d;
    const hn::Rebind<uint8_t, decltype(d)> bytes;
    for (size_t i = 0; i < n; i += kPerByte * hn::MaxLanes(d)) {
      // The bits above the low byte are not stored.
      auto v = hn::LoadU(d, reinterpret_cast<const Word*>(codes + i));
      v = hn::Or(v, hn::ShiftRight<8 - kBits>(v));
      if constexpr (kBits == 2) v = hn::Or(v, hn::ShiftRight<12>(v));
      hn::StoreU(hn::TruncateTo(bytes, v), bytes, reinterpret_cast<uint8_t*>(out + i / kPerByte));
    }
  } else {
    pack_codes<kBits>(codes, n, out);
  }
}

template <unsigned kBits>
void encode_affine_bits(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  const RowLayout l = spec::layout(p);
  const size_t n = p.group_size, groups = tile.n_rows * tile.k / n;
  HWY_ALIGN uint8_t codes[kBatch * kLargestGroup];
  Batch batch;
  for (size_t first = 0; first < groups; first += kBatch) {
    const size_t count = groups - first < kBatch ? groups - first : kBatch;
    const float* const x = tile.x + first * n;
    find_ranges(tile.x, n, first, groups, batch);
    find_scales(static_cast<float>((1u << kBits) - 1), batch);
    for (size_t i = 0; i < count; ++i)
      find_codes<kBits>(x + i * n, n, batch.scale[i], batch.bias[i], batch.reciprocal[i],
                        codes + i * n);
    std::byte* const at[3] = {out[0] + first * l.block_bytes[0], out[1] + first * l.block_bytes[1],
                              out[2] + first * l.block_bytes[2]};
    pack_bytes<kBits>(codes, count * n, at[0]);
    store_floats(batch.scale, count, p.scale_dtype, at[1]);
    store_floats(batch.bias, count, p.scale_dtype, at[2]);
    for (size_t i = 0; i < count; ++i)
      // Elsewhere a quotient may be NaN, or a reciprocal imprecise.
      if (!(std::fabs(batch.scale[i]) >= 0x1p-100f && std::fabs(batch.scale[i]) <= 0x1p100f))
        spec::encode_group_ref(x + i * n, n, p, at[0] + i * l.block_bytes[0],
                               at[1] + i * l.block_bytes[1], at[2] + i * l.block_bytes[2]);
  }
}

void encode_affine(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  with_bits(p.bits, [&]<unsigned kBits>() { encode_affine_bits<kBits>(tile, p, out); });
}

// n packed codes, a multiple of 32, to one a byte.
template <unsigned kBits>
HWY_INLINE void unpack_bytes(const std::byte* packed, size_t n, uint8_t* codes) {
  if constexpr (kBits == 4) {
    const hn::CappedTag<uint16_t, kAffineRun / 2> d;
    const hn::Rebind<uint8_t, decltype(d)> bytes;
    for (size_t i = 0; i < n; i += 2 * hn::MaxLanes(d)) {
      const auto v =
          hn::PromoteTo(d, hn::LoadU(bytes, reinterpret_cast<const uint8_t*>(packed + i / 2)));
      hn::StoreU(hn::And(hn::Or(v, hn::ShiftLeft<4>(v)), hn::Set(d, uint16_t{0x0f0f})), d,
                 reinterpret_cast<uint16_t*>(codes + i));
    }
  } else {
    unpack_codes<kBits>(packed, n, codes);
  }
}

template <unsigned kBits>
void decode_affine_bits(const RowPlanesView& in, size_t n_values, const RowParams& p, float* x) {
  const AffineF d;
  const AffineI di;
  const AffineB db;
  const RowLayout l = spec::layout(p);
  const size_t n = p.group_size, groups = n_values / n;
  HWY_ALIGN uint8_t unpacked[kBatch * kLargestGroup];
  for (size_t first = 0; first < groups; first += kBatch) {
    const size_t count = groups - first < kBatch ? groups - first : kBatch;
    const std::byte* const packed = in[0] + first * l.block_bytes[0];
    const uint8_t* codes = unpacked;
    if constexpr (kBits == 8)
      codes = reinterpret_cast<const uint8_t*>(packed);
    else
      unpack_bytes<kBits>(packed, count * n, unpacked);
    for (size_t g = first; g < first + count; ++g, codes += n) {
      const auto scale = hn::Set(d, spec::load_float(in[1] + g * l.block_bytes[1], p.scale_dtype));
      const auto bias = hn::Set(d, spec::load_float(in[2] + g * l.block_bytes[2], p.scale_dtype));
      for (size_t run = 0; run < n; run += kAffineRun)
        for (size_t i = run; i < run + kAffineRun; i += kAffineLanes) {
          const auto code = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(db, codes + i)));
          hn::StoreU(hn::Add(hn::Mul(code, scale), bias), d, x + g * n + i);
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
