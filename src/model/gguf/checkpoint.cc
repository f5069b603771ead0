#include "model/gguf/checkpoint.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/core.h>

#include "core/checked_math.h"
#include "core/sources.h"
#include "core/text.h"
#include "model/arch/arch.h"
#include "model/gguf/config.h"
#include "model/gguf/names.h"
#include "model/gguf/vocabulary.h"
#include "wire/gguf_header.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

class WeightFinder {
 public:
  WeightFinder(const GgufModel& model, const Architecture& arch, Checkpoint& out)
      : model_(model), arch_(arch), out_(out), where_(printable(model.path.string())) {
    for (const GgufTensor& t : model.tensors) by_name_.emplace(t.name, &t);
  }
  Result<void> run();

 private:
  Result<void> rule(const TensorRule& rule);
  Result<void> take(const TensorRule& rule, const WeightKey& key);
  Result<const GgufTensor*> find(const std::string& name, const Shape& shape);
  Result<void> check_extra() const;

  const GgufModel& model_;
  const Architecture& arch_;
  Checkpoint& out_;
  std::string where_;
  std::map<std::string_view, const GgufTensor*> by_name_;
  std::set<std::string_view> used_ = {kGgufRopeLong, kGgufRopeShort};
};

Result<const GgufTensor*> WeightFinder::find(const std::string& name, const Shape& shape) {
  const auto it = by_name_.find(name);
  if (it == by_name_.end())
    return Error{Errc::corrupt, fmt::format("{}: tensor '{}' is missing", where_, name)};
  const GgufTensor& t = *it->second;
  used_.insert(t.name);
  if (t.shape != shape)
    return Error{Errc::corrupt, fmt::format("{}: tensor '{}': shape {}, wanted {}", where_, name,
                                            shape_string(t.shape), shape_string(shape))};
  if (!t.floats.bytes)
    return Error{Errc::unsupported, fmt::format("{}: tensor '{}': type {} cannot be decoded here",
                                                where_, name, find_ggml_type(t.type_id)->name)};
  return &t;
}

Result<void> WeightFinder::take(const TensorRule& rule, const WeightKey& key) {
  const Decoder& d = out_.decoder;
  Shape shape;
  for (const Dim dim : rule.dims.d)
    if (dim != Dim::none) shape.push_back(dim_size(dim, d));
  Shape stored = shape;
  const bool is_stack = rule.pattern.find("{expert}") != std::string_view::npos;
  if (is_stack) stored.insert(stored.begin(), dim_size(Dim::experts, d));
  PHIQUANT_ASSIGN(const GgufTensor* t, find(gguf_name(key), stored));
  SourceTensor source = t->floats;
  if (is_stack) {
    source = slice_rows(source, static_cast<uint64_t>(key.expert), 1);
    source.shape = shape;
  }
  source.name = make_name(rule.pattern, std::max(key.layer, 0), std::max(key.expert, 0));
  out_.weights.emplace(key, std::move(source));
  return {};
}

Result<void> WeightFinder::rule(const TensorRule& rule) {
  if (rule.role == Role::ignored || !is_required(rule.when, out_.decoder)) return {};
  const bool per_layer = rule.pattern.find("{layer}") != std::string_view::npos,
             per_expert = rule.pattern.find("{expert}") != std::string_view::npos;
  const auto n_layers = per_layer ? static_cast<int32_t>(out_.decoder.n_layers) : 1,
             n_experts =
                 per_expert ? static_cast<int32_t>(dim_size(Dim::experts, out_.decoder)) : 1;
  for (int32_t layer = 0; layer < n_layers; ++layer)
    for (int32_t expert = 0; expert < n_experts; ++expert)
      PHIQUANT_TRY(take(rule, {rule.role, per_layer ? layer : -1, per_expert ? expert : -1,
                               rule.pattern.ends_with(".bias")}));
  return {};
}

