#include "decide/mix_gguf.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/glob.h"
#include "core/nearest.h"

namespace phiquant {
namespace {

// general.file_type of the mixes that rules name.
enum Id : uint32_t {
  kQ4_0 = 2,
  kQ5_0 = 8,
  kQ2_K = 10,
  kQ3_K_M = 12,
  kQ3_K_L = 13,
  kQ4_K_S = 14,
  kQ4_K_M = 15,
  kQ5_K_M = 17,
  kIQ4_NL = 25,
  kIQ4_XS = 30,
  kTQ1_0 = 36,
  kTQ2_0 = 37,
  kMXFP4_MOE = 38,
};

enum class Category : uint8_t {
  token_embd,
  output,
  attn_v,
  attn_k,
  attn_q,
  attn_out,
  ffn_down,
  other
};

// A fused attn_qkv counts as attn_v, the most sensitive of the three.
Category category_of(const Slot& slot) {
  if (!slot.key) return Category::other;
  switch (slot.key->role) {
    case Role::lm_head:
      return Category::output;
    case Role::embed:
      return Category::token_embd;
    case Role::attn_qkv:
    case Role::attn_v:
      return Category::attn_v;
    case Role::attn_k:
      return Category::attn_k;
    case Role::attn_q:
      return Category::attn_q;
    case Role::attn_out:
      return Category::attn_out;
    case Role::mlp_down:
    case Role::expert_down:
      return Category::ffn_down;
    default:
      return Category::other;
  }
}

struct MixOptions {
  const GgufFileType* file_type = nullptr;
  bool pure = false, has_imatrix = false;
  std::optional<GgmlType> token_embedding, output;
  std::vector<std::pair<std::string, GgmlType>> overrides;  // glob and type; the first match wins
};

struct Wanted {
  GgmlType type = kGgmlF32;
  std::string reason;
};

class Mix {
 public:
  Mix(const GgufMixModel& model, const MixOptions& options, std::span<const Slot> slots)
      : model_(model), options_(options), n_layers_(model.n_layers) {
    for (const Slot& slot : slots) {
      if (category_of(slot) == Category::attn_v && !slot.key->bias) ++n_attn_v_;
      if (slot.is(Role::lm_head)) tied_ = false;
    }
  }
  Result<Wanted> choose(const Slot& slot);
  const std::vector<bool>& matched() const { return matched_; }

 private:
  // The first and last eighth of the layers, and every third between.
  static bool more_bits(int64_t layer, int64_t n) {
    return layer < n / 8 || layer >= 7 * n / 8 || (layer - n / 8) % 3 == 2;
  }
  bool is(std::initializer_list<uint32_t> ids) const {
    return std::find(ids.begin(), ids.end(), options_.file_type->id) != ids.end();
  }
  uint32_t queries_per_key() const {
    return model_.n_kv_heads == 0 ? 0 : model_.n_heads / model_.n_kv_heads;
  }
  GgmlType by_rule(const Slot& slot, Category category);
  GgmlType output_type(const Slot& slot, GgmlType base) const;
  GgmlType attn_v_type(GgmlType base);
  GgmlType attn_out_type(GgmlType base) const;
  GgmlType ffn_down_type(const Slot& slot, GgmlType base);

