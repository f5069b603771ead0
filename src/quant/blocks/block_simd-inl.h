// What the vector versions of the block schemes share. A lane is a column; a group is as many
// columns as a vector has lanes. Included once per instruction set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_BLOCK_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_BLOCK_SIMD_INL_H_
#undef PHIQUANT_QUANT_BLOCK_SIMD_INL_H_
#else
#define PHIQUANT_QUANT_BLOCK_SIMD_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "quant/blocks/block_ref.h"
#include "quant/scheme.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;
using MF = hn::Mask<DF>;
constexpr DF kF;
constexpr size_t kMaxLanes = 16;

// Columns [first, first + count) of a tile and of its output.
inline BlockTile columns(const BlockTile& t, size_t first, size_t count) {
  return {t.x + first, t.stride, t.n_rows, count};
}
inline BlockCodes columns(const BlockCodes& o, size_t first, Packing packing) {
  return {o.codes + (packing == Packing::nbits ? first * o.codes_stride : first), o.codes_stride,
          o.scales + first, o.zero_points ? o.zero_points + first : nullptr};
}

// Calls group(tile, out) for each whole vector of columns. The last one overlaps its neighbour
// where columns are left over (the same bytes are written twice). Where group() returns false, and
// where there are fewer columns than lanes, the reference does the work.
template <Packing kPacking, class Group>
HWY_INLINE void for_column_groups(const BlockTile& tile, const SchemeParams& p,
                                  const BlockCodes& out, BlockEncode reference,
                                  const Group& group) {
  const size_t lanes = hn::Lanes(kF);
  if (tile.n_cols < lanes) return reference(tile, p, out);
  for (size_t c = 0; c < tile.n_cols; c += lanes) {
    const size_t first = c + lanes <= tile.n_cols ? c : tile.n_cols - lanes;
    const BlockTile t = columns(tile, first, lanes);
    const BlockCodes o = columns(out, first, kPacking);
    if (!group(t, o)) reference(t, p, o);
  }
}

HWY_INLINE VF row(const BlockTile& t, size_t k) { return hn::LoadU(kF, t.x + k * t.stride); }

// ---- Ranges ----
struct Range {
  VF lo, hi;
};

HWY_INLINE Range range_of(const BlockTile& t) {
  const VF first = row(t, 0);
  Range a{first, first}, b{first, first};
  size_t k = 1;
  for (; k + 2 <= t.n_rows; k += 2) {
    const VF v = row(t, k), w = row(t, k + 1);
    a.lo = hn::Min(a.lo, v), a.hi = hn::Max(a.hi, v);
    b.lo = hn::Min(b.lo, w), b.hi = hn::Max(b.hi, w);
  }
  if (k < t.n_rows) {
    const VF v = row(t, k);
    a.lo = hn::Min(a.lo, v), a.hi = hn::Max(a.hi, v);
  }
  return {hn::Min(a.lo, b.lo), hn::Max(a.hi, b.hi)};
}

HWY_INLINE Range with_zero(const Range& r) {
  // Adding zero makes -0 +0, whatever zeros of both signs gave above.
  const VF zero = hn::Zero(kF);
  return {hn::Add(hn::Min(r.lo, zero), zero), hn::Add(hn::Max(r.hi, zero), zero)};
}

// Padding zeros are values too.
HWY_INLINE Range padded_range_of(const BlockTile& t, size_t block_size) {
  return t.n_rows < block_size ? with_zero(range_of(t)) : range_of(t);
}

// The side further from zero, with its sign; a tie takes the low side, a zero has the first value's
// sign.
HWY_INLINE VF extreme_of(const BlockTile& t, const Range& r) {
  const VF m = hn::IfThenElse(hn::Gt(hn::Abs(r.hi), hn::Abs(r.lo)), r.hi, r.lo);
  return hn::IfThenElse(hn::Eq(m, hn::Zero(kF)), row(t, 0), m);
}

// ---- Rounding ----
// Floats rounded to f16, half to even, as floats. Not for NaN.
HWY_INLINE VF round_f16(VF v) {
  const DU du;
  const VF magnitude = hn::Abs(v);
  const auto u = hn::BitCast(du, magnitude);
  const auto odd = hn::And(hn::ShiftRight<13>(u), hn::Set(du, 1u));
  const auto up = hn::Add(hn::Add(u, hn::Set(du, 0xfffu)), odd);
  VF r = hn::BitCast(kF, hn::AndNot(hn::Set(du, 0x1fffu), up));
  r = hn::IfThenElse(hn::Ge(r, hn::Set(kF, 65536.0f)), hn::BitCast(kF, hn::Set(du, 0x7f800000u)),
                     r);
  // Subnormal halves are multiples of 2^-24, the spacing of floats just above a half.
  const VF half = hn::Set(kF, 0.5f);
  r = hn::IfThenElse(hn::Lt(magnitude, hn::Set(kF, 0x1p-14f)),
                     hn::Sub(hn::Add(magnitude, half), half), r);
  return hn::CopySign(r, v);
}

