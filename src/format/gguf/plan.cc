#include "format/gguf/plan.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/core.h>

#include "core/sources.h"
#include "decide/mix_gguf.h"
#include "format/gguf/layout.h"
#include "format/gguf/metadata.h"
#include "format/gguf/weights.h"
#include "quant/numeric/cast_source.h"
#include "quant/row_scheme.h"
#include "wire/gguf_header.h"

namespace phiquant {
namespace {

bool is_float_type(GgmlType type) { return is_weight_float(find_ggml_type(type)->dtype); }

// What the conversion of each tensor needs to know.
struct Conversion {
  const Request& options;
  const Imatrix* imatrix = nullptr;
  std::set<std::string_view> unmatched;  // weights that the imatrix does not have
};

SourceTensor through_f16(const SourceTensor& tensor, const Request& o) {
  return o.output.gguf.via_f16 ? cast_source(tensor, DType::f16) : tensor;
}

Result<std::shared_ptr<const std::vector<float>>> importance_of(const GgufWeight& w,
                                                                Conversion& run) {
  const std::shared_ptr<const std::vector<float>> none;
  if (!run.imatrix) return none;
  const auto it = run.imatrix->entries.find(w.name);
  if (it == run.imatrix->entries.end()) {
    run.unmatched.insert(w.name);
    return none;
  }
  const Shape& shape = w.floats.shape;
  const uint64_t stacks = shape.size() > 2 ? shape[shape.size() - 3] : 1;
  if (it->second->size() == stacks * shape.back()) return it->second;
  if (w.name == "token_embd.weight") return none;
  return Error{
      Errc::usage,
      fmt::format("{}: entry '{}' has {} values, the tensor {} columns{} (an imatrix of "
                  "another model?)",
                  run.options.recipe.imatrix.string(), w.name, it->second->size(), shape.back(),
                  stacks > 1 ? fmt::format(" in each of {} experts", stacks) : "")};
}

// `chosen`: in what the tensor is stored; `by_rule`: because of the recipe, and not because it
// cannot be otherwise.
Result<Job> job_of(const GgufWeight& w, GgmlType chosen, bool by_rule, Conversion& run) {
  const GgmlTypeInfo& type = *find_ggml_type(chosen);
  const bool rounds = run.options.output.gguf.via_f16 && by_rule;
  if (w.bytes && w.stored == chosen && !(rounds && chosen == kGgmlF32))
    return Job(CopyJob{{w.name, DType::u8, {w.bytes->size_bytes()}, w.bytes}});
  if (!w.floats.bytes)
    return Error{Errc::unsupported,
                 fmt::format("tensor '{}': type {} cannot be decoded here (it can only be copied)",
                             w.name, find_ggml_type(w.stored)->name)};
  if (is_float_type(chosen)) {
    SourceTensor source = by_rule ? through_f16(w.floats, run.options) : w.floats;
    if (source.dtype == type.dtype) return Job(CopyJob{std::move(source)});
    return Job(CastJob{std::move(source), CastRule::ieee});
  }
  RowJob job;
  job.source = w.floats;
  job.scheme = find_gguf_type(chosen);
  job.via_f16 = run.options.output.gguf.via_f16;
  PHIQUANT_ASSIGN(job.importance, importance_of(w, run));
  return Job(std::move(job));
}

PlanRow row_of(const Slot& slot, const GgufWeight& w, const Choice& choice, GgmlType chosen,
               const Job& job) {
  const GgmlTypeInfo& type = *find_ggml_type(chosen);
  const bool is_copy = std::holds_alternative<CopyJob>(job);
  PlanRow row = plan_row(slot, choice);
  if (is_copy)
    row.action = "keep";
  else if (std::holds_alternative<CastJob>(job))
    row.action = "cast";
  row.bits = type.block_bytes * 8 / type.block_size;
  row.block_size = is_copy || is_float_type(chosen) ? 0 : type.block_size;
  if (!is_float_type(w.stored) && row.reason.empty())
    row.reason = fmt::format("{} {}", is_copy ? "is already" : "decoded from",
                             find_ggml_type(w.stored)->name);
  return row;
}

// As llama-quantize notes where the importance came from; only the name of the file, so that the
// bytes do not depend on where it lies.
void add_imatrix_keys(std::vector<GgufKeyValue>& metadata, const Imatrix& imatrix,
                      const Request& o) {
  set_gguf_key(metadata, "quantize.imatrix.file", o.recipe.imatrix.filename().string());
  if (!imatrix.dataset.empty())
    set_gguf_key(metadata, "quantize.imatrix.dataset", imatrix.dataset.substr(0, 127));
  set_gguf_key(metadata, "quantize.imatrix.entries_count",
               static_cast<uint32_t>(imatrix.entries.size()));
  if (imatrix.n_chunks > 0)
    set_gguf_key(metadata, "quantize.imatrix.chunks_count",
                 static_cast<uint32_t>(imatrix.n_chunks));
}

Result<void> judge_imatrix(const Conversion& run, size_t n_quantized, Plan& plan) {
  std::vector<std::string_view> names;
  for (const std::string_view name : run.unmatched)
    if (name != "token_embd.weight" && name != "output.weight") names.push_back(name);
  if (!run.unmatched.empty() && run.unmatched.size() == n_quantized)
    return Error{Errc::usage, fmt::format("{}: has no entry for any tensor of this model (an "
                                          "imatrix of another model?)",
                                          run.options.recipe.imatrix.string())};
  if (!names.empty())
    plan.warnings.push_back(
        fmt::format("{}: has no entry for {} tensors ({}{}), which are "
                    "quantized without",
                    run.options.recipe.imatrix.string(), names.size(), names.front(),
                    names.size() > 1 ? ", ..." : ""));
  return {};
}

Result<std::vector<GgufOutTensor>> convert_all(const std::vector<GgufWeight>& weights,
                                               const std::vector<Slot>& slots,
                                               const std::vector<Choice>& choices, Conversion& run,
                                               Plan& plan) {
  std::vector<GgufOutTensor> out;
  size_t n_quantized = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const GgufWeight& w = weights[i];
    const Choice& choice = choices[i];
    const GgmlType type = ggml_type_of(slots[i], choice);
    const bool by_rule = choice.encoding || choice.float_type != DType::undefined;
    PHIQUANT_ASSIGN(Job job, job_of(w, type, by_rule, run));
    n_quantized += std::holds_alternative<RowJob>(job);
    PlanRow row = row_of(slots[i], w, choice, type, job);
    out.push_back({w.name, w.floats.shape, type, std::move(job), std::move(row)});
  }
  if (run.imatrix) PHIQUANT_TRY(judge_imatrix(run, n_quantized, plan));
  return out;
}

// What a file is made of beside its tensors.
struct GgufFile {
  std::vector<GgufKeyValue> metadata;
  std::vector<std::string> warnings;
  uint64_t input_bytes = 0;
  std::shared_ptr<const Imatrix> imatrix = nullptr;
};

Result<Plan> write_file(GgufFile file, const std::vector<GgufWeight>& weights,
                        const std::vector<Slot>& slots, const Request& request,
                        const std::vector<Choice>& choices) {
  Conversion run{request, file.imatrix.get(), {}};
  Plan plan;
  PHIQUANT_ASSIGN(auto tensors, convert_all(weights, slots, choices, run, plan));
  if (run.imatrix) add_imatrix_keys(file.metadata, *run.imatrix, request);
  PHIQUANT_TRY(lay_out_gguf(plan, std::move(file.metadata), std::move(tensors), request));
  plan.input_bytes = file.input_bytes;
  plan.warnings.insert(plan.warnings.begin(), file.warnings.begin(), file.warnings.end());
  return plan;
}

Result<Draft> draft_file(GgufFile file, std::vector<GgufWeight> weights, const GgufMixModel& model,
                         const Request& request) {
  Draft draft;
  draft.slots = gguf_slots(weights);
  PHIQUANT_ASSIGN(draft.capability, gguf_capability(draft.slots, request.recipe, model));
  draft.write = [file = std::move(file), weights = std::move(weights), slots = draft.slots,
                 &request](const std::vector<Choice>& choices) mutable {
    return write_file(std::move(file), weights, slots, request, choices);
  };
  return draft;
}

}  // namespace

