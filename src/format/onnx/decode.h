// Reads the weights of quantized nodes as blocks of codes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "format/onnx/weight.h"
#include "model/weights.h"

namespace phiquant::format {

struct DecodedTensor {
  DecodedWeight weight;
  DType dtype = DType::f32;  // of the float tensor: the scales'
  Shape shape;               // of the float tensor
  Scope* scope = nullptr;    // where the codes are defined
  const onnx::TensorProto* codes = nullptr;
};

// All of these: nullopt with `why` set where the node's constants cannot be decoded; every byte
// count is checked.
std::optional<DecodedTensor> decode_matmul_nbits(Editor& editor, Scope& scope,
                                                 const onnx::NodeProto& node, std::string& why);
std::optional<DecodedTensor> decode_gather(Editor& editor, Scope& scope,
                                           const onnx::NodeProto& node, std::string& why);
// Codes with one scale a tensor, a position of `axis`, or a block along it (block_size > 0).
// `zero_point` may be "".
std::optional<DecodedTensor> decode_linear(Editor& editor, Scope& scope, const std::string& codes,
                                           const std::string& scale, const std::string& zero_point,
                                           int64_t axis, int64_t block_size, std::string& why);

// The experts of QMoE nodes, one weight for each expert's gate, up and down: "<tensor>[3].gate",
// "<tensor>[3]". Those that are stored otherwise than as rows of symmetric codes are left out.
void add_expert_weights(Editor& editor, std::vector<NamedWeight>& out);

// The float weight's name out of its codes' name: without _Q4, _Q4G32, _DQ_Q4, _quantized.
std::string without_quantized_suffix(const std::string& name);

}  // namespace phiquant::format
