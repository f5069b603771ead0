// Whole plans, as the pipeline makes them.
#pragma once

#include <utility>

#include "format/draft.h"
#include "format/formats.h"
#include "format/legality.h"
#include "format/onnx/plan.h"

namespace phiquant {

inline Result<Plan> plan_onnx(OnnxModel model, const Request& asked, const Evidence& e = {}) {
  PHIQUANT_ASSIGN(const Request r, settle(asked));
  PHIQUANT_TRY(check_legality(r, Input::onnx, r.output.format));
  return plan_draft(draft_onnx(std::move(model), r, e), r, e);
}
inline Result<Plan> plan_as(const Format& format, const Checkpoint& c, const Request& asked,
                            const Evidence& e) {
  PHIQUANT_ASSIGN(const Request r, settle(asked));
  PHIQUANT_TRY(check_legality(r, Input::checkpoint, format.format));
  return plan_draft(format.from_checkpoint(c, r, e), r, e);
}
inline Result<Plan> plan_genai(const Checkpoint& c, const Request& r, const Evidence& e = {}) {
  return plan_as(format_info(OutputFormat::genai), c, r, e);
}
inline Result<Plan> plan_plain_onnx(const Checkpoint& c, const Request& r, const Evidence& e = {}) {
  return plan_as(format_info(OutputFormat::onnx), c, r, e);
}
// In the format that the request comes to.
inline Result<Plan> plan_checkpoint(const Checkpoint& c, const Request& r, const Evidence& e = {}) {
  return plan_as(checkpoint_format(r.output), c, r, e);
}
inline Result<Plan> plan_mlx(const Checkpoint& c, Request r, const Evidence& e = {}) {
  r.output.format = OutputFormat::mlx;
  return plan_as(format_info(OutputFormat::mlx), c, r, e);
}

}  // namespace phiquant
