// ONNX to ONNX: rewrites a graph for a precision and lays the result out. Reads structure only.
#pragma once

#include <map>
#include <set>
#include <string>

#include "phiquant/convert.h"
#include "phiquant/error.h"
#include "phiquant/plan.h"
#include "phiquant/weights.h"
#include "wire/onnx_payload.h"

namespace phiquant {

// What a weight is to get instead of the request's default: 4 or 8 bits, or 0 to stay float.
struct NodeBits {
  unsigned bits = 8;
  std::string reason;
};

// Weights that must stay float (found to hold NaN or infinity while streaming): the pipeline plans
// again with them.
struct OnnxPlanExtras {
  std::set<std::string> keep_float;           // tensor names, as in PlanRow::tensor
  std::map<std::string, NodeBits> node_bits;  // by name of the MatMul; --include and --exclude win
};

// Takes the model apart: nodes are rewritten, jobs created, sizes and offsets fixed, protobuf
// serialized. Errors: unsupported (nothing to quantize, opset), usage (illegal option pair,
// unmatched --include glob).
Result<Plan> plan_onnx(OnnxModel model, const QuantizeOptions& options,
                       const OnnxPlanExtras& extras = {});

// The weights of a model as float-readable sources, for compare and inspect: quantized ones and
// experts too, and vectors (norms, biases). Keys are left empty.
std::vector<NamedWeight> onnx_weights(const OnnxModel& model);

}  // namespace phiquant
