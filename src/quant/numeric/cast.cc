// Casts between stored float types, by vectors. See kernels_ref.cc for the rule.
#include <bit>
#include <cassert>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/numeric/cast.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

#include "quant/kernels.h"
#include "quant/numeric/cast_limits.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR

size_t widen_vectors(const std::byte*, DType, size_t, float*) { return 0; }
size_t split_vectors(const float*, size_t, float*) { return 0; }
size_t cast_vectors(const std::byte*, DType, size_t, std::byte*, DType, const CastLimits&,
                    CastStats&) {
  return 0;
}

#else

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using DU = hn::RebindToUnsigned<DF>;
using DI = hn::RebindToSigned<DF>;
using DU16 = hn::Rebind<uint16_t, DF>;

constexpr size_t kLanes = hn::MaxLanes(DF());
constexpr DF kFloats;
constexpr DU kUints;
constexpr DI kInts;
constexpr DU16 kHalves;

// Highway's own conversion of f16 is not used below AVX2: it takes infinities for numbers.
HWY_INLINE hn::Vec<DF> floats_from_f16(hn::Vec<DU16> bits) {
#if HWY_TARGET <= HWY_AVX2
  return hn::PromoteTo(kFloats, hn::BitCast(hn::Rebind<hwy::float16_t, DF>(), bits));
#else
  const auto wide = hn::PromoteTo(kUints, bits);
  const auto magnitude = hn::And(wide, hn::Set(kUints, 0x7fffu));
  const auto sign = hn::ShiftLeft<16>(hn::Xor(wide, magnitude));
  const auto as_int = hn::BitCast(kInts, magnitude);
  const auto subnormal = hn::Mul(hn::ConvertTo(kFloats, as_int), hn::Set(kFloats, 0x1p-24f));
  const auto normal = hn::Add(hn::ShiftLeft<13>(magnitude), hn::Set(kUints, 112u << 23));
  const auto special = hn::Or(hn::ShiftLeft<13>(magnitude), hn::Set(kUints, kInfBits));
  const auto quiet =
      hn::IfThenElseZero(hn::Gt(as_int, hn::Set(kInts, 0x7c00)), hn::Set(kInts, 0x400000));
  auto bits32 = hn::IfThenElse(hn::RebindMask(kUints, hn::Lt(as_int, hn::Set(kInts, 0x400))),
                               hn::BitCast(kUints, subnormal), normal);
  bits32 = hn::IfThenElse(hn::RebindMask(kUints, hn::Gt(as_int, hn::Set(kInts, 0x7bff))),
                          hn::Or(special, hn::BitCast(kUints, quiet)), bits32);
  return hn::BitCast(kFloats, hn::Or(sign, bits32));
#endif
}

template <DType kFrom>
HWY_INLINE hn::Vec<DF> load_floats(const std::byte* in) {
  if constexpr (kFrom == DType::f32) {
    return hn::LoadU(kFloats, reinterpret_cast<const float*>(in));
  } else {
    const auto bits = hn::LoadU(kHalves, reinterpret_cast<const uint16_t*>(in));
    if constexpr (kFrom == DType::f16)
      return floats_from_f16(bits);
    else
      return hn::BitCast(kFloats, hn::ShiftLeft<16>(hn::PromoteTo(kUints, bits)));
  }
}

// The low 16 bits of each lane; the high ones are zero.
HWY_INLINE void store_low_halves(hn::Vec<DU> v, std::byte* out) {
  hn::StoreU(hn::DemoteTo(kHalves, hn::BitCast(kInts, v)), kHalves,
             reinterpret_cast<uint16_t*>(out));
}

HWY_INLINE hn::Vec<DU> if_greater(hn::Vec<DU> magnitude, uint32_t bound, hn::Vec<DU> yes,
                                  hn::Vec<DU> no) {
  const auto greater =
      hn::Gt(hn::BitCast(kInts, magnitude), hn::Set(kInts, static_cast<int32_t>(bound)));
  return hn::IfThenElse(hn::RebindMask(kUints, greater), yes, no);
}

