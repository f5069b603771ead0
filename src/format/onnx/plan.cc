// From a loaded model and a request to the plan.
#include "format/onnx/plan.h"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

#include "decide/mix_onnx.h"
#include "format/onnx/inline.h"
#include "format/onnx/layout.h"
#include "format/onnx/provenance.h"
#include "format/onnx/reopen.h"
#include "format/onnx/rewrite.h"
#include "format/onnx/slots.h"

namespace phiquant {
namespace {

using namespace format;

// What drafting an integer model leaves for writing it.
struct IntegerDraft {
  IntegerDraft(OnnxModel model, const Request& request, const Evidence& evidence)
      : editor(std::move(model), request, evidence) {}
  Editor editor;
  IntegerSettings settings;
  std::vector<Candidate> candidates;
};

Result<Plan> write_integers(IntegerDraft& d, const std::vector<Choice>& choices) {
  Editor& editor = d.editor;
  QuantizedCache cache;
  bool any = false;
  for (size_t i = 0; i < choices.size(); ++i) {
    const Candidate& c = d.candidates[i];
    PlanRow row = plan_row(c.slot, choices[i]);
    row.bytes_after = row.bytes_before;
    if (!choices[i].is_float()) {
      PHIQUANT_ASSIGN(const QuantizedNames names,
                      rewrite_weight(editor, c, choices[i], d.settings.accuracy_level, cache));
      row.job = names.job;
      row.bytes_after = names.bytes;
      any = true;
    }
    editor.plan.rows.push_back(std::move(row));
  }
  if (!any) return nothing_to_quantize(editor.model.path, editor.plan.rows);
  editor.apply();
  add_provenance(editor, d.settings.name, d.settings.in_blocks() ? d.settings.block_size : 0,
                 d.settings.symmetric);
  drop_stale_value_infos(editor);
  PHIQUANT_TRY(lay_out(editor, CastRule::ieee));
  return std::move(editor.plan);
}

Result<Draft> draft_integers(OnnxModel model, const Request& request, const Evidence& evidence) {
  auto d = std::make_shared<IntegerDraft>(std::move(model), request, evidence);
  PHIQUANT_ASSIGN(d->settings, integer_settings(request.recipe, request.output.onnx));
  inline_functions(d->editor, DType::undefined);
  constexpr int64_t kPerChannel = 13;  // the opset of DequantizeLinear's axis
  OnnxLimits limits;
  limits.opset =
      std::max(d->editor.opset(), d->editor.can_have_opset(kPerChannel) ? kPerChannel : int64_t{0});
  Draft draft;
  draft.capability = onnx_capability(request.recipe, &d->settings, nullptr, limits);
  reopen_quantized(d->editor, d->settings, draft.capability);
  d->candidates = find_candidates(*d->editor.index);
  identify(d->editor, d->candidates);
  for (const Candidate& c : d->candidates) draft.slots.push_back(c.slot);
  draft.write = [d](const std::vector<Choice>& choices) { return write_integers(*d, choices); };
  return draft;
}

Result<void> plan_floats(Editor& editor, DType to) {
  inline_functions(editor, to);
  rewrite_dequantize(editor, [](const QuantizedWeight&) { return true; });
  fold_constant_casts(editor);
  PHIQUANT_TRY(rewrite_float(editor, to));
  const auto changed = [](const PlanRow& row) { return row.action != "keep"; };
  if (to != DType::f32 && std::none_of(editor.plan.rows.begin(), editor.plan.rows.end(), changed))
    return Error{
        Errc::unsupported,
        editor.plan.rows.empty()
            ? fmt::format(
                  "{}: nothing to convert: no constant float tensor of another type than {}",
                  editor.model.path.string(), dtype_name(to))
            : fmt::format("{}: nothing to convert: '{}': {}, which has no {} form at opset {} or "
                          "is left out (try {})",
                          editor.model.path.string(), editor.plan.rows[0].tensor,
                          editor.plan.rows[0].reason, dtype_name(to), editor.opset(),
                          to == DType::bf16 ? "--precision fp16"
                                            : "other --include and --exclude patterns")};
  add_provenance(editor, "", 0, std::nullopt);
  return {};
}

}  // namespace

Result<Draft> draft_onnx(OnnxModel model, const Request& request, const Evidence& evidence) {
  DType to = DType::f32;
  switch (request.recipe.precision) {
    case Precision::int4:
    case Precision::int8:
      return draft_integers(std::move(model), request, evidence);
    case Precision::fp16:
      to = DType::f16;
      break;
    case Precision::bf16:
      to = DType::bf16;
      break;
    case Precision::fp32:
    case Precision::automatic:
      break;
  }
  // A float type is one for the whole graph: which tensors take it is a matter of the operators'
  // types (rewrite_float.cc), not of slots.
  auto editor = std::make_shared<Editor>(std::move(model), request, evidence);
  Draft draft;
  draft.write = [editor, to](const std::vector<Choice>&) -> Result<Plan> {
    PHIQUANT_TRY(plan_floats(*editor, to));
    drop_stale_value_infos(*editor);
    PHIQUANT_TRY(lay_out(*editor, to == DType::f16 ? CastRule::ort_fp16 : CastRule::ieee));
    return std::move(editor->plan);
  };
  return draft;
}

}  // namespace phiquant
