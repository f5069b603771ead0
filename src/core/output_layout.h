// The files of an output: their tensors, and the bytes known before any tensor is written.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace phiquant {

using TensorId = uint32_t;  // index into the tensors of an output
constexpr TensorId kNoTensor = std::numeric_limits<TensorId>::max();

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

}  // namespace phiquant
