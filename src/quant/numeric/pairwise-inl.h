// numpy's order of summation (pairwise_sum in block_ref.h) for a group of columns. Included once
// per instruction set.
#if defined(PHIQUANT_QUANT_PAIRWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef PHIQUANT_QUANT_PAIRWISE_INL_H_
#undef PHIQUANT_QUANT_PAIRWISE_INL_H_
#else
#define PHIQUANT_QUANT_PAIRWISE_INL_H_
#endif

#include <array>

#include "quant/blocks/block_simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace phiquant::quant::HWY_NAMESPACE {

constexpr size_t kMaxBlock = 256;  // of the schemes that keep a block in a buffer

// Blocks that pairwise_sums() can do.
inline bool sums_pairwise(size_t n) { return n % 8 == 0 && n >= 8 && (n <= 128 || n == kMaxBlock); }

// kSums sums over rows first .. first + n - 1 at once; terms(k, out) gives row k's terms. n <= 128,
// n % 8 == 0.
template <size_t kSums, class Terms>
HWY_INLINE void pairwise_half(size_t first, size_t n, const Terms& terms, VF* sums) {
  VF residue[8][kSums];
  for (size_t j = 0; j < 8; ++j) {
    VF term[kSums], sum[kSums];
    terms(first + j, sum);
    for (size_t i = j + 8; i < n; i += 8) {
      terms(first + i, term);
      for (size_t s = 0; s < kSums; ++s) sum[s] = hn::Add(sum[s], term[s]);
    }
    for (size_t s = 0; s < kSums; ++s) residue[j][s] = sum[s];
  }
  for (size_t s = 0; s < kSums; ++s) {
    const VF a =
        hn::Add(hn::Add(residue[0][s], residue[1][s]), hn::Add(residue[2][s], residue[3][s]));
    const VF b =
        hn::Add(hn::Add(residue[4][s], residue[5][s]), hn::Add(residue[6][s], residue[7][s]));
    sums[s] = hn::Add(a, b);
  }
}

template <size_t kSums, class Terms>
HWY_INLINE void pairwise_sums(size_t n, const Terms& terms, VF* sums) {
  if (n <= 128) return pairwise_half<kSums>(0, n, terms, sums);
  VF second[kSums];
  pairwise_half<kSums>(0, n / 2, terms, sums);
  pairwise_half<kSums>(n / 2, n / 2, terms, second);
  for (size_t s = 0; s < kSums; ++s) sums[s] = hn::Add(sums[s], second[s]);
}

// A block of columns, contiguous and padded with zeros, so that many passes stay in the first
// cache.
struct Buffer {
  HWY_ALIGN float values[kMaxBlock * kMaxLanes];
  HWY_INLINE VF get(size_t k) const { return hn::Load(kF, values + k * hn::Lanes(kF)); }
  HWY_INLINE void set(size_t k, VF v) { hn::Store(v, kF, values + k * hn::Lanes(kF)); }
  HWY_INLINE void fill(const BlockTile& t, size_t block_size) {
    for (size_t k = 0; k < t.n_rows; ++k) set(k, row(t, k));
    for (size_t k = t.n_rows; k < block_size; ++k) set(k, hn::Zero(kF));
  }
};

}  // namespace phiquant::quant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
