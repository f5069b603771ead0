#include "model/gguf/config.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "core/text.h"
#include "model/gguf/names.h"
#include "wire/gguf_header.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

using nlohmann::json;

struct Family {
  std::string_view gguf;  // general.architecture
  const char *class_name, *model_type, *eps_key, *gguf_eps_key;
};
constexpr Family kFamilies[] = {
    {"phi2", "PhiForCausalLM", "phi", "layer_norm_eps", "attention.layer_norm_epsilon"},
    {"phi3", "Phi3ForCausalLM", "phi3", "rms_norm_eps", "attention.layer_norm_rms_epsilon"},
    {"phimoe", "PhiMoEForCausalLM", "phimoe", "rms_norm_eps", "attention.layer_norm_rms_epsilon"},
};

// GGUF stores float32 what a config states in decimals: the shortest decimal that is read as the
// same float32 (1.03, not 1.0299999713897705). A number that is no float32 as it is.
double as_stated(double number) {
  const auto x = static_cast<float>(number);
  if (!std::isfinite(x) || static_cast<double>(x) != number) return number;
  std::array<char, 32> text;
  const auto end = std::to_chars(text.begin(), text.end(), x).ptr;
  std::from_chars(text.begin(), end, number);
  return number;
}

class ConfigMaker {
 public:
  ConfigMaker(const GgufModel& model, const Family& family)
      : model_(model), family_(family), where_(printable(model.path.string())) {}
  Result<json> run();

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", family_.gguf, name); }
  Error corrupt(const std::string& what) const {
    return {Errc::corrupt, fmt::format("{}: {}", where_, what)};
  }
  Result<uint64_t> number(std::string_view name) const;
  Result<void> sizes();
  Result<void> rope();
  Result<json> factors(const char* tensor) const;
  bool has(const char* tensor) const { return find_gguf_tensor(model_, tensor) != nullptr; }

  const GgufModel& model_;
  const Family& family_;
  std::string where_;
  json config_;
};

Result<uint64_t> ConfigMaker::number(std::string_view name) const {
  const auto value = gguf_unsigned(model_.metadata, key(name));
  if (!value) return corrupt(fmt::format("key '{}' is missing, or no whole number", key(name)));
  return *value;
}

Result<void> ConfigMaker::sizes() {
  constexpr std::pair<const char*, const char*> kSizes[] = {
      {"hidden_size", "embedding_length"},
      {"intermediate_size", "feed_forward_length"},
      {"num_hidden_layers", "block_count"},
      {"num_attention_heads", "attention.head_count"},
      {"num_key_value_heads", "attention.head_count_kv"},
      {"max_position_embeddings", "context_length"},
  };
  for (const auto& [name, from] : kSizes) {
    PHIQUANT_ASSIGN(config_[name], number(from));
  }
  const GgufTensor* embedding = find_gguf_tensor(model_, gguf_name({Role::embed}));
  if (!embedding || embedding->shape.size() != 2)
    return corrupt("tensor 'token_embd.weight' is missing, or no matrix");
  config_["vocab_size"] = embedding->shape[0];
  const auto eps = gguf_number(model_.metadata, key(family_.gguf_eps_key));
  if (!eps) return corrupt(fmt::format("key '{}' is missing", key(family_.gguf_eps_key)));
  config_[family_.eps_key] = as_stated(*eps);
  if (const auto window = gguf_unsigned(model_.metadata, key("attention.sliding_window"));
      window && *window > 0)
    config_["sliding_window"] = *window;
  if (family_.gguf == "phimoe") {
    PHIQUANT_ASSIGN(config_["num_local_experts"], number("expert_count"));
    PHIQUANT_ASSIGN(config_["num_experts_per_tok"], number("expert_used_count"));
  }
  return {};
}

Result<json> ConfigMaker::factors(const char* name) const {
  const GgufTensor* tensor = find_gguf_tensor(model_, name);
  constexpr uint64_t kMost = 4096;
  if (!tensor || tensor->type_id != kGgmlF32 || tensor->shape.size() != 1 ||
      tensor->shape[0] > kMost)
    return corrupt(fmt::format("tensor '{}' is missing, or no float32 vector", name));
  std::vector<float> values(tensor->shape[0]);
  PHIQUANT_TRY(tensor->bytes->read(0, std::as_writable_bytes(std::span(values))));
  json list = json::array();
  for (const float value : values) list.push_back(as_stated(value));
  return list;
}

Result<void> ConfigMaker::rope() {
  config_["rope_theta"] =
      as_stated(gguf_number(model_.metadata, key("rope.freq_base")).value_or(10000));
  PHIQUANT_ASSIGN(const uint64_t heads, number("attention.head_count"));
  PHIQUANT_ASSIGN(const uint64_t hidden, number("embedding_length"));
  if (heads == 0 || hidden % heads != 0)
    return corrupt(fmt::format("{} heads for {} values", heads, hidden));
  const auto head = static_cast<double>(hidden / heads);
  const auto dims = static_cast<double>(
      gguf_unsigned(model_.metadata, key("rope.dimension_count")).value_or(hidden / heads));
  double share = dims / head;
  if (std::floor(head * share) < dims) share = std::nextafter(share, 2.0);
  config_["partial_rotary_factor"] = share;
  if (!has(kGgufRopeLong)) return {};
  json scaling = {{"type", "longrope"}};
  PHIQUANT_ASSIGN(scaling["long_factor"], factors(kGgufRopeLong));
  PHIQUANT_ASSIGN(scaling["short_factor"], factors(kGgufRopeShort));
  PHIQUANT_ASSIGN(const uint64_t original, number("rope.scaling.original_context_length"));
  config_["original_max_position_embeddings"] = original;
  // Stated only where it is not what the sizes say already.
  const auto stated = gguf_number(model_.metadata, key("rope.scaling.attn_factor"));
  const double growth =
      config_["max_position_embeddings"].get<double>() / static_cast<double>(original);
  const double made =
      growth <= 1 ? 1 : std::sqrt(1 + std::log(growth) / std::log(static_cast<double>(original)));
  if (stated && static_cast<float>(*stated) != static_cast<float>(made))
    scaling["attention_factor"] = as_stated(*stated);
  config_["rope_scaling"] = std::move(scaling);
  return {};
}

Result<json> ConfigMaker::run() {
  config_ = {{"architectures", {family_.class_name}},
             {"model_type", family_.model_type},
             {"hidden_act", family_.gguf == "phi2" ? "gelu_new" : "silu"},
             {"tie_word_embeddings", !has("output.weight")},
             {"attention_bias", has("blk.0.attn_qkv.bias") || has("blk.0.attn_q.bias")},
             {"torch_dtype", "float32"}};
  if (family_.gguf == "phi3") config_["mlp_bias"] = has("blk.0.ffn_up.bias");
  if (family_.gguf != "phi2") config_["lm_head_bias"] = has("output.bias");
  PHIQUANT_TRY(sizes());
  PHIQUANT_TRY(rope());
  return std::move(config_);
}

}  // namespace

const GgufTensor* find_gguf_tensor(const GgufModel& model, std::string_view name) {
  for (const GgufTensor& tensor : model.tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

Result<json> gguf_config(const GgufModel& model) {
  const std::string* name = gguf_string(model.metadata, "general.architecture");
  for (const Family& family : kFamilies)
    if (name && *name == family.gguf) return ConfigMaker(model, family).run();
  return Error{Errc::unsupported,
               fmt::format("{}: architecture '{}' (known: phi2, phi3, phimoe)",
                           printable(model.path.string()), name ? printable(*name) : "none")};
}

}  // namespace phiquant