Result<void> WeightFinder::check_extra() const {
  for (const GgufTensor& t : model_.tensors)
    if (!used_.contains(t.name))
      return Error{Errc::corrupt,
                   fmt::format("{}: tensor '{}' is not of {} as the metadata describes it", where_,
                               t.name, arch_.class_name)};
  return {};
}

Result<void> WeightFinder::run() {
  for (const TensorRule& r : arch_.tensors) PHIQUANT_TRY(rule(r));
  return check_extra();
}

std::optional<int64_t> token(const GgufModel& model, const char* key) {
  const auto id = gguf_unsigned(model.metadata, fmt::format("tokenizer.ggml.{}_token_id", key));
  if (!id || *id > INT32_MAX) return std::nullopt;
  return static_cast<int64_t>(*id);
}

void read_tokens(const GgufModel& model, Checkpoint& out) {
  TokenIds& t = out.tokens;
  t.bos = t.tokenizer_bos = token(model, "bos");
  t.pad = t.tokenizer_pad = token(model, "padding");
  t.tokenizer_eos = token(model, "eos");
  for (const char* key : {"eos", "eot", "eom"})
    if (const auto id = token(model, key);
        id && std::find(t.eos.begin(), t.eos.end(), *id) == t.eos.end())
      t.eos.push_back(*id);
  const GgufValue* value = find_gguf_key(model.metadata, "tokenizer.ggml.tokens");
  const GgufArray* list = value ? std::get_if<GgufArray>(value) : nullptr;
  if (!list || list->type != GgufType::string) return;
  for (size_t i = 0; i < list->values.size(); ++i) {
    const auto& text = std::get<std::string>(list->values[i]);
    const auto id = static_cast<int64_t>(i);
    for (const std::string_view tag : kTokenTags)
      if (text == tag) t.tags.emplace(tag, id);
    // GGUF names one end; llama.cpp finds the others by their texts, these among them.
    for (const std::string_view end : {"<|end|>", "<|endoftext|>", "<|im_end|>"})
      if (text == end && std::find(t.eos.begin(), t.eos.end(), id) == t.eos.end())
        t.eos.push_back(id);
  }
}

DType most_common(const Checkpoint& c) {
  const SourceTensor* embedding = c.find(Role::embed);
  return embedding ? embedding->dtype : DType::f32;
}

}  // namespace

Result<Checkpoint> gguf_checkpoint(const GgufModel& model) {
  PHIQUANT_ASSIGN(nlohmann::json json, gguf_config(model));
  Checkpoint out;
  out.folder = model.path;
  const ConfigView config(json, fmt::format("{}: metadata", printable(model.path.string())));
  const auto name = json["architectures"][0].get<std::string>();
  out.model_type = json["model_type"].get<std::string>();
  PHIQUANT_ASSIGN(const Architecture* arch, find_architecture(config, name, out.model_type));
  out.architecture = arch->class_name;
  PHIQUANT_ASSIGN(out.decoder, arch->decoder(config));
  PHIQUANT_TRY(WeightFinder(model, *arch, out).run());
  out.dtype = most_common(out);
  read_tokens(model, out);
  nlohmann::json generation = nlohmann::json::object();
  for (const auto& [key, id] :
       {std::pair("bos_token_id", out.tokens.bos), std::pair("pad_token_id", out.tokens.pad)})
    if (id) json[key] = generation[key] = *id;
  if (!out.tokens.eos.empty()) {
    json["eos_token_id"] = out.tokens.eos.front();
    generation["eos_token_id"] = out.tokens.eos;
  }
  out.config_json = json.dump(2);
  out.generation_config_json = generation.dump(2);
  out.has_inner_tokenizer = true;
  out.vocabulary_reader = [&model](const Checkpoint&) { return gguf_vocabulary(model); };
  out.files = model.files;
  out.input_bytes = model.input_bytes;
  return out;
}

}  // namespace phiquant
