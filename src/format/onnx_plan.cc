// plan_onnx: from a loaded model and a request to the plan.
#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/glob.h"
#include "format/onnx_inline.h"
#include "format/onnx_layout.h"
#include "format/onnx_plan.h"
#include "format/onnx_provenance.h"
#include "format/onnx_rewrite.h"

namespace phiquant {
namespace {

using namespace format;

Result<std::optional<QuantizedNames>> rewrite(Editor& editor, const Candidate& c, Treatment& t,
                                              const IntegerSettings& settings,
                                              QuantizedCache& cache) {
  switch (t.form) {
    case Form::keep:
      break;
    case Form::nbits:
      return rewrite_nbits(editor, c, t, settings, cache);
    case Form::gather:
      return rewrite_gather(editor, c, t, cache);
    case Form::qdq_blocks:
    case Form::qdq_affine:
      return rewrite_qdq(editor, c, t, cache);
    case Form::dynamic:
      return rewrite_dynamic(editor, c, t, cache);
  }
  return std::optional<QuantizedNames>();
}

Error nothing_to_quantize(const OnnxModel& model, const std::vector<PlanRow>& rows) {
  constexpr size_t kShown = 8;
  std::vector<std::string> reasons;
  for (const PlanRow& row : rows) {
    if (reasons.size() == kShown) break;
    reasons.push_back(fmt::format("'{}': {}", row.tensor, row.reason));
  }
  if (rows.size() > kShown) reasons.push_back(fmt::format("and {} more", rows.size() - kShown));
  if (reasons.empty())
    reasons.emplace_back("no MatMul, Gemm, Gather or Conv has a constant float weight");
  return {Errc::unsupported,
          fmt::format(
              "{}: nothing to quantize: {} (try --precision fp16, or --precision int8 for Conv)",
              model.path.string(), fmt::join(reasons, "; "))};
}

Form form_of(const QuantizedWeight& w) {
  if (w.node.op_type() == "MatMulNBits") return Form::nbits;
  if (w.node.op_type() == "GatherBlockQuantized") return Form::gather;
  if (w.node.op_type() == "MatMulInteger" || w.node.op_type() == "ConvInteger")
    return Form::dynamic;
  return w.storage().block_size < w.source.k ? Form::qdq_blocks : Form::qdq_affine;
}

// Whether a weight is already what the request would make of it with `bits`: another round of the
// same kind would only add its rounding to the first's. What the request leaves open, the weight's
// own way decides.
bool as_asked(const QuantizedWeight& w, const IntegerSettings& s, const QuantizeOptions& o,
              unsigned bits) {
  const BlockStorage& storage = w.storage();
  if (storage.bits != bits) return false;
  if (o.block_size && storage.block_size != *o.block_size) return false;
  if (o.symmetric && *o.symmetric == storage.zero_points.has_value()) return false;
  if (o.scheme.empty() && !o.search && o.style == Style::contrib) return true;
  if (form_of(w) != s.linear || (s.scheme && storage.block_size != s.block_size)) return false;
  if (!s.scheme) return s.per_channel == (storage.column_group == 1);
  const bool float_zeros = storage.zero_points && is_weight_float(storage.zero_points->dtype);
  return s.symmetric == !storage.zero_points &&
         float_zeros == (s.scheme->float_zero_points && bits == s.bits);
}

// Whether a quantized weight of the input is to be quantized anew; the reason if not.
std::string reason_to_leave(const Editor& editor, const IntegerSettings& settings,
                            const QuantizedWeight& w, bool is_head) {
  const QuantizeOptions& o = editor.options;
  const onnx::NodeProto& node = w.reader ? *w.reader : w.node;
  const auto matches = [&](const std::vector<std::string>& patterns) {
    return glob_match_any(patterns, node.name()) || glob_match_any(patterns, w.node.name()) ||
           glob_match_any(patterns, w.weight);
  };
  if (matches(o.exclude)) return "excluded";
  if (!o.include.empty() && !matches(o.include)) return "not included";
  unsigned bits = settings.bits;
  if (node.op_type().starts_with("Gather")) {
    if (o.embeddings == TableBits::automatic || o.embeddings == TableBits::keep)
      return "embeddings stay as they are";
    bits = o.embeddings == TableBits::int4 ? 4 : 8;
  } else if (node.op_type().starts_with("Conv")) {
    if (bits == 4) return fmt::format("already {}-bit, Conv has no 4-bit form", w.storage().bits);
  } else if (!node.op_type().starts_with("MatMul") && node.op_type() != "Gemm") {
    return fmt::format("{} is not an operator whose weights are quantized", node.op_type());
  } else if (is_head) {
    if (o.lm_head == TableBits::keep) return "--lm-head keep";
    bits = head_bits(settings, o);
  }
  return as_asked(w, settings, o, bits) ? fmt::format("already {}-bit", bits) : "";
}

// Quantized weights that the request wants otherwise become floats first, so that they are
// candidates like all others.
void reopen_quantized(Editor& editor, const IntegerSettings& settings) {
  const onnx::NodeProto* head = find_logits_node(*editor.index);
  rewrite_dequantize(editor, [&](const QuantizedWeight& w) {
    const bool is_head = head && (&w.node == head || w.reader == head);
    const std::string reason = reason_to_leave(editor, settings, w, is_head);
    if (reason.empty()) return true;
    const onnx::NodeProto& node = w.reader ? *w.reader : w.node;
    const BlockStorage& storage = w.storage();
    PlanRow row;
    row.tensor = w.weight;
    row.node = node.name();
    row.role = is_head                                ? "lm_head"
               : node.op_type().starts_with("Gather") ? "embedding"
               : node.op_type().starts_with("Conv")   ? "conv"
                                                      : "linear";
    row.from = storage.codes.dtype;
    row.shape = storage.codes.shape;
    row.action = "keep";
    row.reason = reason;
    row.bytes_before = row.bytes_after = tensor_bytes(row.from, row.shape).value_or(0);
    editor.plan.rows.push_back(std::move(row));
    return false;
  });
}

}  // namespace

Result<void> format::plan_integers(Editor& editor, bool reopens) {
  PHIQUANT_ASSIGN(const IntegerSettings settings, integer_settings(editor.options));
  inline_functions(editor, DType::undefined);
  if (reopens) reopen_quantized(editor, settings);
  std::vector<Candidate> candidates = find_candidates(*editor.index);
  assign_roles(*editor.index, candidates);
  PHIQUANT_TRY(check_globs(editor, candidates));
  QuantizedCache cache;
  bool any = false;
  for (const Candidate& c : candidates) {
    Treatment t = treatment(c, settings, editor);
    PlanRow row = plan_row(c, t);  // before the node is changed
    PHIQUANT_ASSIGN(const auto names, rewrite(editor, c, t, settings, cache));
    row.action = t.action;
    row.reason = t.reason;
    if (names) {
      row.job = names->job;
      row.bytes_after = names->bytes;
      any = true;
    } else {
      row.bits = row.block_size = 0;
    }
    editor.plan.rows.push_back(std::move(row));
  }
  if (!any) return nothing_to_quantize(editor.model, editor.plan.rows);
  editor.apply();
  add_provenance(editor, settings.name, settings.scheme ? settings.block_size : 0,
                 settings.symmetric);
  return {};
}

namespace {

Result<void> plan_floats(Editor& editor, DType to) {
  const QuantizeOptions& o = editor.options;
  if (!o.scheme.empty() || o.block_size || o.symmetric || o.accuracy_level || o.search ||
      o.style == Style::qdq)
    return Error{Errc::usage, fmt::format("--precision {} takes no --scheme, --block-size, "
                                          "--symmetric, --accuracy-level, --search or "
                                          "--style (they shape integer weights)",
                                          kPrecisionNames[static_cast<size_t>(o.precision)])};
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

Result<Plan> plan_onnx(OnnxModel model, const QuantizeOptions& options,
                       const OnnxPlanExtras& extras) {
  Editor editor(std::move(model), options, extras);
  switch (options.precision) {
    case Precision::int4:
    case Precision::int8:
      PHIQUANT_TRY(plan_integers(editor, true));
      break;
    case Precision::fp16:
      PHIQUANT_TRY(plan_floats(editor, DType::f16));
      break;
    case Precision::bf16:
      PHIQUANT_TRY(plan_floats(editor, DType::bf16));
      break;
    case Precision::fp32:
      PHIQUANT_TRY(plan_floats(editor, DType::f32));
      break;
  }
  drop_stale_value_infos(editor);
  PHIQUANT_TRY(
      lay_out(editor, options.precision == Precision::fp16 ? CastRule::ort_fp16 : CastRule::ieee));
  return std::move(editor.plan);
}

}  // namespace phiquant
