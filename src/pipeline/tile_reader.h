// Reads any weight, whatever its storage, as float tiles with one column per value of N.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "format/plan.h"
#include "phiquant/error.h"

namespace phiquant {

// A half-open rectangle of a K x N weight.
struct Region {
  uint64_t k0 = 0, k1 = 0, n0 = 0, n1 = 0;
  size_t rows() const { return static_cast<size_t>(k1 - k0); }
  size_t cols() const { return static_cast<size_t>(n1 - n0); }
};

// How the float tensor that a weight stands for lies: codes packed along K are those of an [N, K]
// tensor, except MatMulNBits, which stands for a MatMul's [K, N].
inline Orientation orientation_of(const WeightSource& weight) {
  if (const auto* dense = std::get_if<DenseStorage>(&weight.storage)) return dense->orientation;
  return std::get<BlockStorage>(weight.storage).packing == Packing::n_major ? Orientation::nk
                                                                            : Orientation::kn;
}

inline Orientation orientation_of(const Int8Job& job) {
  return job.orientation.value_or(orientation_of(job.source));
}

// One per thread; keeps its buffers between weights. Memory: begin() holds the region's stored
// bytes where the storage has K innermost, and nothing otherwise; tile() needs its own rows only.
class TileReader {
 public:
  // Opens a region of `weight`, which must outlive the reads.
  Result<void> begin(const WeightSource& weight, const Region& region);

  // Values k0 <= k < k1 of the region's columns: out[(k - k0) * cols + (n - n0)]. k must not
  // decrease between calls for BlockStorage in nbits packing to be decoded once.
  Result<void> tile(uint64_t k0, uint64_t k1, float* out);

  // Stored bytes that begin() keeps per column of a region with `rows` values of K.
  static uint64_t held_bytes_per_column(const WeightSource& weight, uint64_t rows);

 private:
  Result<void> begin_dense(const DenseStorage& dense);
  Result<void> begin_blocks(const BlockStorage& blocks);
  Result<void> read_zero_points(const BlockStorage& blocks, uint64_t total_blocks);
  Result<void> tile_dense(const DenseStorage& dense, uint64_t k0, uint64_t k1, float* out);
  Result<void> tile_blocks(const BlockStorage& blocks, uint64_t k0, uint64_t k1, float* out);
  Result<void> unpack_rows(const BlockStorage& blocks, uint64_t k0, uint64_t k1);
  Result<void> read_floats(const SourceTensor& tensor, uint64_t first, size_t n, float* out);
  void gather_parameters(const BlockStorage& blocks, uint64_t block);

  const WeightSource* weight_ = nullptr;
  Region region_;
  std::vector<std::byte> held_;        // stored bytes of the region (K innermost)
  std::vector<std::byte> raw_;         // one tile's bytes before widening
  std::vector<float> rows_;            // widened rows before the transpose
  std::vector<float> scales_, zeros_;  // of the region: [block][column]
  std::vector<float> scale_row_, zero_row_;
  std::vector<uint8_t> unpacked_;
  std::vector<float> decoded_;  // the nbits block decoded last
  uint64_t first_block_ = 0, block_count_ = 0, decoded_block_ = UINT64_MAX;
  bool has_zeros_ = false;
};

}  // namespace phiquant
