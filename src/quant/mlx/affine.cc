#include "quant/mlx/affine.h"

#include <bit>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "quant/mlx/affine.cc"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
#include "quant/mlx/affine_scales-inl.h"
#include "quant/mlx/pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
namespace spec = phiquant::quant::mlx_affine;

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
using AffineInts = hn::Vec<AffineI>;

// To nearest, halves to even; for what fits, which Highway's version does not rely on.
HWY_INLINE AffineInts to_nearest(hn::Vec<AffineF> v) {
#if HWY_TARGET <= HWY_AVX3
  return AffineInts{_mm512_cvtps_epi32(v.raw)};
#elif HWY_TARGET <= HWY_AVX2
  return AffineInts{_mm256_cvtps_epi32(v.raw)};
#else
  return AffineInts{_mm_cvtps_epi32(v.raw)};
#endif
}

// Four vectors to bytes, saturated, in order. The instructions keep to their 128-bit blocks: block
// b of the packed bytes has four bytes of block b of each vector.
HWY_INLINE hn::Vec<hn::Repartition<uint8_t, AffineF>> narrow(AffineInts a, AffineInts b,
                                                             AffineInts c, AffineInts d) {
  const hn::Repartition<uint8_t, AffineF> d8;
#if HWY_TARGET <= HWY_AVX3
  const __m512i bytes =
      _mm512_packus_epi16(_mm512_packs_epi32(a.raw, b.raw), _mm512_packs_epi32(c.raw, d.raw));
  alignas(64) constexpr int32_t kOrder[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return hn::BitCast(d8, AffineInts{_mm512_permutexvar_epi32(_mm512_load_si512(kOrder), bytes)});
#elif HWY_TARGET <= HWY_AVX2
  const __m256i bytes =
      _mm256_packus_epi16(_mm256_packs_epi32(a.raw, b.raw), _mm256_packs_epi32(c.raw, d.raw));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  return hn::BitCast(d8, AffineInts{_mm256_permutevar8x32_epi32(bytes, order)});
#else
  return hn::BitCast(d8, AffineInts{_mm_packus_epi16(_mm_packs_epi32(a.raw, b.raw),
                                                     _mm_packs_epi32(c.raw, d.raw))});
#endif
}
#endif

constexpr size_t kFour = 4 * kAffineLanes;  // values in four vectors

struct FourVectors {
  hn::Vec<AffineF> a, b, c, d;
};

// How far quotients are from the integers that are their codes.
HWY_INLINE hn::Vec<AffineF> distance_of(hn::Vec<AffineF> q, hn::Vec<AffineF> code) {
  return hn::Abs(hn::Sub(q, code));
}

// The codes below 2^kBits of quotients, which are at least -0.5, and how far the furthest one is
// from its code.
template <unsigned kBits>
HWY_INLINE hn::Vec<AffineF> round_four(const FourVectors& q, uint8_t* codes) {
  const AffineF d;
  constexpr auto kMaxCode = static_cast<uint8_t>((1u << kBits) - 1);
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
  const hn::Repartition<uint8_t, AffineF> d8;
  const auto i = to_nearest(q.a), j = to_nearest(q.b), k = to_nearest(q.c), l = to_nearest(q.d);
  hn::StoreU(hn::Min(narrow(i, j, k, l), hn::Set(d8, kMaxCode)), d8, codes);
  return hn::Max(
      hn::Max(distance_of(q.a, hn::ConvertTo(d, i)), distance_of(q.b, hn::ConvertTo(d, j))),
      hn::Max(distance_of(q.c, hn::ConvertTo(d, k)), distance_of(q.d, hn::ConvertTo(d, l))));
#else
  const AffineB d8;
  const AffineU du;
  const auto to_integer = hn::Set(d, 0x1.8p23f);  // adding it leaves the integer, halves to even
  auto furthest = hn::Zero(d);
  for (const auto& v : {q.a, q.b, q.c, q.d}) {
    const auto sum = hn::Add(v, to_integer);
    furthest = hn::Max(furthest, distance_of(v, hn::Sub(sum, to_integer)));
    const auto code = hn::And(hn::BitCast(du, sum), hn::Set(du, 0x3fffffu));
    hn::StoreU(hn::TruncateTo(d8, hn::Min(code, hn::Set(du, uint32_t{kMaxCode}))), d8, codes);
    codes += kAffineLanes;
  }
  return furthest;
#endif
}

// Two vectors of a group, less its bias.
struct FromBias {
  hn::Vec<AffineF> a, b;

  HWY_INLINE FromBias(const float* x, float bias)
      : a(hn::Sub(hn::LoadU(AffineF(), x), hn::Set(AffineF(), bias))),
        b(hn::Sub(hn::LoadU(AffineF(), x + kAffineLanes), hn::Set(AffineF(), bias))) {}
};

// Where four vectors are: two at x, two at y, which may be in another group.
struct Place {
  const float *x, *y;
  size_t group_x, group_y;
};

template <unsigned kBits>
HWY_NOINLINE void divided_codes(const Place& at, const Batch& batch, uint8_t* codes) {
  const AffineF d;
  const FromBias v(at.x, batch.bias[at.group_x]), w(at.y, batch.bias[at.group_y]);
  const auto by = hn::Set(d, batch.scale[at.group_x]), wy = hn::Set(d, batch.scale[at.group_y]);
  round_four<kBits>({hn::Div(v.a, by), hn::Div(v.b, by), hn::Div(w.a, wy), hn::Div(w.b, wy)},
                    codes);
}

// The codes of the groups of n values at x; room for a whole number of four vectors.
//
// Quotients are not negative, or, where the scale is the least one and the bias 0, at least -0.5;
// they are below 2^(kBits + 1): a range is at most twice the edge or, where both extremes have one
// sign, the distance at least 1. From a reciprocal they are off by three roundings, less than
// 2^(kBits - 21); only vectors in which one comes as close as this to a half are divided.
template <unsigned kBits>
HWY_INLINE void find_codes(const float* x, size_t n, const Batch& batch, uint8_t* codes) {
  const AffineF d;
  const auto near_half = hn::Set(d, 0.5f - 1.0f / static_cast<float>(1u << (21 - kBits)));
  const size_t values = batch.count * n;
  const auto shift = static_cast<unsigned>(std::countr_zero(n));
  for (size_t i = 0; i < values; i += kFour) {
    // There may be an odd number of half vectors: the last one is then done twice.
    const size_t half = i + kFour / 2, j = half < values ? half : i;
    const Place at = {x + i, x + j, i >> shift, j >> shift};
    const FromBias v(at.x, batch.bias[at.group_x]), w(at.y, batch.bias[at.group_y]);
    const auto by = hn::Set(d, batch.reciprocal[at.group_x]);
    const auto wy = hn::Set(d, batch.reciprocal[at.group_y]);
    const FourVectors q = {hn::Mul(v.a, by), hn::Mul(v.b, by), hn::Mul(w.a, wy), hn::Mul(w.b, wy)};
    const auto furthest = round_four<kBits>(q, codes + i);
    if (HWY_UNLIKELY(!hn::AllTrue(d, hn::Lt(furthest, near_half))))
      divided_codes<kBits>(at, batch, codes + i);
  }
}

// n codes, a multiple of 32.
template <unsigned kBits>
HWY_INLINE void pack_bytes(const uint8_t* codes, size_t n, std::byte* out) {
  using Word = std::conditional_t<kBits == 2, uint32_t, uint16_t>;
  if constexpr (kBits == 8) {
    std::memcpy(out, codes, n);
  } else if constexpr (kBits == 2 || kBits == 4) {
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
    size_t done = 0;
#if HWY_TARGET != HWY_SCALAR
    done = pack_vectors<kBits>(codes, n, out);
#endif
    pack_codes<kBits>(codes + done, n - done, out + done * kBits / 8);
  }
}

// Groups whose scales are out of bounds, by the specification.
HWY_NOINLINE void encode_unusual(const float* x, const Batch& batch, const RowParams& p,
                                 const RowLayout& l, std::byte* const (&at)[3]) {
  for (size_t i = 0; i < batch.count; ++i)
    if (!(std::fabs(batch.scale[i]) >= kLeastScale && std::fabs(batch.scale[i]) <= kLargestScale))
      spec::encode_ref({x + i * p.group_size, 1, p.group_size}, p,
                       {at[0] + i * l.block_bytes[0], at[1] + i * l.block_bytes[1],
                        at[2] + i * l.block_bytes[2]});
}

template <unsigned kBits>
void encode_affine_bits(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  const RowLayout l = layout_of(spec::kParts, p);
  const size_t n = p.group_size, groups = tile.n_rows * tile.k / n;
  HWY_ALIGN uint8_t codes[kBatch * kLargestGroup];
  Batch batches[2];
  const auto prepare = [&](size_t first) HWY_ATTR {
    Batch& batch = batches[first / kBatch % 2];
    batch.count = groups - first < kBatch ? groups - first : kBatch;
    find_ranges(tile.x + first * n, n, batch);
    find_scales(static_cast<float>((1u << kBits) - 1), batch);
  };
  prepare(0);
  for (size_t first = 0; first < groups; first += kBatch) {
    // One batch ahead, so that codes need not wait for the divisions.
    if (first + kBatch < groups) prepare(first + kBatch);
    const Batch& batch = batches[first / kBatch % 2];
    const float* const x = tile.x + first * n;
    std::byte* const at[3] = {out[0] + first * l.block_bytes[0], out[1] + first * l.block_bytes[1],
                              out[2] + first * l.block_bytes[2]};
    find_codes<kBits>(x, n, batch, codes);
    pack_bytes<kBits>(codes, batch.count * n, at[0]);
    store_floats(batch.scale, batch.count, p.scale_dtype, at[1]);
    store_floats(batch.bias, batch.count, p.scale_dtype, at[2]);
    if (HWY_UNLIKELY(!batch.usual)) encode_unusual(x, batch, p, l, at);
  }
}

void encode_affine(const RowTile& tile, const RowParams& p, const RowPlanes& out) {
  with_bits(p.bits, [&]<unsigned kBits>() { encode_affine_bits<kBits>(tile, p, out); });
}

// 32 values from their codes, packed at `in`, of which two pieces of 16 bytes are read.
template <unsigned kBits>
HWY_INLINE void decode_run(const std::byte* in, hn::Vec<AffineF> scale, hn::Vec<AffineF> bias,
                           float* x) {
  const AffineF d;
  const AffineI di;
#if HWY_TARGET == HWY_SCALAR
  uint8_t codes[kAffineRun];
  unpack_run<kBits>(in, codes);
#endif
  for (size_t i = 0; i < kAffineRun; i += kAffineLanes) {
#if HWY_TARGET == HWY_SCALAR
    const auto code = hn::Set(di, int32_t{codes[i]});
#else
    const auto code = [&]() HWY_ATTR {
      if constexpr (kBits == 8)
        return hn::PromoteTo(di, hn::LoadU(AffineB(), reinterpret_cast<const uint8_t*>(in) + i));
      else
        return unpack_lanes<kBits>(di, in + i / 16 * (2 * kBits), i % 16);
    }();
#endif
    hn::StoreU(hn::Add(hn::Mul(hn::ConvertTo(d, code), scale), bias), d, x + i);
  }
}

template <unsigned kBits>
void decode_affine_bits(const RowPlanesView& in, size_t n_values, const RowParams& p, float* x) {
  const AffineF d;
  const RowLayout l = layout_of(spec::kParts, p);
  constexpr size_t kRunBytes = kAffineRun / 8 * kBits, kReadBytes = 2 * kBits + 16;
  const std::byte *codes = in[0], *const end = codes + n_values / kAffineRun * kRunBytes;
  for (size_t g = 0; g < n_values / p.group_size; ++g) {
    const auto scale = hn::Set(d, load_float(in[1] + g * l.block_bytes[1], p.scale_dtype));
    const auto bias = hn::Set(d, load_float(in[2] + g * l.block_bytes[2], p.scale_dtype));
    for (size_t i = 0; i < p.group_size; i += kAffineRun, codes += kRunBytes, x += kAffineRun) {
      if (HWY_LIKELY(kBits == 8 || end - codes >= static_cast<ptrdiff_t>(kReadBytes))) {
        decode_run<kBits>(codes, scale, bias, x);
      } else {
        std::byte last[kReadBytes] = {};
        std::memcpy(last, codes, kRunBytes);
        decode_run<kBits>(last, scale, bias, x);
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