Result<Draft> draft_gguf(const Checkpoint& checkpoint, const Request& request,
                         const Evidence& evidence) {
  PHIQUANT_ASSIGN(const GgufFileType* type, gguf_file_type(request.recipe));
  GgufFile file;
  PHIQUANT_ASSIGN(file.metadata, format::gguf_metadata(checkpoint, type->id));
  file.warnings = checkpoint.warnings;
  file.warnings.insert(file.warnings.end(), checkpoint.card.warnings.begin(),
                       checkpoint.card.warnings.end());
  file.input_bytes = checkpoint.input_bytes;
  file.imatrix = evidence.imatrix;
  const Decoder& d = checkpoint.decoder;
  const GgufMixModel model{d.n_layers, d.n_heads, d.n_kv_heads, d.moe ? d.moe->n_experts : 0};
  return draft_file(std::move(file), gguf_weights(checkpoint), model, request);
}

Result<Draft> draft_gguf(const GgufModel& model, const Request& request, const Evidence& evidence) {
  const std::string* architecture = gguf_string(model.metadata, "general.architecture");
  const std::string prefix = architecture ? *architecture + "." : "";
  const auto number = [&](const char* key) {
    const auto n = gguf_unsigned(model.metadata, prefix + key).value_or(0);
    return static_cast<uint32_t>(std::min<uint64_t>(n, 1u << 20));
  };
  const GgufMixModel facts{number("block_count"), number("attention.head_count"),
                           number("attention.head_count_kv"), number("expert_count")};
  PHIQUANT_ASSIGN(const GgufFileType* type, gguf_file_type(request.recipe));
  GgufFile file{model.metadata, {}, model.input_bytes, evidence.imatrix};
  set_gguf_key(file.metadata, "general.quantization_version", format::kGgufQuantizationVersion);
  set_gguf_key(file.metadata, "general.file_type", type->id);
  return draft_file(std::move(file), gguf_weights(model), facts, request);
}

}  // namespace phiquant
