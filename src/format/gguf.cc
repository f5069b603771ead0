#include "format/gguf.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "core/nearest.h"
#include "format/gguf_layout.h"
#include "format/gguf_metadata.h"
#include "format/gguf_mix.h"
#include "phiquant/model_card.h"
#include "phiquant/row_scheme.h"
#include "phiquant/sources.h"
#include "wire/gguf_header.h"
#include "wire/imatrix.h"

namespace phiquant {
namespace {

Error usage(std::string message) { return {Errc::usage, std::move(message)}; }

bool is_float_type(GgmlType type) { return is_weight_float(find_ggml_type(type)->dtype); }

Result<const GgufFileType*> file_type_of(const QuantizeOptions& o) {
  if (o.scheme.empty()) return &default_gguf_file_type(o.precision);
  if (const GgufFileType* type = find_gguf_file_type(o.scheme)) return type;
  std::vector<std::string_view> names;
  for (const GgufFileType& type : gguf_file_types()) names.push_back(type.name);
  return usage(fmt::format("--scheme {}: is no GGUF file type{}; wanted one of {}", o.scheme,
                           did_you_mean(o.scheme, names), fmt::join(names, ", ")));
}

Result<GgufMixOptions> mix_options(const QuantizeOptions& o) {
  GgufMixOptions mix;
  PHIQUANT_ASSIGN(mix.file_type, file_type_of(o));
  mix.pure = o.pure;
  mix.has_imatrix = !o.imatrix.empty();
  if (!o.token_embedding_type.empty()) {
    PHIQUANT_ASSIGN(mix.token_embedding,
                    writable_gguf_type("--token-embedding-type", o.token_embedding_type));
  }
  if (!o.output_tensor_type.empty()) {
    PHIQUANT_ASSIGN(mix.output, writable_gguf_type("--output-tensor-type", o.output_tensor_type));
  }
  for (const std::string& text : o.tensor_types) {
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0)
      return usage(fmt::format("--tensor-type {}: wanted GLOB=TYPE, as blk.0.*=q8_0", text));
    PHIQUANT_ASSIGN(const GgmlType type,
                    writable_gguf_type("--tensor-type", text.substr(equals + 1)));
    mix.overrides.emplace_back(text.substr(0, equals), type);
  }
  return mix;
}

// What the conversion of each tensor needs to know.
struct Conversion {
  const QuantizeOptions& options;
  const Imatrix* imatrix = nullptr;
  std::set<std::string_view> unmatched;  // weights that the imatrix does not have
};

SourceTensor through_f16(const SourceTensor& tensor, const QuantizeOptions& o) {
  return o.via_f16 ? cast_source(tensor, DType::f16) : tensor;
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
  return Error{Errc::usage,
               fmt::format("{}: entry '{}' has {} values, the tensor {} columns{} (an imatrix of "
                           "another model?)",
                           run.options.imatrix.string(), w.name, it->second->size(), shape.back(),
                           stacks > 1 ? fmt::format(" in each of {} experts", stacks) : "")};
}

Result<Job> job_of(const GgufWeight& w, const GgufChoice& choice, Conversion& run) {
  const GgmlTypeInfo& type = *find_ggml_type(choice.type);
  const bool rounds = run.options.via_f16 && choice.quantizable;
  if (w.bytes && w.stored == choice.type && !(rounds && choice.type == kGgmlF32))
    return Job(CopyJob{{w.name, DType::u8, {w.bytes->size_bytes()}, w.bytes}});
  if (!w.floats.bytes)
    return Error{Errc::unsupported,
                 fmt::format("tensor '{}': type {} cannot be decoded here (it can only be copied)",
                             w.name, find_ggml_type(w.stored)->name)};
  if (is_float_type(choice.type)) {
    SourceTensor source = choice.quantizable ? through_f16(w.floats, run.options) : w.floats;
    if (source.dtype == type.dtype) return Job(CopyJob{std::move(source)});
    return Job(CastJob{std::move(source), CastRule::ieee});
  }
  const RowScheme* scheme = find_gguf_type(choice.type);
  if (!scheme)
    return Error{Errc::unsupported,
                 fmt::format("tensor '{}': type {} cannot be written here", w.name, type.name)};
  RowJob job;
  job.source = w.floats;
  job.scheme = scheme;
  job.via_f16 = run.options.via_f16;
  PHIQUANT_ASSIGN(job.importance, importance_of(w, run));
  return Job(std::move(job));
}

PlanRow row_of(const GgufWeight& w, const GgufChoice& choice, const Job& job) {
  const GgmlTypeInfo& type = *find_ggml_type(choice.type);
  const bool is_copy = std::holds_alternative<CopyJob>(job);
  PlanRow row;
  row.tensor = w.name;
  row.role = w.role;
  row.from = w.floats.dtype;
  row.shape = w.floats.shape;
  row.action = is_copy                                ? "keep"
               : std::holds_alternative<CastJob>(job) ? "cast"
                                                      : std::string(type.name);
  row.bits = type.block_bytes * 8 / type.block_size;
  row.block_size = is_copy || is_float_type(choice.type) ? 0 : type.block_size;
  row.reason = choice.reason;
  if (!is_float_type(w.stored) && row.reason.empty())
    row.reason = fmt::format("{} {}", is_copy ? "is already" : "decoded from",
                             find_ggml_type(w.stored)->name);
  row.bytes_before = w.bytes ? w.bytes->size_bytes() : w.floats.bytes->size_bytes();
  return row;
}

// As llama-quantize notes where the importance came from; only the name of the file, so that the
// bytes do not depend on where it lies.
void add_imatrix_keys(std::vector<GgufKeyValue>& metadata, const Imatrix& imatrix,
                      const QuantizeOptions& o) {
  set_gguf_key(metadata, "quantize.imatrix.file", o.imatrix.filename().string());
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
                                          run.options.imatrix.string())};
  if (!names.empty())
    plan.warnings.push_back(
        fmt::format("{}: has no entry for {} tensors ({}{}), which are "
                    "quantized without",
                    run.options.imatrix.string(), names.size(), names.front(),
                    names.size() > 1 ? ", ..." : ""));
  return {};
}

