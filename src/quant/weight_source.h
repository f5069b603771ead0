// Weights as sources of floats: how a matrix lies in a file, dense or as codes in blocks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "core/tensor.h"
#include "quant/scheme.h"

namespace phiquant {

// How the elements of a K x N weight lie in a dense tensor: kn = element (k, n) at k * N + n
// (MatMul's B); nk = at n * K + k (Gemm with transB, embedding tables, Hugging Face linears).
enum class Orientation : uint8_t { kn, nk };

// A weight stored as floats.
struct DenseStorage {
  SourceTensor data;  // f32, f16 or bf16; k * n elements
  Orientation orientation = Orientation::kn;
};

// A weight stored as integer codes in blocks along K (block >= K: per channel; also used with k and
// n swapped roles for scales along the other axis, see `scale_axis_k`).
struct BlockStorage {
  Packing packing = Packing::nbits;
  unsigned bits = 4;
  bool is_signed = false;     // two's complement codes (QDQ int4/int8); false: unsigned
  uint64_t block_size = 32;   // values along K per scale
  uint64_t column_group = 1;  // columns that share a scale: 1, or N for one scale per tensor
  SourceTensor codes;
  SourceTensor scales;  // [N, ceil(K/block)] for nbits and n_major, [ceil(K/block), N] for k_major;
                        // with column_group == N one column
  std::optional<SourceTensor>
      zero_points;  // packed integers like the codes' dtype, or floats in the scale's dtype
  int default_zero_point = 0;  // where zero_points is absent
};

// A 2-D weight that can be read as floats, K x N.
struct WeightSource {
  std::string name;
  uint64_t k = 0, n = 0;
  std::variant<DenseStorage, BlockStorage> storage;
};

}  // namespace phiquant
