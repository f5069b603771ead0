// What the vector versions of Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0 share: extremes and stores of one
// block in the order of its values, and groups of blocks with importance. Included once per
// instruction set, after hwy/highway.h.
#if defined(PHIQUANT_QUANT_GGML_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_GGML_ROWS_INL_H_
#undef PHIQUANT_QUANT_GGML_ROWS_INL_H_
#else
#define PHIQUANT_QUANT_GGML_ROWS_INL_H_
#endif

#include <cmath>
#include <limits>

#include "quant/ggml_search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

struct Extremes {
  float lo, hi;  // a zero may have either sign
};

HWY_INLINE Extremes extremes(const float* x) {
  VF lo = hn::LoadU(kF, x), hi = lo;
  for (size_t i = kLanes; i < ggml::kSmall; i += kLanes) {
    const VF v = hn::LoadU(kF, x + i);
    lo = hn::Min(lo, v);
    hi = hn::Max(hi, v);
  }
  return {hn::GetLane(hn::MinOfLanes(kF, lo)), hn::GetLane(hn::MaxOfLanes(kF, hi))};
}

// 1 / d, or 0 for 0; infinite where codes are undefined, and the reference decides.
HWY_INLINE float inverse_or_zero(float d) { return d != 0 ? 1 / d : 0.0f; }

// Nibbles of 32 codes, and their fifth bits where kBits is 5, at the end of a block.
template <unsigned kBits>
HWY_INLINE void store_small_codes(const uint8_t* codes, std::byte* nibbles) {
  pack_nibble_vectors(codes, 16, nibbles);
  if (kBits != 5) return;
  const DBytes d;
  uint32_t word = 0;
  for (size_t i = 0; i < ggml::kSmall; i += hn::Lanes(d)) {
    uint8_t bits[8] = {};
    uint32_t part;
    const auto fifth = hn::And(hn::LoadU(d, codes + i), hn::Set(d, uint8_t{16}));
    hn::StoreMaskBits(d, hn::Ne(fifth, hn::Zero(d)), bits);
    std::memcpy(&part, bits, 4);
    word |= part << i;
  }
  std::memcpy(nibbles - 4, &word, 4);
}

template <unsigned kBits>
HWY_INLINE void load_small_codes(const std::byte* nibbles, uint8_t* codes) {
  unpack_nibble_vectors(nibbles, 16, codes);
  if (kBits == 5) ggml::unpack_fifth_bits(nibbles - 4, codes);
}

// Means of squares of up to four neighbouring rows: four sums at a time, because one waits for an
// addition each.
HWY_INLINE void mean_squares(const float* x, size_t n_rows, size_t k, float* means) {
  const float* rows[4];
  float sums[4] = {};
  for (size_t r = 0; r < 4; ++r) rows[r] = x + std::min(r, n_rows - 1) * k;
  for (size_t i = 0; i < k; ++i)
    for (size_t r = 0; r < 4; ++r) sums[r] += rows[r][i] * rows[r][i];
  for (size_t r = 0; r < n_rows; ++r) means[r] = sums[r] / static_cast<float>(k);
}

// Calls group(x, weights, at, count) for groups of blocks of four rows at most: `count` blocks, of
// which i starts at value at[i] of the tile; those of the group beyond them repeat the last one.
template <class Group>
HWY_INLINE void for_weighted_groups(const RowTile& tile, const Group& group) {
  const size_t blocks = tile.k / ggml::kSmall;
  for (size_t r = 0; r < tile.n_rows; r += 4) {
    const size_t n_rows = std::min<size_t>(4, tile.n_rows - r), n = n_rows * blocks;
    const float* base = tile.x + r * tile.k;
    float means[4];
    mean_squares(base, n_rows, tile.k, means);
    for (size_t first = 0; first < n; first += kGroup) {
      int32_t at[kGroup], columns[kGroup];
      float sigma2[kGroup];
      for (size_t i = 0; i < kGroup; ++i) {
        const size_t b = std::min(first + i, n - 1);
        at[i] = static_cast<int32_t>(b * ggml::kSmall);
        columns[i] = static_cast<int32_t>(b % blocks * ggml::kSmall);
        sigma2[i] = means[b / blocks];
      }
      Lanes<ggml::kSmall> x, w;
      x.gather(base, at);
      w.gather(tile.importance, columns);
      weigh_importance(x, sigma2, w);
      group(x, w, r * blocks + first, std::min(kGroup, n - first));
    }
  }
}

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