  const GgufMixModel& model_;
  const MixOptions& options_;
  int64_t n_layers_, n_attn_v_ = 0, i_attn_v_ = 0, i_ffn_down_ = 0;
  bool tied_ = true;
  std::vector<bool> matched_ = std::vector<bool>(options_.overrides.size());
};

GgmlType Mix::output_type(const Slot& slot, GgmlType base) const {
  if (options_.output) return *options_.output;
  if (is({kMXFP4_MOE})) return kGgmlQ8_0;
  if (slot.shape.back() % find_ggml_type(base)->block_size != 0) return kGgmlQ8_0;
  return base == kGgmlQ8_0 ? base : kGgmlQ6_K;
}

GgmlType Mix::attn_v_type(GgmlType base) {
  const int64_t i = i_attn_v_++;
  GgmlType type = base;
  if (is({kQ2_K}))
    type = queries_per_key() >= 4 ? kGgmlQ4_K : kGgmlQ3_K;
  else if (is({kQ3_K_M}))
    type = i < 2 ? kGgmlQ5_K : kGgmlQ4_K;
  else if (is({kQ3_K_L}) || (is({kIQ4_NL, kIQ4_XS}) && queries_per_key() >= 4))
    type = kGgmlQ5_K;
  else if (is({kQ4_K_M, kQ5_K_M}) && more_bits(i, n_attn_v_))
    type = kGgmlQ6_K;
  else if (is({kQ4_K_S}) && i < 4)
    type = kGgmlQ5_K;
  return model_.n_experts == 8 ? kGgmlQ8_0 : type;
}

GgmlType Mix::attn_out_type(GgmlType base) const {
  if (model_.n_experts == 8)
    return is({kQ2_K, 11, kQ3_K_M, kIQ4_NL, kQ4_K_S, kQ4_K_M, kIQ4_XS}) ? kGgmlQ5_K : base;
  return is({kQ2_K}) ? kGgmlQ3_K : is({kQ3_K_M}) ? kGgmlQ4_K : is({kQ3_K_L}) ? kGgmlQ5_K : base;
}

GgmlType Mix::ffn_down_type(const Slot& slot, GgmlType base) {
  const int64_t counted = i_ffn_down_++, n = n_layers_;
  const int64_t i = model_.n_experts > 1 ? slot.key->layer : counted;
  const bool first_eighth = i < n / 8, imatrix = options_.has_imatrix;
  if (is({kQ2_K})) return kGgmlQ3_K;
  if (is({kQ3_K_M})) return i < n / 16 ? kGgmlQ5_K : kGgmlQ4_K;
  if (is({kQ3_K_L})) return kGgmlQ5_K;
  if (is({kQ4_K_M, kQ5_K_M})) return more_bits(i, n) ? kGgmlQ6_K : base;
  if (is({kIQ4_NL, kIQ4_XS}) && first_eighth && !imatrix) return kGgmlQ5_K;
  if (is({kQ4_K_S}) && first_eighth) return kGgmlQ5_K;
  // The 4- and 5-bit rules without offsets fail on the first of these layers with an imatrix.
  if (is({kQ4_0}) && imatrix && first_eighth) return kGgmlQ4_1;
  if (is({kQ5_0}) && imatrix && first_eighth) return kGgmlQ5_1;
  return base;
}

GgmlType Mix::by_rule(const Slot& slot, Category category) {
  const GgmlType base = options_.file_type->base;
  if (category == Category::output || (tied_ && category == Category::token_embd))
    return output_type(slot, base);
  if (is({kMXFP4_MOE}))
    return slot.shape.size() > 2 && slot.shape[slot.shape.size() - 3] > 1 ? kGgmlMXFP4 : kGgmlQ8_0;
  switch (category) {
    case Category::token_embd:
      if (options_.token_embedding) return *options_.token_embedding;
      return is({kTQ1_0, kTQ2_0}) ? kGgmlQ4_K : base;
    case Category::attn_v:
      return attn_v_type(base);
    case Category::attn_k:
      return model_.n_experts == 8 ? kGgmlQ8_0 : base;
    case Category::attn_out:
      return attn_out_type(base);
    case Category::ffn_down:
      return ffn_down_type(slot, base);
    default:
      return base;
  }
}

// A type for rows that `wanted` cannot hold; nullopt where llama.cpp defines none.
std::optional<GgmlType> fallback(GgmlType wanted, uint64_t row) {
  GgmlType type = kGgmlF16;
  switch (wanted) {
    case kGgmlIQ4_XS:
      type = kGgmlIQ4_NL;
      break;
    case kGgmlQ2_K:
    case kGgmlQ3_K:
    case kGgmlTQ1_0:
    case kGgmlTQ2_0:
      type = kGgmlQ4_0;
      break;
    case kGgmlQ4_K:
      type = kGgmlQ5_0;
      break;
    case kGgmlQ5_K:
      type = kGgmlQ5_1;
      break;
    case kGgmlQ6_K:
      type = kGgmlQ8_0;
      break;
    default:
      return std::nullopt;
  }
  return row % find_ggml_type(type)->block_size == 0 ? type : kGgmlF16;
}

Result<Wanted> fit_to_rows(const Slot& slot, Wanted choice) {
  const GgmlTypeInfo& wanted = *find_ggml_type(choice.type);
  const uint64_t row = slot.shape.back();
  if (row % wanted.block_size == 0) return choice;
  const auto type = fallback(choice.type, row);
  if (!type)
    return Error{Errc::usage,
                 fmt::format("tensor '{}': rows of {} values do not divide into blocks of {} for "
                             "{} (give it another type, --tensor-type {}=f16)",
                             slot.tensor, row, wanted.block_size, wanted.name, slot.tensor)};
  choice.type = *type;
  choice.reason = fmt::format("rows of {} do not divide by {}: instead of {}", row,
                              wanted.block_size, wanted.name);
  return choice;
}

Result<Wanted> Mix::choose(const Slot& slot) {
  const Category category = category_of(slot);
  Wanted wanted{options_.file_type->base, ""};
  if (options_.token_embedding && category == Category::token_embd) {
    wanted = {*options_.token_embedding, "--token-embedding-type"};
  } else if (options_.output && category == Category::output) {
    wanted = {*options_.output, "--output-tensor-type"};
  } else if (find_ggml_type(wanted.type)->dtype == DType::undefined) {
    bool manual = false;
    for (size_t i = 0; i < options_.overrides.size() && !manual; ++i) {
      if (!glob_match(options_.overrides[i].first, slot.tensor)) continue;
      matched_[i] = manual = true;
      wanted = {options_.overrides[i].second, "--tensor-type"};
    }
    // Counters of the rules stand still for tensors that an override names.
    if (!manual && !options_.pure) wanted.type = by_rule(slot, category);
  }
  return fit_to_rows(slot, std::move(wanted));
}

constexpr GgufFileType kFileTypes[] = {
    {"q4_k_m", "4.5 bits, 6 for the sensitive tensors", 15, kGgmlQ4_K, Precision::int4, true},
    {"q4_k_s", "4.5 bits, 5.5 for a few tensors", 14, kGgmlQ4_K, Precision::int4, false},
    {"q4_0", "4.5 bits: 32 values share a scale", 2, kGgmlQ4_0, Precision::int4, false},
    {"q4_1", "5 bits: scale and minimum", 3, kGgmlQ4_1, Precision::int4, false},
    {"iq4_nl", "4.5 bits, codes at uneven steps", 25, kGgmlIQ4_NL, Precision::int4, false},
    {"iq4_xs", "4.25 bits, the same in super-blocks", 30, kGgmlIQ4_XS, Precision::int4, false},
    {"mxfp4_moe", "4.25-bit floats for experts, q8_0 for the rest", 38, kGgmlMXFP4, Precision::int4,
     false},
    {"q5_0", "5.5 bits: 32 values share a scale", 8, kGgmlQ5_0, Precision::int8, false},
    {"q5_1", "6 bits: scale and minimum", 9, kGgmlQ5_1, Precision::int8, false},
    {"q5_k_s", "5.5 bits", 16, kGgmlQ5_K, Precision::int8, false},
    {"q5_k_m", "5.5 bits, 6.6 for the sensitive tensors", 17, kGgmlQ5_K, Precision::int8, false},
    {"q6_k", "6.6 bits", 18, kGgmlQ6_K, Precision::int8, false},
    {"q8_0", "8.5 bits", 7, kGgmlQ8_0, Precision::int8, true},
    {"q3_k_s", "3.4 bits", 11, kGgmlQ3_K, Precision::int4, false},
    {"q3_k_m", "3.4 bits, 4.5 and 5.5 for the sensitive tensors", 12, kGgmlQ3_K, Precision::int4,
     false},
    {"q3_k_l", "3.4 bits, 5.5 for the sensitive tensors", 13, kGgmlQ3_K, Precision::int4, false},
    {"q2_k", "2.6 bits, 3.4 for the sensitive tensors", 10, kGgmlQ2_K, Precision::int4, false},
    {"tq1_0", "1.7 bits, for weights of -1, 0 and 1", 36, kGgmlTQ1_0, Precision::int4, false},
    {"tq2_0", "2.1 bits, for weights of -1, 0 and 1", 37, kGgmlTQ2_0, Precision::int4, false},
    {"f16", "float16", 1, kGgmlF16, Precision::fp16, true},
    {"bf16", "bfloat16", 32, kGgmlBF16, Precision::bf16, true},
    {"f32", "float32", 0, kGgmlF32, Precision::fp32, true},
};

// A type that a tensor can be written in: a float, or one with a row scheme. `what` names the
// option.
Result<GgmlType> writable_type(std::string_view what, std::string_view name) {
  const GgmlTypeInfo* type = find_ggml_type(name);
  if (type && (is_weight_float(type->dtype) || find_gguf_type(type->id))) return type->id;
  std::vector<std::string_view> names;
  for (const GgmlTypeInfo& t : ggml_types())
    if (is_weight_float(t.dtype) || find_gguf_type(t.id)) names.push_back(t.name);
  return Error{Errc::usage, fmt::format("{} {}: {}{}; wanted one of {}", what, name,
                                        type ? "cannot be written" : "is no GGUF type",
                                        did_you_mean(name, names), fmt::join(names, ", "))};
}

Result<MixOptions> mix_options(const Recipe& r) {
  MixOptions mix;
  PHIQUANT_ASSIGN(mix.file_type, gguf_file_type(r));
  mix.pure = r.pure;
  mix.has_imatrix = !r.imatrix.empty();
  if (!r.token_embedding_type.empty()) {
    PHIQUANT_ASSIGN(mix.token_embedding,
                    writable_type("--token-embedding-type", r.token_embedding_type));
  }
  if (!r.output_tensor_type.empty()) {
    PHIQUANT_ASSIGN(mix.output, writable_type("--output-tensor-type", r.output_tensor_type));
  }
  for (const std::string& text : r.tensor_types) {
    const size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0)
      return Error{Errc::usage,
                   fmt::format("--tensor-type {}: wanted GLOB=TYPE, as blk.0.*=q8_0", text)};
    PHIQUANT_ASSIGN(const GgmlType type, writable_type("--tensor-type", text.substr(equals + 1)));
    mix.overrides.emplace_back(text.substr(0, equals), type);
  }
  return mix;
}

Result<Choice> choice_of(const Slot& slot, const Wanted& wanted, const Recipe& recipe) {
  const GgmlTypeInfo& type = *find_ggml_type(wanted.type);
  Choice c;
  c.reason = wanted.reason;
  if (is_weight_float(type.dtype)) {
    c.float_type = type.dtype;
    return c;
  }
  c.encoding = find_encoding(Layout::gguf, type.name);
  c.method = recipe.imatrix.empty() ? &peer_method() : find_method("importance");
  if (!c.encoding)
    return Error{Errc::unsupported, fmt::format("tensor '{}': type {} cannot be written here",
                                                slot.tensor, type.name)};
  return c;
}

}  // namespace

