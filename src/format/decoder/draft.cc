#include "format/decoder/draft.h"

#include <memory>
#include <utility>

#include "decide/decide.h"
#include "decide/mix_onnx.h"
#include "format/onnx/layout.h"

namespace phiquant::format {
namespace {

bool is_integer(Precision p) { return p == Precision::int4 || p == Precision::int8; }

OnnxModel empty_model(const Checkpoint& c, const GraphSpec& spec) {
  OnnxModel model;
  model.proto.set_ir_version(10);
  model.proto.mutable_graph()->set_name("main_graph");
  const auto import = [&](const char* domain, int64_t version) {
    auto* opset = model.proto.add_opset_import();
    opset->set_domain(domain);
    opset->set_version(version);
  };
  import("", spec.opset);
  if (!spec.is_standard) import("com.microsoft", 1);
  model.path = c.folder;
  model.files = c.files;
  model.input_bytes = c.input_bytes;
  return model;
}

struct GraphDraft {
  const Checkpoint& checkpoint;
  const Request& request;
  const Evidence& evidence;
  GraphSpec spec;
  std::optional<IntegerSettings> settings;  // empty: every weight is a float
  GraphWeights weights;
};

// Whether the stacks of a layer's experts can become codes; where one cannot, experts are matrices
// of their own, so that only those stay floats that must.
Result<std::vector<bool>> stacked_experts(const GraphDraft& d, WeightLayout layout) {
  const Decoder& decoder = d.checkpoint.decoder;
  std::vector<bool> stacked(decoder.n_layers, d.spec.stacks_experts && decoder.moe.has_value());
  if (!d.spec.stacks_experts || !decoder.moe) return stacked;
  layout.stacked_experts = stacked;
  PHIQUANT_ASSIGN(const GraphWeights weights, GraphWeights::collect(d.checkpoint, layout));
  for (const GraphWeight& w : weights.all())
    if (w.slot.kind == SlotKind::experts &&
        !reason_to_stay(w.slot, d.request.recipe, d.evidence).empty())
      stacked[static_cast<size_t>(w.slot.key->layer)] = false;
  return stacked;
}

Result<Plan> write_graph(const GraphDraft& d, const std::vector<Choice>& choices) {
  Editor editor(empty_model(d.checkpoint, d.spec), d.request, d.evidence);
  GraphWriter writer(editor, d.checkpoint, d.spec.target, d.spec.io, d.weights, choices);
  writer.quantized = d.settings.has_value();
  writer.is_standard = d.spec.is_standard;
  d.spec.walk(writer);
  PHIQUANT_TRY(writer.finish(d.settings ? &*d.settings : nullptr));
  PHIQUANT_TRY(lay_out(editor, CastRule::ieee));
  Plan& plan = editor.plan;
  if (d.spec.add_files) PHIQUANT_TRY(d.spec.add_files(plan));
  plan.warnings.insert(plan.warnings.begin(), d.checkpoint.warnings.begin(),
                       d.checkpoint.warnings.end());
  return std::move(plan);
}

}  // namespace

Result<Draft> draft_graph(const Checkpoint& checkpoint, const Request& request,
                          const Evidence& evidence, GraphSpec spec) {
  auto d = std::make_shared<GraphDraft>(
      GraphDraft{checkpoint, request, evidence, std::move(spec), std::nullopt, {}});
  const TargetInfo& target = d->spec.target;
  if (is_integer(request.recipe.precision)) {
    PHIQUANT_ASSIGN(d->settings,
                    integer_settings(request.recipe, request.output.onnx, target.accuracy_level));
  }
  WeightLayout layout{d->spec.packed_qkv, {}, d->spec.io};
  PHIQUANT_ASSIGN(layout.stacked_experts, stacked_experts(*d, layout));
  PHIQUANT_ASSIGN(d->weights, GraphWeights::collect(checkpoint, layout));
  Draft draft;
  draft.slots = d->weights.slots();
  OnnxLimits limits{target.name, !target.fixed_shapes, !target.fixed_shapes, d->spec.opset};
  draft.capability = onnx_capability(request.recipe, d->settings ? &*d->settings : nullptr,
                                     &checkpoint.decoder, limits);
  draft.write = [d](const std::vector<Choice>& choices) { return write_graph(*d, choices); };
  return draft;
}

}  // namespace phiquant::format
