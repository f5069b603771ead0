// The plan of a conversion: everything that is known from headers alone. A format builds it; the
// pipeline executes it by streaming. Plain data; holds no tensor bytes but small literals.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/output_layout.h"
#include "core/tensor.h"
#include "quant/numeric/cast_rule.h"
#include "quant/row_scheme.h"
#include "quant/scheme.h"
#include "quant/weight_source.h"

namespace phiquant {

// ---- Jobs

// Bytes as they are.
struct CopyJob {
  SourceTensor source;
  TensorId out = kNoTensor;
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
struct Int8Job {
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

using Job = std::variant<CopyJob, CastJob, DecodeJob, BlockJob, Int8Job, RowJob>;

// ---- Plan

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
