// Which inputs and outputs stay float32 when a graph is turned to a 16-bit float.
#pragma once

#include <string>
#include <vector>

#include "format/onnx/edit.h"
#include "format/onnx/types.h"

namespace phiquant::format {

class FloatRules {
 public:
  FloatRules(const Editor& editor, DType to);

  // Nodes that compute in float32: op types of ONNX Runtime's default block list and of
  // --op-block-list, and what
  // --include and --exclude leave out. Nodes inside the body of such a node too.
  bool blocked(const Scope& scope, const onnx::NodeProto& node) const;
  // Single inputs and outputs of other nodes: Resize's scales, and what the operator's schema does
  // not take in `to`.
  bool input_stays(const Scope& scope, const onnx::NodeProto& node, int input) const;
  bool output_stays(const Scope& scope, const onnx::NodeProto& node, int output) const;

 private:
  bool output_takes(const onnx::NodeProto& node, int output) const;
  bool left_out(const Scope& scope, const onnx::NodeProto& node) const;

  const Editor& editor_;
  DType to_;
  std::string type_name_;  // "tensor(float16)"
};

}  // namespace phiquant::format
