// A checkpoint as an ONNX graph: the steps that ONNX Runtime GenAI's folders and plain models
// share.
#pragma once

#include <functional>

#include "decide/evidence.h"
#include "format/decoder/graph_writer.h"
#include "format/draft.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"

namespace phiquant::format {

// What a graph is to be.
struct GraphSpec {
  const TargetInfo& target;
  DType io = DType::f32;     // of activations, caches and float weights
  bool is_standard = false;  // only operators of the ONNX standard
  int64_t opset = 22;
  bool packed_qkv = false;  // attention takes q, k and v as one tensor
  bool stacks_experts =
      false;  // an operator takes all experts of a layer, where they are quantized
  std::function<void(GraphWriter&)> walk = nullptr;
  std::function<Result<void>(Plan&)> add_files = nullptr;  // beside the model
};

// Errors: usage (an illegal pair of options), unsupported (a weight that the block needs is
// missing; nothing can be quantized).
Result<Draft> draft_graph(const Checkpoint& checkpoint, const Request& request,
                          const Evidence& evidence, GraphSpec spec);

}  // namespace phiquant::format