HWY_INLINE void store_bf16(hn::Vec<DU> u, hn::Vec<DU> magnitude, std::byte* out) {
  const auto high = hn::ShiftRight<16>(u);
  const auto even = hn::Add(hn::And(high, hn::Set(kUints, 1u)), hn::Set(kUints, 0x7fffu));
  const auto rounded = hn::ShiftRight<16>(hn::Add(u, even));
  const auto quieted = hn::Or(high, hn::Set(kUints, 0x40u));
  store_low_halves(if_greater(magnitude, kInfBits, quieted, rounded), out);
}

HWY_INLINE void store_f16(hn::Vec<DU> u, hn::Vec<DU> magnitude, std::byte* out) {
#if HWY_TARGET <= HWY_AVX2
  (void)magnitude;
  const hn::Rebind<hwy::float16_t, DF> f16;
  hn::StoreU(hn::BitCast(kHalves, hn::DemoteTo(f16, hn::BitCast(kFloats, u))), kHalves,
             reinterpret_cast<uint16_t*>(out));
#else
  const auto sign = hn::ShiftRight<16>(hn::Xor(u, magnitude));
  const auto even = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(kUints, 1u));
  const auto biased = hn::Sub(magnitude, hn::Set(kUints, (112u << 23) - 0xfffu));
  const auto normal = hn::ShiftRight<13>(hn::Add(biased, even));
  // Adding 0.5 leaves the value rounded to a multiple of 2^-24 in the low mantissa bits.
  const auto half = hn::Set(kFloats, 0.5f);
  const auto subnormal =
      hn::Sub(hn::BitCast(kUints, hn::Add(hn::BitCast(kFloats, magnitude), half)),
              hn::BitCast(kUints, half));
  const auto payload = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(kUints, 0x3ffu));
  const auto nan = hn::Or(payload, hn::Set(kUints, 0x7e00u));
  auto bits = if_greater(magnitude, 0x387fffffu, normal, subnormal);
  bits = if_greater(magnitude, 0x477fefffu, hn::Set(kUints, 0x7c00u), bits);
  bits = if_greater(magnitude, kInfBits, nan, bits);
  store_low_halves(hn::Or(sign, bits), out);
#endif
}

// Each lane of `counter` counts down from 0 how often it was greater than a bound.
HWY_INLINE void count_greater(hn::Vec<DI> magnitude, hn::Vec<DI> bound, hn::Vec<DI>& counter) {
  counter = hn::Add(counter, hn::VecFromMask(kInts, hn::Gt(magnitude, bound)));
}

HWY_INLINE uint64_t total(hn::Vec<DI> counter) {
  return static_cast<uint64_t>(-int64_t{hn::GetLane(hn::SumOfLanes(kInts, counter))});
}

HWY_INLINE hn::Vec<DI> bound(uint32_t bits) { return hn::Set(kInts, static_cast<int32_t>(bits)); }

// Values that overflow or underflow become the largest or smallest that ort_fp16 allows.
HWY_INLINE hn::Vec<DU> replace_lost(hn::Vec<DU> magnitude, const CastLimits& limits) {
  const auto m = hn::BitCast(kInts, magnitude);
  const auto large = hn::IfThenElse(hn::Gt(m, bound(kInfBits - 1)), m, bound(limits.largest));
  const auto kept = hn::IfThenElse(hn::Gt(m, bound(limits.overflow_from - 1)), large, m);
  const auto small = hn::IfThenElseZero(hn::Gt(m, bound(0)), bound(limits.smallest));
  return hn::BitCast(kUints, hn::IfThenElse(hn::Gt(m, bound(limits.underflow_to)), kept, small));
}

