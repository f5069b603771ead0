// The identity of a graph's weights: found once, before anything is decided.
#pragma once

#include <vector>

#include "format/onnx/weight.h"

namespace phiquant::format {

// The product that makes the output "logits", quantized or not; nullptr where there is none.
const onnx::NodeProto* find_logits_node(const GraphIndex& index);

// Whether a weight's name, or its node's, is that of a router among experts.
bool is_router_name(const std::string& name);

// Fills in Candidate::slot: names, shapes, types, which weight is lm_head and which ones are
// routers, and what cannot be quantized because its codes lie along the other axis.
void identify(Editor& editor, std::vector<Candidate>& candidates);

}  // namespace phiquant::format
