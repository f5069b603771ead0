// Whole plans, as the pipeline makes them.
#pragma once

#include <utility>

#include "format/draft.h"
#include "format/formats.h"
#include "format/genai/plan.h"
#include "format/gguf/plan.h"
#include "format/mlx/plan.h"
#include "format/onnx/from_checkpoint.h"
#include "format/onnx/plan.h"

namespace phiquant {

inline Result<Plan> plan_onnx(OnnxModel model, const Request& r, const Evidence& e = {}) {
  return plan_draft(draft_onnx(std::move(model), r, e), r, e);
}
inline Result<Plan> plan_genai(const Checkpoint& c, const Request& r, const Evidence& e = {}) {
  return plan_draft(draft_genai(c, r, e), r, e);
}
inline Result<Plan> plan_plain_onnx(const Checkpoint& c, const Request& r, const Evidence& e = {}) {
  return plan_draft(draft_plain_onnx(c, r, e), r, e);
}
// In the format that the request comes to.
inline Result<Plan> plan_checkpoint(const Checkpoint& c, const Request& r, const Evidence& e = {}) {
  return plan_draft(checkpoint_format(r.output).from_checkpoint(c, r, e), r, e);
}
inline Result<Plan> plan_mlx(const Checkpoint& c, const Request& r, const Evidence& e = {}) {
  return plan_draft(draft_mlx(c, r, e), r, e);
}

}  // namespace phiquant