std::vector<GgufMixTensor> mix_tensors(const std::vector<GgufWeight>& weights) {
  std::vector<GgufMixTensor> tensors;
  for (const GgufWeight& w : weights) tensors.push_back({w.name, w.floats.shape, w.stored});
  return tensors;
}

Result<std::vector<GgufOutTensor>> convert_all(const std::vector<GgufWeight>& weights,
                                               const std::vector<GgufChoice>& choices,
                                               const OnnxPlanExtras& extras, Conversion& run,
                                               Plan& plan) {
  std::vector<GgufOutTensor> out;
  size_t n_quantized = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const GgufWeight& w = weights[i];
    GgufChoice choice = choices[i];
    // NaN or infinity, which no quantized type holds.
    if (extras.keep_float.contains(w.name) && !is_float_type(choice.type))
      choice = {ggml_from_dtype(w.floats.dtype), false, "holds NaN or infinity"};
    PHIQUANT_ASSIGN(Job job, job_of(w, choice, run));
    n_quantized += std::holds_alternative<RowJob>(job);
    PlanRow row = row_of(w, choice, job);
    out.push_back({w.name, w.floats.shape, choice.type, std::move(job), std::move(row)});
  }
  if (run.imatrix) PHIQUANT_TRY(judge_imatrix(run, n_quantized, plan));
  return out;
}

Result<Plan> plan_file(std::vector<GgufKeyValue> metadata, const std::vector<GgufWeight>& weights,
                       const GgufMixModel& model, const QuantizeOptions& options,
                       const OnnxPlanExtras& extras) {
  PHIQUANT_ASSIGN(const GgufMixOptions mix, mix_options(options));
  Conversion run{options, nullptr, {}};
  Imatrix imatrix;
  if (!options.imatrix.empty()) {
    PHIQUANT_ASSIGN(imatrix, read_imatrix(options.imatrix));
    run.imatrix = &imatrix;
  }
  PHIQUANT_ASSIGN(const auto choices, choose_gguf_types(model, mix, mix_tensors(weights)));
  Plan plan;
  PHIQUANT_ASSIGN(auto tensors, convert_all(weights, choices, extras, run, plan));
  if (run.imatrix) add_imatrix_keys(metadata, imatrix, options);
  PHIQUANT_TRY(lay_out_gguf(plan, std::move(metadata), std::move(tensors), options));
  return plan;
}

}  // namespace

Result<GgmlType> writable_gguf_type(std::string_view what, std::string_view name) {
  const GgmlTypeInfo* type = find_ggml_type(name);
  if (type && (is_weight_float(type->dtype) || find_gguf_type(type->id))) return type->id;
  std::vector<std::string_view> names;
  for (const GgmlTypeInfo& t : ggml_types())
    if (is_weight_float(t.dtype) || find_gguf_type(t.id)) names.push_back(t.name);
  return usage(fmt::format("{} {}: {}{}; wanted one of {}", what, name,
                           type ? "cannot be written" : "is no GGUF type",
                           did_you_mean(name, names), fmt::join(names, ", ")));
}

Result<Plan> plan_gguf(const Checkpoint& checkpoint, const QuantizeOptions& options,
                       const OnnxPlanExtras& extras) {
  PHIQUANT_ASSIGN(const GgufFileType* type, file_type_of(options));
  const ModelCard card = read_model_card(checkpoint.folder, options.follow_symlinks);
  PHIQUANT_ASSIGN(auto metadata, format::gguf_metadata(checkpoint, type->id, card));
  const Decoder& d = checkpoint.decoder;
  const GgufMixModel model{d.n_layers, d.n_heads, d.n_kv_heads, d.moe ? d.moe->n_experts : 0};
  PHIQUANT_ASSIGN(Plan plan,
                  plan_file(std::move(metadata), gguf_weights(checkpoint), model, options, extras));
  plan.input_bytes = checkpoint.input_bytes;
  plan.warnings.insert(plan.warnings.begin(), card.warnings.begin(), card.warnings.end());
  plan.warnings.insert(plan.warnings.begin(), checkpoint.warnings.begin(),
                       checkpoint.warnings.end());
  return plan;
}

Result<Plan> plan_gguf(const GgufModel& model, const QuantizeOptions& options,
                       const OnnxPlanExtras& extras) {
  const std::string* architecture = gguf_string(model.metadata, "general.architecture");
  const std::string prefix = architecture ? *architecture + "." : "";
  const auto number = [&](const char* key) {
    const auto n = gguf_unsigned(model.metadata, prefix + key).value_or(0);
    return static_cast<uint32_t>(std::min<uint64_t>(n, 1u << 20));
  };
  const GgufMixModel facts{number("block_count"), number("attention.head_count"),
                           number("attention.head_count_kv"), number("expert_count")};
  PHIQUANT_ASSIGN(const GgufFileType* type, file_type_of(options));
  std::vector<GgufKeyValue> metadata = model.metadata;
  set_gguf_key(metadata, "general.quantization_version", format::kGgufQuantizationVersion);
  set_gguf_key(metadata, "general.file_type", type->id);
  PHIQUANT_ASSIGN(Plan plan,
                  plan_file(std::move(metadata), gguf_weights(model), facts, options, extras));
  plan.input_bytes = model.input_bytes;
  return plan;
}

}  // namespace phiquant
