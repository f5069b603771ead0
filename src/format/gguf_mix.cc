#include "format/gguf_mix.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/core.h>

#include "core/glob.h"

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

bool has(const std::string& name, std::string_view part) {
  return name.find(part) != std::string::npos;
}

// A fused attn_qkv counts as attn_v, the most sensitive of the three.
Category category_of(const std::string& name) {
  if (name == "output.weight") return Category::output;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight")
    return Category::token_embd;
  if (has(name, "attn_qkv.weight") || has(name, "attn_kv_b.weight") || has(name, "attn_v.weight"))
    return Category::attn_v;
  if (has(name, "attn_k.weight")) return Category::attn_k;
  if (has(name, "attn_q.weight")) return Category::attn_q;
  if (has(name, "attn_output.weight")) return Category::attn_out;
  return has(name, "ffn_down") ? Category::ffn_down : Category::other;
}

// The block of "blk.3.attn_q.weight"; -1 outside the blocks.
int64_t layer_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  if (!name.starts_with(kPrefix)) return -1;
  int64_t layer = -1;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
  return layer;
}

class Mix {
 public:
  Mix(const GgufMixModel& model, const GgufMixOptions& options,
      const std::vector<GgufMixTensor>& tensors)
      : model_(model), options_(options), n_layers_(model.n_layers) {
    for (const GgufMixTensor& t : tensors) {
      if (category_of(t.name) == Category::attn_v) ++n_attn_v_;
      if (t.name == "output.weight") tied_ = false;
    }
  }
  Result<GgufChoice> choose(const GgufMixTensor& tensor);
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
  GgmlType by_rule(const GgufMixTensor& tensor, Category category);
  GgmlType output_type(const GgufMixTensor& tensor, GgmlType base) const;
  GgmlType attn_v_type(GgmlType base);
  GgmlType attn_out_type(GgmlType base) const;
  GgmlType ffn_down_type(const GgufMixTensor& tensor, GgmlType base);

  const GgufMixModel& model_;
  const GgufMixOptions& options_;
  int64_t n_layers_, n_attn_v_ = 0, i_attn_v_ = 0, i_ffn_down_ = 0;
  bool tied_ = true;
  std::vector<bool> matched_ = std::vector<bool>(options_.overrides.size());
};

GgmlType Mix::output_type(const GgufMixTensor& tensor, GgmlType base) const {
  if (options_.output) return *options_.output;
  if (is({kMXFP4_MOE})) return kGgmlQ8_0;
  if (tensor.shape.back() % find_ggml_type(base)->block_size != 0) return kGgmlQ8_0;
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

GgmlType Mix::ffn_down_type(const GgufMixTensor& tensor, GgmlType base) {
  const int64_t counted = i_ffn_down_++, n = n_layers_;
  const int64_t i = model_.n_experts > 1 ? layer_of(tensor.name) : counted;
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

GgmlType Mix::by_rule(const GgufMixTensor& tensor, Category category) {
  const GgmlType base = options_.file_type->base;
  if (category == Category::output || (tied_ && category == Category::token_embd))
    return output_type(tensor, base);
  if (is({kMXFP4_MOE}))
    return tensor.shape.size() > 2 && tensor.shape[tensor.shape.size() - 3] > 1 ? kGgmlMXFP4
                                                                                : kGgmlQ8_0;
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
      return ffn_down_type(tensor, base);
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

Result<GgufChoice> fit_to_rows(const GgufMixTensor& tensor, GgufChoice choice) {
  const GgmlTypeInfo& wanted = *find_ggml_type(choice.type);
  const uint64_t row = tensor.shape.back();
  if (row % wanted.block_size == 0) return choice;
  const auto type = fallback(choice.type, row);
  if (!type)
    return Error{Errc::usage,
                 fmt::format("tensor '{}': rows of {} values do not divide into blocks of {} for "
                             "{} (give it another type, --tensor-type {}=f16)",
                             tensor.name, row, wanted.block_size, wanted.name, tensor.name)};
  choice.type = *type;
  choice.reason = fmt::format("rows of {} do not divide by {}: instead of {}", row,
                              wanted.block_size, wanted.name);
  return choice;
}

Result<GgufChoice> Mix::choose(const GgufMixTensor& tensor) {
  const Category category = category_of(tensor.name);
  if (!gguf_quantizable(tensor)) return GgufChoice{tensor.stored, false, ""};
  GgufChoice choice{options_.file_type->base, true, ""};
  if (options_.token_embedding && category == Category::token_embd) {
    choice = {*options_.token_embedding, true, "--token-embedding-type"};
  } else if (options_.output && category == Category::output) {
    choice = {*options_.output, true, "--output-tensor-type"};
  } else if (find_ggml_type(choice.type)->dtype == DType::undefined) {
    bool manual = false;
    for (size_t i = 0; i < options_.overrides.size() && !manual; ++i) {
      if (!glob_match(options_.overrides[i].first, tensor.name)) continue;
      matched_[i] = manual = true;
      choice = {options_.overrides[i].second, true, "--tensor-type"};
    }
    // Counters of the rules stand still for tensors that an override names.
    if (!manual && !options_.pure) choice.type = by_rule(tensor, category);
  }
  return fit_to_rows(tensor, std::move(choice));
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

bool gguf_quantizable(const GgufMixTensor& tensor) {
  const std::string& name = tensor.name;
  // ggml does not count outer dimensions of 1.
  const auto outer =
      std::find_if(tensor.shape.begin(), tensor.shape.end(), [](uint64_t n) { return n != 1; });
  return tensor.shape.end() - outer > 1 && name.ends_with("weight") && !has(name, "_norm.weight") &&
         !has(name, "ffn_gate_inp.weight");
}

Result<std::vector<GgufChoice>> choose_gguf_types(const GgufMixModel& model,
                                                  const GgufMixOptions& options,
                                                  const std::vector<GgufMixTensor>& tensors) {
  Mix mix(model, options, tensors);
  std::vector<GgufChoice> choices;
  for (const GgufMixTensor& tensor : tensors) {
    PHIQUANT_ASSIGN(GgufChoice choice, mix.choose(tensor));
    choices.push_back(std::move(choice));
  }
  for (size_t i = 0; i < options.overrides.size(); ++i)
    if (!mix.matched()[i])
      return Error{Errc::usage,
                   fmt::format("--tensor-type {}={}: matches no tensor that is quantized (names as "
                               "--dry-run -v shows them)",
                               options.overrides[i].first,
                               find_ggml_type(options.overrides[i].second)->name)};
  return choices;
}

bool gguf_order(std::string_view a, std::string_view b) {
  const int64_t x = layer_of(a), y = layer_of(b);
  return x != y ? x < y : a < b;
}

}  // namespace phiquant
