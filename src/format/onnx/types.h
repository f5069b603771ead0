// Element types of values: what the model declares, and what follows from the operators' schemas.
#pragma once

#include <string>
#include <unordered_map>

#include <onnx/defs/schema.h>

#include "format/onnx/graph.h"

namespace phiquant::format {

class Types {
 public:
  Types(const onnx::ModelProto& model, const GraphIndex& index);
  // TensorProto::DataType of a value seen from `scope`; UNDEFINED where it does not follow.
  int32_t of(const Scope& definer, const std::string& name) const;

 private:
  void declare(const Scope& scope);
  void deduce(const Scope& scope, int depth);
  int32_t output_type(const Scope& scope, const onnx::NodeProto& node, int output);
  void call(const Scope& scope, const onnx::NodeProto& node, int depth);
  int32_t seen(const Scope& scope, const std::string& name) const;

  const GraphIndex& index_;
  std::unordered_map<std::string, int64_t> opsets_;
  std::unordered_map<const Scope*, std::unordered_map<std::string, int32_t>> types_;
};

// The schema of a node at the model's opset; nullptr for operators that onnx does not know.
const onnx::OpSchema* schema_of(const onnx::ModelProto& model, const onnx::NodeProto& node);
// The formal parameter of an actual input or output (variadic ones repeat); nullptr where there is
// none.
const onnx::OpSchema::FormalParameter* formal_of(
    const std::vector<onnx::OpSchema::FormalParameter>& formals, int i);
// Whether a parameter takes tensors of an element type.
bool takes(const onnx::OpSchema::FormalParameter& formal, const char* type);  // "tensor(float16)"

}  // namespace phiquant::format
