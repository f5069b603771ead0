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

#include "quant/ggml/search-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

// Blocks whose extremes are found together.
constexpr size_t kRun = 16;

// The larger of neighbours: of the values of a and of b, by turns.
HWY_INLINE VF max_of_pairs(VF a, VF b) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Max(a, b);
#else
  return hn::Max(hn::InterleaveLower(kF, a, b), hn::InterleaveUpper(kF, a, b));
#endif
}

// largest[b] = the largest value(b, i) of block b < 4; i counts the vectors of a block.
template <class Value>
HWY_INLINE void max_of_four(const Value& value, float* largest) {
  VF max[4];
  for (size_t b = 0; b < 4; ++b) {
    max[b] = value(b, 0);
    for (size_t i = 1; i < ggml::kSmall / kLanes; ++i) max[b] = hn::Max(max[b], value(b, i));
  }
  if (kLanes < 4) {
    for (size_t b = 0; b < 4; ++b) largest[b] = hn::GetLane(hn::MaxOfLanes(kF, max[b]));
    return;
  }
  // Lane l of every four: block l.
  float lanes[kLanes];
  hn::StoreU(max_of_pairs(max_of_pairs(max[0], max[2]), max_of_pairs(max[1], max[3])), kF, lanes);
  const hn::CappedTag<float, 4> d4;
  auto four = hn::LoadU(d4, lanes);
  for (size_t l = 4; l < kLanes; l += 4) four = hn::Max(four, hn::LoadU(d4, lanes + l));
  hn::StoreU(four, d4, largest);
}

// hi[b] = the maximum of block b < n, lo[b] its minimum; a zero may have either sign. From n to
// kRun those of the last block.
HWY_INLINE void extremes(const float* x, size_t n, float* lo, float* hi) {
  for (size_t b = 0; b < kRun; b += 4) {
    const auto at = [&](size_t j, size_t i) HWY_ATTR {
      return hn::LoadU(kF, x + std::min(b + j, n - 1) * ggml::kSmall + i * kLanes);
    };
    max_of_four([&](size_t j, size_t i) HWY_ATTR { return at(j, i); }, hi + b);
    max_of_four([&](size_t j, size_t i) HWY_ATTR { return hn::Neg(at(j, i)); }, lo + b);
    for (size_t j = b; j < b + 4; ++j) lo[j] = -lo[j];
  }
}

// The largest magnitudes, likewise.
HWY_INLINE void magnitudes(const float* x, size_t n, float* largest) {
  for (size_t b = 0; b < kRun; b += 4)
    max_of_four(
        [&](size_t j, size_t i) HWY_ATTR {
          return hn::Abs(hn::LoadU(kF, x + std::min(b + j, n - 1) * ggml::kSmall + i * kLanes));
        },
        largest + b);
}

// 1 / d, or 0 for 0; infinite where codes are undefined, and the reference decides.
HWY_INLINE void inverses_or_zero(const float* d, float* inverse) {
  for (size_t b = 0; b < kRun; b += kLanes) {
    const VF v = hn::LoadU(kF, d + b);
    const VF one_by = hn::Div(hn::Set(kF, 1.0f), v);
    hn::StoreU(hn::IfThenZeroElse(hn::Eq(v, hn::Zero(kF)), one_by), kF, inverse + b);
  }
}

// ggml::store_f16 of kRun values, none of them NaN.
HWY_INLINE void round_to_halves(const float* values, uint16_t* halves) {
#if HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, DF> d16;
  for (size_t b = 0; b < kRun; b += kLanes)
    hn::StoreU(hn::DemoteTo(d16, hn::LoadU(kF, values + b)), d16,
               reinterpret_cast<hwy::float16_t*>(halves + b));
#else
  for (size_t b = 0; b < kRun; ++b) halves[b] = f16_from_f32(values[b]);
#endif
}

// Codes code(i) of values i .. i + kLanes: nibbles at the end of a block, and before them the fifth
// bits where kBits is 5.
template <unsigned kBits, class Code>
HWY_INLINE void store_small_codes(const Code& code, std::byte* nibbles) {
  uint32_t fifth = 0;
  const auto note_fifth = [&](VI codes, size_t i) HWY_ATTR {
    uint8_t bits[8] = {};
    uint32_t part;
    hn::StoreMaskBits(kI, hn::Gt(codes, hn::Set(kI, 15)), bits);
    std::memcpy(&part, bits, 4);
    fifth |= part << i;
  };
  for (size_t i = 0; i < 16; i += kLanes) {
    VI low = code(i), high = code(i + 16);
    if (kBits == 5) {
      note_fifth(low, i);
      note_fifth(high, i + 16);
      low = hn::And(low, hn::Set(kI, 15));
      high = hn::And(high, hn::Set(kI, 15));
    }
    store_codes8(hn::Or(low, hn::ShiftLeft<4>(high)), reinterpret_cast<uint8_t*>(nibbles) + i);
  }
  if (kBits == 5) std::memcpy(nibbles - 4, &fifth, 4);
}

// Calls put(i, codes) for values i .. i + kLanes, with what store_small_codes wrote.
template <unsigned kBits, class Put>
HWY_INLINE void load_small_codes(const std::byte* nibbles, const Put& put) {
  uint32_t word = 0;
  if (kBits == 5) std::memcpy(&word, nibbles - 4, 4);
  const auto fifth = [&](size_t i) HWY_ATTR {
    const VI bit = hn::Shl(hn::Set(kI, 1), hn::Iota(kI, 0));
    const VI part = hn::Set(kI, static_cast<int32_t>(word >> i));
    return hn::IfThenElseZero(hn::Ne(hn::And(part, bit), hn::Zero(kI)), hn::Set(kI, 16));
  };
  for (size_t i = 0; i < 16; i += kLanes) {
    const VI both = load_codes8(reinterpret_cast<const uint8_t*>(nibbles) + i);
    VI low = hn::And(both, hn::Set(kI, 15)), high = hn::ShiftRight<4>(both);
    if (kBits == 5) {
      low = hn::Or(low, fifth(i));
      high = hn::Or(high, fifth(i + 16));
    }
    put(i, low);
    put(i + 16, high);
  }
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