std::span<const GgufFileType> gguf_file_types() { return kFileTypes; }

const GgufFileType* find_gguf_file_type(std::string_view name) {
  for (const GgufFileType& type : kFileTypes)
    if (type.name == name) return &type;
  return nullptr;
}

const GgufFileType& default_gguf_file_type(Precision precision) {
  return *std::find_if(std::begin(kFileTypes), std::end(kFileTypes), [&](const GgufFileType& t) {
    return t.is_default && t.nearest == precision;
  });
}

Result<const GgufFileType*> gguf_file_type(const Recipe& recipe) {
  if (recipe.scheme.empty()) return &default_gguf_file_type(recipe.precision);
  if (const GgufFileType* type = find_gguf_file_type(recipe.scheme)) return type;
  std::vector<std::string_view> names;
  for (const GgufFileType& type : kFileTypes) names.push_back(type.name);
  return Error{Errc::usage,
               fmt::format("--scheme {}: is no GGUF file type{}; wanted one of {}", recipe.scheme,
                           did_you_mean(recipe.scheme, names), fmt::join(names, ", "))};
}

GgmlType ggml_type_of(const Slot& slot, const Choice& choice) {
  if (choice.encoding) return static_cast<GgmlType>(choice.encoding->rows->type_id);
  if (choice.float_type != DType::undefined) return ggml_from_dtype(choice.float_type);
  if (slot.kind != SlotKind::vector && slot.must_stay.empty()) return ggml_from_dtype(slot.dtype);
  return slot.stored && slot.stored->ggml_type ? *slot.stored->ggml_type : kGgmlF32;
}

Result<Capability> gguf_capability(std::span<const Slot> slots, const Recipe& recipe,
                                   const GgufMixModel& model) {
  PHIQUANT_ASSIGN(const MixOptions options, mix_options(recipe));
  Mix mix(model, options, slots);
  std::map<std::string, Choice, std::less<>> choices;
  for (const Slot& slot : slots) {
    if (slot.kind == SlotKind::vector || !slot.must_stay.empty()) continue;
    PHIQUANT_ASSIGN(const Wanted wanted, mix.choose(slot));
    PHIQUANT_ASSIGN(choices[slot.tensor], choice_of(slot, wanted, recipe));
  }
  for (size_t i = 0; i < options.overrides.size(); ++i)
    if (!mix.matched()[i])
      return Error{Errc::usage,
                   fmt::format("--tensor-type {}={}: matches no tensor that is quantized (names as "
                               "--dry-run -v shows them)",
                               options.overrides[i].first,
                               find_ggml_type(options.overrides[i].second)->name)};
  return Capability{
      [choices = std::move(choices)](const Slot& slot, const Choice*) -> Result<Choice> {
        const auto it = choices.find(slot.tensor);
        return it == choices.end() ? Choice{} : it->second;
      },
      nullptr};
}

}  // namespace phiquant
