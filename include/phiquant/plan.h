// The plan of a conversion: everything that is known from headers alone. A format builds it; the
// pipeline executes it by streaming. Plain data; holds no tensor bytes but small literals.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "phiquant/row_scheme.h"
#include "phiquant/scheme.h"
#include "phiquant/tensor.h"

namespace phiquant {

// ---- Sources
// -------------------------------------------------------------------------------------------

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

// ---- Jobs
// ----------------------------------------------------------------------------------------------

using TensorId = uint32_t;  // index into Plan::tensors
constexpr TensorId kNoTensor = std::numeric_limits<TensorId>::max();

// Bytes as they are.
struct CopyJob {
  SourceTensor source;
  TensorId out = kNoTensor;
};

// What a cast to a narrower float does with what it cannot hold.
enum class CastRule : uint8_t {
  ieee,      // round half to even, overflow to infinity
  ort_fp16,  // ONNX Runtime's float16 converter: 0 < |x| < 5.96e-8 -> 5.96e-8, finite |x| > 65504
             // -> 65504 (signs kept)
};

// Elementwise float to float.
struct CastJob {
  SourceTensor source;
  CastRule rule = CastRule::ieee;
  TensorId out = kNoTensor;
};

// A weight to float elements (dequantizes BlockStorage; also re-orients).
struct DecodeJob {
  WeightSource source;
  Orientation out_orientation = Orientation::kn;
  CastRule rule = CastRule::ieee;
  TensorId out = kNoTensor;
};

// A weight to blocks of codes.
struct BlockJob {
  WeightSource source;
  const Scheme* scheme = nullptr;
  SchemeParams params;
  TensorId codes = kNoTensor, scales = kNoTensor, zero_points = kNoTensor;
};

// A weight to 8-bit codes with one scale and offset per column of N or per tensor: the range is
// found first (a reduction over the whole weight), then the codes are written.
struct AffineJob {
  WeightSource source;  // dense, or blocks that are encoded again
  bool per_channel = true;
  bool symmetric = true;
  bool is_signed = true;  // int8, else uint8
  bool reduce_range = false;
  TensorId codes = kNoTensor, scales = kNoTensor, zero_points = kNoTensor;
  std::optional<Orientation> orientation = std::nullopt;  // of the codes; empty: the source's
};

// Rows to blocks of a row scheme (GGUF, MLX).
struct RowJob {
  SourceTensor source;  // f32, f16 or bf16; rows of shape.back() values, a multiple of the block
  const RowScheme* scheme = nullptr;
  RowParams params;
  bool via_f16 = false;  // values are rounded to f16 first, as they would be in an F16 file
  // Importance of each column, or of each column of each of several equal stacks of rows (experts):
  // [K] or [stacks * K]. Null: none.
  std::shared_ptr<const std::vector<float>> importance;
  std::array<TensorId, kMaxRowPlanes> planes = {kNoTensor, kNoTensor, kNoTensor};
};

using Job = std::variant<CopyJob, CastJob, DecodeJob, BlockJob, AffineJob, RowJob>;

// ---- Output
// --------------------------------------------------------------------------------------------

// A tensor of the output and the place of its bytes; the place is fixed before the first byte is
// written.
struct OutTensor {
  std::string name;
  DType dtype = DType::undefined;
  Shape shape;
  uint64_t size_bytes = 0;
  uint32_t file = 0;  // index into Plan::files
  uint64_t offset = 0;
};

// Bytes known at planning time (headers, protobuf without its payloads, JSON).
struct Literal {
  uint64_t offset = 0;
  std::string bytes;
};

struct OutFile {
  std::string path;  // relative to the output folder; empty when the output is that one file
  uint64_t size_bytes = 0;
  std::vector<Literal> literals;  // disjoint; what neither literals nor tensors cover is zero
};

// What became of one weight, for the report and --dry-run.
struct PlanRow {
  std::string tensor;  // weight name in the input
  std::string node;    // node that uses it, "" if none
  std::string role;    // "linear", "lm_head", "embedding", "conv", "norm", "other"
  DType from = DType::undefined;
  Shape shape;
  std::string action;  // scheme name, "cast", "dequantize", "keep"
  unsigned bits = 0;
  uint32_t block_size = 0;  // 0: none
  std::string reason;       // why kept, or why not the default; "" if nothing to say
  uint64_t bytes_before = 0, bytes_after = 0;
  std::optional<uint32_t> job;  // index into Plan::jobs, to attach measured error
};

struct Plan {
  bool is_directory = true;
  std::vector<OutFile> files;
  std::vector<OutTensor> tensors;
  std::vector<Job> jobs;
  std::vector<PlanRow> rows;
  std::vector<std::string> warnings;  // one line each, for the user
  uint64_t input_bytes = 0;           // weights and structure of the input, for the ratio
};

}  // namespace phiquant