HWY_INLINE VF round_bf16(VF v) {
  const DU du;
  const auto u = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(u), hn::Set(du, 1u));
  return hn::BitCast(
      kF, hn::AndNot(hn::Set(du, 0xffffu), hn::Add(hn::Add(u, hn::Set(du, 0x7fffu)), odd)));
}

HWY_INLINE VF round_to(VF v, DType type) {
  return type == DType::f16 ? round_f16(v) : type == DType::bf16 ? round_bf16(v) : v;
}

HWY_INLINE VF clamp(VF v, VF lo, VF hi) { return hn::Min(hn::Max(v, lo), hi); }

// Halves to even for 0 <= v < 2^22; two additions are cheaper than a rounding instruction.
HWY_INLINE VF round_even_small(VF v) {
  const VF magic = hn::Set(kF, 0x1p23f);
  return hn::Sub(hn::Add(v, magic), magic);
}

// Truncates floats that fit an int32. hn::ConvertTo saturates those that do not, at the price of
// three more instructions on x86.
HWY_INLINE VI to_int_in_range(VF v) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  return VI{_mm512_cvttps_epi32(v.raw)};
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2
  return VI{_mm256_cvttps_epi32(v.raw)};
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
  return VI{_mm_cvttps_epi32(v.raw)};
#else
  return hn::ConvertTo(DI(), v);
#endif
}

// Whether every lane's magnitude is far from overflow and underflow, so that its reciprocal is
// precise.
HWY_INLINE bool moderate(VF v) {
  const VF m = hn::Abs(v);
  return hn::AllTrue(kF,
                     hn::And(hn::Ge(m, hn::Set(kF, 0x1p-100f)), hn::Le(m, hn::Set(kF, 0x1p100f))));
}

HWY_INLINE void store_scales(const BlockCodes& out, VF scale, VF zero_point) {
  hn::StoreU(scale, kF, out.scales);
  if (out.zero_points) hn::StoreU(zero_point, kF, out.zero_points);
}

// ---- Packing::nbits ----
// Writes words[w][lane], w < kWords, as kWords * 4 contiguous bytes a lane.
template <size_t kWords>
HWY_INLINE void store_words(const VI* words, std::byte* codes, size_t codes_stride) {
  const DI di;
  const size_t lanes = hn::Lanes(di);
  HWY_ALIGN int32_t bytes[4 * kMaxLanes];
#if HWY_TARGET != HWY_SCALAR
  if constexpr (kWords == 4) {
    // Block b of vector j gets the four words of lane 4 * b + j.
    const hn::RepartitionToWide<DI> pairs;
    const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(di, words[0], words[1]));
    const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(di, words[2], words[3]));
    const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(di, words[0], words[1]));
    const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(di, words[2], words[3]));
    hn::Store(hn::BitCast(di, hn::InterleaveLower(pairs, low01, low23)), di, bytes);
    hn::Store(hn::BitCast(di, hn::InterleaveUpper(pairs, low01, low23)), di, bytes + lanes);
    hn::Store(hn::BitCast(di, hn::InterleaveLower(pairs, high01, high23)), di, bytes + 2 * lanes);
    hn::Store(hn::BitCast(di, hn::InterleaveUpper(pairs, high01, high23)), di, bytes + 3 * lanes);
    for (size_t c = 0; c < lanes; ++c)
      std::memcpy(codes + c * codes_stride, bytes + c % 4 * lanes + c / 4 * 4, 16);
    return;
  }
#endif
  if constexpr (kWords == 4)
    hn::StoreInterleaved4(words[0], words[1], words[2], words[3], di, bytes);
  else if constexpr (kWords == 2)
    hn::StoreInterleaved2(words[0], words[1], di, bytes);
  else
    hn::Store(words[0], di, bytes);
  for (size_t c = 0; c < lanes; ++c)
    std::memcpy(codes + c * codes_stride, bytes + c * kWords, kWords * 4);
}

