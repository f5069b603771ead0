// What happens to each weight under --precision int4 or int8.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "format/onnx_weight.h"

namespace phiquant::format {

// The ways to quantize one weight.
enum class Form : uint8_t {
  keep,
  nbits,       // MatMulNBits
  gather,      // GatherBlockQuantized
  qdq_blocks,  // DequantizeLinear with blocks
  qdq_affine,  // DequantizeLinear with one scale a channel or a tensor, int8
  dynamic,     // DynamicQuantizeLinear + MatMulInteger or ConvInteger
};

struct Treatment {
  Form form = Form::keep;
  const Scheme* scheme = nullptr;  // nbits, gather, qdq_blocks
  SchemeParams params;
  bool per_channel = true;      // qdq_affine, dynamic
  std::string action = "keep";  // scheme name, for the report
  std::string reason;
};

// The request of an integer precision, checked.
struct IntegerSettings {
  Form linear = Form::nbits;
  const Scheme* scheme = nullptr;  // for nbits and qdq_blocks
  std::string name;                // as reported: "matmul_nbits", "qdq_channel", "dynamic", ...
  unsigned bits = 4;
  uint32_t block_size = 32;
  bool symmetric = true;
  bool per_channel = true;
  int accuracy_level = 4;
};

// Schemes that are no block scheme: rules for --scheme beside block_schemes().
struct AffineScheme {
  const char* name;
  const char* summary;
  Form form;
  bool per_channel;
};
std::vector<AffineScheme> affine_schemes();

// Errors: usage, for unknown names and pairs that do not go together, naming the legal values.
Result<IntegerSettings> integer_settings(const QuantizeOptions& options);

// Bits of lm_head's weight under the request; --lm-head keep apart.
unsigned head_bits(const IntegerSettings& settings, const QuantizeOptions& options);

// The product that makes the output "logits", quantized or not; nullptr where there is none.
const onnx::NodeProto* find_logits_node(const GraphIndex& index);

// Marks lm_head and routers among `candidates` (Candidate::role).
void assign_roles(const GraphIndex& index, std::vector<Candidate>& candidates);

// Whether --include and --exclude let a weight be changed; the reason if not.
std::string refused_by_globs(const Candidate& candidate, const QuantizeOptions& options);
// Errors: usage, where an --include pattern matches no node or weight (with near names). Warns of
// such --exclude.
Result<void> check_globs(Editor& editor, const std::vector<Candidate>& candidates);

Treatment treatment(const Candidate& candidate, const IntegerSettings& settings,
                    const Editor& editor);

PlanRow plan_row(const Candidate& candidate, const Treatment& treatment);

}  // namespace phiquant::format
