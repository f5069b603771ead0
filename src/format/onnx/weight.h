// Finds the constant behind a node's weight input, and the weights that a precision may change.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "decide/slot.h"
#include "format/onnx/edit.h"

namespace phiquant::format {

// A constant as a node sees it: through Casts between floats, Identities and 2-D Transposes.
struct WeightRef {
  Scope* scope = nullptr;  // where the constant is defined
  const onnx::TensorProto* tensor = nullptr;
  std::string base;                // what names of new tensors are made of
  DType dtype = DType::undefined;  // as seen: after the Casts
  Shape shape;                     // as seen: after the Transposes
  bool transposed = false;         // seen and stored shape are each other's transpose
  size_t leading = 0;              // dimensions of 1 before the two of `shape` in the stored shape
};

// nullopt where input `name` of a node in `scope` does not come from a float constant.
std::optional<WeightRef> find_weight(Scope& scope, const std::string& name);

// The constant itself, of any dtype, without looking through nodes.
struct ConstantRef {
  Scope* scope = nullptr;
  const onnx::TensorProto* tensor = nullptr;
};
std::optional<ConstantRef> find_constant(Scope& scope, const std::string& name);

// The stored shape without the leading 1s that `shape` leaves out.
Shape stored_shape(const WeightRef& weight);

// A weight seen as [K, N] (`nk` false) or [N, K] as a float-readable source. Weights of higher rank
// are flattened to [shape[0], rest]. nullopt where a quantized weight's blocks run along the other
// axis.
std::optional<WeightSource> weight_source(Editor& editor, const WeightRef& weight, bool nk);

// A node with a constant weight that a precision might quantize.
struct Candidate {
  Scope* scope = nullptr;
  onnx::NodeProto* node = nullptr;
  int input = 1;  // which input is the weight
  WeightRef weight;
  bool nk = false;  // the node takes [N, K] (Gemm transB, Gather [V, H], Conv [O, rest])
  // What it is, found once: K, N and role as the node takes them.
  Slot slot;
};

// All of them, in graph order: MatMul, Gemm, Gather and Conv with a constant, and other nodes that
// read a float constant of rank 2 or more (which must stay float, with the reason). A MatMul's
// weight [1, K, N] counts as [K, N] where the other operand is known to have as many dimensions:
// the product has the same shape then.
std::vector<Candidate> find_candidates(const GraphIndex& index);

}  // namespace phiquant::format
