// Which weights of a checkpoint get other bits than the request's, and how tied embeddings are
// kept.
#pragma once

#include <map>
#include <string>

#include "format/genai_decoder.h"
#include "format/onnx_format.h"

namespace phiquant::format {

// The request with everything settled that depends on target and recipe: accuracy level,
// embeddings, lm_head.
QuantizeOptions settle(const QuantizeOptions& options, const TargetInfo& target,
                       const Decoder& decoder);

// By node name, for the weights of a written graph; the reasons stand in the report.
std::map<std::string, NodeBits> node_bits(const GraphWriter& w, const QuantizeOptions& options);

// How the graph is to be written.
struct EmbeddingPlan {
  EmbeddingForm form = EmbeddingForm::separate;
  bool shares_codes = false;  // after quantization, the embedding reads the lm_head's codes
};
EmbeddingPlan embedding_plan(const Decoder& decoder, const QuantizeOptions& options);

}  // namespace phiquant::format