template <DType kTo>
HWY_INLINE void store_as(hn::Vec<DU> u, hn::Vec<DU> magnitude, std::byte* to) {
  if constexpr (kTo == DType::f16) {
    store_f16(u, magnitude, to);
  } else if constexpr (kTo == DType::bf16) {
    store_bf16(u, magnitude, to);
  } else {
    const auto quieted = hn::Or(u, hn::Set(kUints, 0x400000u));
    hn::StoreU(if_greater(magnitude, kInfBits, quieted, u), kUints,
               reinterpret_cast<uint32_t*>(to));
  }
}

template <DType kType>
constexpr size_t kBytesOf = kType == DType::f32 ? 4 : 2;

// Casts n values and counts what is lost; n is a multiple of the lanes and below 2^31.
template <DType kFrom, DType kTo>
void cast_and_count(const std::byte* in, size_t n, std::byte* out, const CastLimits& limits,
                    CastStats& stats) {
  hn::Vec<DI> nonzero = bound(0), above_underflow = nonzero, overflow = nonzero, special = nonzero,
              nan = nonzero;
  for (size_t i = 0; i < n; i += kLanes) {
    auto u = hn::BitCast(kUints, load_floats<kFrom>(in + i * kBytesOf<kFrom>));
    auto magnitude = hn::And(u, hn::Set(kUints, 0x7fffffffu));
    const auto m = hn::BitCast(kInts, magnitude);
    count_greater(m, bound(kInfBits), nan);
    count_greater(m, bound(kInfBits - 1), special);
    if constexpr (kTo != DType::f32) {
      count_greater(m, bound(0), nonzero);
      count_greater(m, bound(limits.underflow_to), above_underflow);
      count_greater(m, bound(limits.overflow_from - 1), overflow);
    }
    if (kTo == DType::f16 && limits.replace) {
      const auto sign = hn::Xor(u, magnitude);
      magnitude = replace_lost(magnitude, limits);
      u = hn::Or(sign, magnitude);
    }
    store_as<kTo>(u, magnitude, out + i * kBytesOf<kTo>);
  }
  stats.nan += total(nan);
  stats.inf += total(special) - total(nan);
  if constexpr (kTo != DType::f32) {
    stats.overflowed += total(overflow) - total(special);
    stats.underflowed += total(nonzero) - total(above_underflow);
  }
}

// Casts n values, a multiple of the lanes. Runs of which the largest and the smallest magnitude
// show that nothing is lost, which is nearly all of them, are not counted; the others are cast
// again.
template <DType kFrom, DType kTo>
void cast_run(const std::byte* in, size_t n, std::byte* out, const CastLimits& limits,
              CastStats& stats) {
  constexpr size_t kRun = 2048;
  for (size_t first = 0; first < n; first += kRun) {
    const std::byte* from = in + first * kBytesOf<kFrom>;
    std::byte* to = out + first * kBytesOf<kTo>;
    const size_t count = n - first < kRun ? n - first : kRun;
    auto largest = hn::Zero(kInts);
    auto smallest = hn::Set(kUints, 0xffffffffu);  // less 1, so that zeros count as large
    for (size_t i = 0; i < count; i += kLanes) {
      const auto u = hn::BitCast(kUints, load_floats<kFrom>(from + i * kBytesOf<kFrom>));
      const auto magnitude = hn::And(u, hn::Set(kUints, 0x7fffffffu));
      largest = hn::Max(largest, hn::BitCast(kInts, magnitude));
      if constexpr (kTo != DType::f32)
        smallest = hn::Min(smallest, hn::Sub(magnitude, hn::Set(kUints, 1u)));
      store_as<kTo>(u, magnitude, to + i * kBytesOf<kTo>);
    }
    const auto max = static_cast<uint32_t>(hn::GetLane(hn::MaxOfLanes(kInts, largest)));
    const auto min = hn::GetLane(hn::MinOfLanes(kUints, smallest));
    if (max >= limits.overflow_from || min < limits.underflow_to)
      cast_and_count<kFrom, kTo>(from, count, to, limits, stats);
  }
}

