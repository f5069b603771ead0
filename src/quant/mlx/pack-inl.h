// Codes of 2 to 6 bits as one bit stream (quant/mlx/bits.h), a vector of them at a time. Included
// once per instruction set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_MLX_PACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_MLX_PACK_INL_H_
#undef PHIQUANT_QUANT_MLX_PACK_INL_H_
#else
#define PHIQUANT_QUANT_MLX_PACK_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "quant/mlx/bits.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET != HWY_SCALAR

// Lanes hold a number in each half, the upper one at bit kFrom: moves it down to bit kTo.
template <int kFrom, int kTo, class D>
HWY_INLINE hn::Vec<D> join_halves(D d, hn::Vec<D> v) {
  const auto low = hn::And(v, hn::Set(d, static_cast<hn::TFromD<D>>((uint64_t{1} << kFrom) - 1)));
  return hn::Or(low, hn::ShiftLeft<kTo>(hn::ShiftRight<kFrom>(v)));
}

// The 16-byte blocks of v, `step` bytes apart, from the lowest on.
template <class D>
HWY_INLINE void store_blocks(D d, hn::Vec<D> v, size_t step, uint8_t* out) {
  if constexpr (hn::MaxLanes(d) == 16) {
    hn::StoreU(v, d, out);
  } else {
    const hn::Half<D> half;
    store_blocks(half, hn::LowerHalf(half, v), step, out);
    store_blocks(half, hn::UpperHalf(half, v), step, out + hn::MaxLanes(d) / 32 * step);
  }
}

// Whole vectors of n codes, a multiple of 32, as pack_codes(), but for the last 32 codes: a store
// of 16 bytes reaches beyond the bytes that it is for. Returns how many codes that were.
template <unsigned kBits>
HWY_INLINE size_t pack_vectors(const uint8_t* codes, size_t n, std::byte* out) {
  const hn::CappedTag<uint8_t, 64> d8;
  const hn::RepartitionToWide<decltype(d8)> d16;
  const hn::RepartitionToWide<decltype(d16)> d32;
  const hn::RepartitionToWide<decltype(d32)> d64;
  constexpr int kB = static_cast<int>(kBits);
  HWY_ALIGN uint8_t low_bytes[16] = {};  // of both eights of a block
  for (uint8_t i = 0; i < 2 * kBits; ++i)
    low_bytes[i] = static_cast<uint8_t>(i < kBits ? i : 8 - kBits + i);
  const auto order = hn::LoadDup128(d8, low_bytes);
  size_t i = 0;
  for (; i + hn::Lanes(d8) + 32 <= n; i += hn::Lanes(d8)) {
    const auto pairs = join_halves<8, kB>(d16, hn::BitCast(d16, hn::LoadU(d8, codes + i)));
    const auto fours = join_halves<16, 2 * kB>(d32, hn::BitCast(d32, pairs));
    const auto eights = join_halves<32, 4 * kB>(d64, hn::BitCast(d64, fours));
    store_blocks(d8, hn::TableLookupBytes(hn::BitCast(d8, eights), order), 2 * kBits,
                 reinterpret_cast<uint8_t*>(out + i * kBits / 8));
  }
  return i;
}

// Where code i of 16 starts, for a shuffle to 32-bit lanes, and what moves it to the upper end of
// the lane's lower 16 bits.
template <unsigned kBits>
struct UnpackTables {
  HWY_ALIGN uint8_t bytes[64] = {};
  HWY_ALIGN uint16_t factors[32] = {};

  constexpr UnpackTables() {
    for (unsigned i = 0; i < 16; ++i) {
      bytes[4 * i] = static_cast<uint8_t>(i * kBits / 8);
      bytes[4 * i + 1] = static_cast<uint8_t>(i * kBits / 8 + 1);
      bytes[4 * i + 2] = bytes[4 * i + 3] = 0x80;  // zero
      factors[2 * i] = static_cast<uint16_t>(1u << (16 - kBits - i * kBits % 8));
    }
  }
};
template <unsigned kBits>
constexpr UnpackTables<kBits> kUnpackTables;

// The codes [first, first + lanes) of the 16 that start at `in`, of which 16 bytes are read.
template <unsigned kBits, class DI>
HWY_INLINE hn::Vec<DI> unpack_lanes(DI di, const std::byte* in, size_t first) {
  const hn::Repartition<uint8_t, DI> d8;
  const hn::Repartition<uint16_t, DI> d16;
  const auto block = hn::LoadDup128(d8, reinterpret_cast<const uint8_t*>(in));
  const auto two_bytes =
      hn::TableLookupBytesOr0(block, hn::Load(d8, kUnpackTables<kBits>.bytes + 4 * first));
  const auto upper =
      hn::Mul(hn::BitCast(d16, two_bytes), hn::Load(d16, kUnpackTables<kBits>.factors + 2 * first));
  return hn::BitCast(di, hn::ShiftRight<16 - static_cast<int>(kBits)>(upper));
}

#endif

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
