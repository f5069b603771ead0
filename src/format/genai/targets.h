// What each execution provider of ONNX Runtime takes: the table behind --target.
#pragma once

#include <span>
#include <string>

#include "core/tensor.h"
#include "phiquant/options.h"

namespace phiquant::format {

struct TargetInfo {
  Target target;
  std::string_view name;
  unsigned precisions;              // sum of 1 << Precision
  DType half = DType::f16;          // of activations under int4 and int8
  int accuracy_level = 0;           // of MatMulNBits, where nothing else was asked for
  bool rotary_in_attention = true;  // GroupQueryAttention rotates; else RotaryEmbedding nodes do
  bool packed_qkv = true;           // GroupQueryAttention takes q, k and v as one tensor
  bool has_if = true;               // the If operator chooses between the two rope branches
  bool has_moe = true;              // com.microsoft::QMoE runs there
  // Takes no dynamic shapes: gets a plain model of one sequence length instead of a GenAI folder,
  // and weights of 4 bits in blocks or of none.
  bool fixed_shapes = false;
  bool names_sliding_window = false;       // genai_config.json has a sliding_window section
  std::string_view provider_options = {};  // the provider's section of genai_config.json, as JSON
};

std::span<const TargetInfo> targets();
const TargetInfo& target_info(Target target);

// Whether a runtime of the target loads the precision.
bool runs(const TargetInfo& target, Precision precision);
// "cpu: int4, int8, fp32; cuda: ..."
std::string legal_pairs();

// Type of activations: float32 where the target computes in it, else its 16-bit float.
DType io_dtype(const TargetInfo& target, Precision precision);

}  // namespace phiquant::format