template <DType kFrom>
void cast_from(const std::byte* in, size_t n, std::byte* out, DType to, const CastLimits& limits,
               CastStats& stats) {
  switch (to) {
    case DType::f16:
      return cast_run<kFrom, DType::f16>(in, n, out, limits, stats);
    case DType::bf16:
      return cast_run<kFrom, DType::bf16>(in, n, out, limits, stats);
    default:
      return cast_run<kFrom, DType::f32>(in, n, out, limits, stats);
  }
}

// Both return the number of values done: all but a rest smaller than a vector, or none.
size_t cast_vectors(const std::byte* in, DType from, size_t n, std::byte* out, DType to,
                    const CastLimits& limits, CastStats& stats) {
  const size_t whole = n - n % kLanes;
  switch (from) {
    case DType::f32:
      cast_from<DType::f32>(in, whole, out, to, limits, stats);
      return whole;
    case DType::f16:
      cast_from<DType::f16>(in, whole, out, to, limits, stats);
      return whole;
    case DType::bf16:
      cast_from<DType::bf16>(in, whole, out, to, limits, stats);
      return whole;
    default:
      return 0;
  }
}

template <DType kFrom>
void widen_run(const std::byte* in, size_t n, float* out) {
  for (size_t i = 0; i < n; i += kLanes)
    hn::StoreU(load_floats<kFrom>(in + i * 2), kFloats, out + i);
}

size_t widen_vectors(const std::byte* in, DType from, size_t n, float* out) {
  const size_t whole = n - n % kLanes;
  if (from == DType::f16)
    widen_run<DType::f16>(in, whole, out);
  else
    widen_run<DType::bf16>(in, whole, out);
  return whole;
}

// One row of split_bf16_pairs().
size_t split_vectors(const float* pairs, size_t n, float* out) {
  const auto high = hn::Set(kUints, 0xffff0000u);
  const size_t whole = n - n % kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    const auto v = hn::BitCast(kUints, hn::LoadU(kFloats, pairs + i));
    hn::StoreU(hn::BitCast(kFloats, hn::ShiftLeft<16>(v)), kFloats, out + i);
    hn::StoreU(hn::BitCast(kFloats, hn::And(v, high)), kFloats, out + n + i);
  }
  return whole;
}

#endif  // HWY_TARGET == HWY_SCALAR

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace phiquant::quant {
namespace {

HWY_EXPORT(widen_vectors);
HWY_EXPORT(split_vectors);
HWY_EXPORT(cast_vectors);

}  // namespace

void to_f32(const std::byte* in, DType from, size_t n, float* out) {
  if (from == DType::f32) {
    if (n != 0) std::memcpy(out, in, n * sizeof(float));
    return;
  }
  const size_t done = HWY_DYNAMIC_DISPATCH(widen_vectors)(in, from, n, out);
  to_f32_ref(in + done * 2, from, n - done, out + done);
}

void split_bf16_pairs(const float* pairs, size_t rows, size_t n, float* out) {
  for (size_t r = 0; r < rows; ++r, pairs += n, out += 2 * n)
    for (size_t i = HWY_DYNAMIC_DISPATCH(split_vectors)(pairs, n, out); i < n; ++i) {
      const auto both = std::bit_cast<uint32_t>(pairs[i]);
      out[i] = std::bit_cast<float>(both << 16);
      out[n + i] = std::bit_cast<float>(both & 0xffff0000u);
    }
}

void cast(const std::byte* in, DType from, size_t n, std::byte* out, DType to, CastRule rule,
          CastStats& stats) {
  assert(is_weight_float(to));
  const size_t done =
      HWY_DYNAMIC_DISPATCH(cast_vectors)(in, from, n, out, to, cast_limits(to, rule), stats);
  cast_ref(in + done * (dtype_bits(from) / 8), from, n - done, out + done * (dtype_bits(to) / 8),
           to, rule, stats);
}

}  // namespace phiquant::quant
#endif  // HWY_ONCE