// Packs block_size codes a column; code_at(k) gives row k's, tail the codes of rows that do not
// exist. block_size is a multiple of 32 / kBits.
template <unsigned kBits, class CodeAt>
HWY_INLINE void pack_columns(size_t n_rows, size_t block_size, const CodeAt& code_at, VI tail,
                             const BlockCodes& out) {
  constexpr size_t kPerWord = 32 / kBits;
  const auto word_at = [&](size_t first) HWY_ATTR {
    VI word = hn::Zero(DI());
    if (first + kPerWord <= n_rows) {
      for (size_t j = kPerWord; j-- > 0;)
        word = hn::Or(hn::ShiftLeft<kBits>(word), code_at(first + j));
    } else {
      for (size_t j = kPerWord; j-- > 0;)
        word = hn::Or(hn::ShiftLeft<kBits>(word), first + j < n_rows ? code_at(first + j) : tail);
    }
    return word;
  };
  const size_t words = block_size / kPerWord;
  VI w[4];
  size_t i = 0;
  for (; i + 4 <= words; i += 4) {
    for (size_t j = 0; j < 4; ++j) w[j] = word_at((i + j) * kPerWord);
    store_words<4>(w, out.codes + i * 4, out.codes_stride);
  }
  if (i + 2 <= words) {
    for (size_t j = 0; j < 2; ++j) w[j] = word_at((i + j) * kPerWord);
    store_words<2>(w, out.codes + i * 4, out.codes_stride);
    i += 2;
  }
  if (i < words) {
    w[0] = word_at(i * kPerWord);
    store_words<1>(w, out.codes + i * 4, out.codes_stride);
  }
}

#if HWY_TARGET != HWY_SCALAR
// The same for whole blocks of 16 bytes and codes that come from the value alone, 0 to 255 and
// only then cut to kBits.
template <unsigned kBits, class CodeOf>
HWY_INLINE void pack_whole_columns(const BlockTile& t, const CodeOf& code_of,
                                   const BlockCodes& out) {
  constexpr size_t kPerWord = 32 / kBits, kPerByte = 8 / kBits;
  const hn::Repartition<uint8_t, DI> d8;
  const auto top = hn::Set(d8, static_cast<uint8_t>((1u << kBits) - 1));
  const ptrdiff_t back = static_cast<ptrdiff_t>(t.stride * kPerByte);
  // Every kPerByte-th code from `first` on, a byte each.
  const auto bytes_at = [&](const float* first) HWY_ATTR {
    const float* x = first + 3 * back;
    VI word = code_of(hn::LoadU(kF, x));
    for (int j = 0; j < 3; ++j) {
      x -= back;
      word = hn::Or(hn::ShiftLeft<8>(word), code_of(hn::LoadU(kF, x)));
    }
    return kBits == 8 ? word : hn::BitCast(DI(), hn::Min(hn::BitCast(d8, word), top));
  };
  const float* x = t.x;
  for (size_t k = 0; k < t.n_rows; k += 4 * kPerWord) {
    VI w[4];
    for (VI& word : w) {
      word = bytes_at(x);
      if constexpr (kBits <= 4) word = hn::Or(word, hn::ShiftLeft<kBits>(bytes_at(x + t.stride)));
      x += kPerWord * t.stride;
    }
    store_words<4>(w, out.codes + k * kBits / 8, out.codes_stride);
  }
}
#endif

// The same for bits known at run time.
template <class CodeAt>
HWY_INLINE void pack_columns(unsigned bits, size_t n_rows, size_t block_size, const CodeAt& code_at,
                             VI tail, const BlockCodes& out) {
  if (bits == 4)
    pack_columns<4>(n_rows, block_size, code_at, tail, out);
  else if (bits == 8)
    pack_columns<8>(n_rows, block_size, code_at, tail, out);
  else
    pack_columns<2>(n_rows, block_size, code_at, tail, out);
}

// Whether pack_columns() can write such blocks.
inline bool packs_whole_words(const SchemeParams& p) {
  return p.block_size * p.bits % 32 == 0 && p.block_size > 0;
}

// ---- Packing::k_major and n_major ----
// Writes one row of codes, a byte a lane. Codes are -128..255.
HWY_INLINE void store_row(const BlockCodes& out, size_t k, VI codes) {
  const hn::Rebind<uint8_t, DI> d8;
  // The low byte, so that one conversion serves signed and unsigned codes.
  hn::StoreU(hn::DemoteTo(d8, hn::And(codes, hn::Set(DI(), 0xff))), d8,
             reinterpret_cast<uint8_t*>(out.codes + k * out.codes_stride));
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
