#include "model/checkpoint/hf_config.h"

#include <cmath>
#include <utility>

#include <fmt/core.h>

#include "core/nearest.h"
#include "core/text.h"

namespace phiquant {
namespace {

using nlohmann::json;

constexpr uint32_t kMaxLayers = 1024, kMaxHeads = 1 << 14, kMaxWidth = 1 << 22, kMaxVocab = 1 << 24;
constexpr uint64_t kMaxContext = uint64_t{1} << 30;

std::string shown(const json& value) {
  return printable(value.dump(-1, ' ', true, json::error_handler_t::replace));
}

std::optional<double> finite(const json& value) {
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  return std::isfinite(number) ? std::optional(number) : std::nullopt;
}

struct ActivationName {
  std::string_view name;
  Activation activation;
};
// gelu_new, gelu_fast and gelu_pytorch_tanh are one formula written in three ways. "gelu" is
// another (erf).
constexpr ActivationName kActivations[] = {
    {"silu", Activation::silu},           {"swish", Activation::silu},
    {"gelu_new", Activation::gelu_tanh},  {"gelu_pytorch_tanh", Activation::gelu_tanh},
    {"gelu_fast", Activation::gelu_tanh},
};

Result<Activation> read_activation(const ConfigView& config, const CommonKeys& keys) {
  PHIQUANT_ASSIGN(const auto name, config.optional_text("hidden_act"));
  if (keys.has_gegelu) {
    if (!name || *name == "gegelu") return Activation::gegelu;
    return config.error(
        Errc::unsupported,
        fmt::format("unknown activation '{}' (hidden_act; this architecture has gegelu)",
                    printable(*name)));
  }
  if (!name) return config.missing("hidden_act");
  std::string known;
  for (const ActivationName& row : kActivations) {
    if (row.name == *name) return row.activation;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  }
  return config.error(
      Errc::unsupported,
      fmt::format("unknown activation '{}' (hidden_act; known: {})", printable(*name), known));
}

Result<void> read_heads(const ConfigView& config, Decoder& d) {
  PHIQUANT_ASSIGN(d.n_heads, config.count32("num_attention_heads", kMaxHeads));
  PHIQUANT_ASSIGN(const auto n_kv_heads, config.optional_count("num_key_value_heads", kMaxHeads));
  d.n_kv_heads = n_kv_heads ? static_cast<uint32_t>(*n_kv_heads) : d.n_heads;
  if (d.n_heads % d.n_kv_heads != 0)
    return config.error(
        Errc::corrupt,
        fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}", d.n_heads,
                    d.n_kv_heads));
  PHIQUANT_ASSIGN(const auto head_size, config.optional_count("head_dim", kMaxWidth));
  if (!head_size && d.hidden % d.n_heads != 0)
    return config.error(Errc::corrupt,
                        fmt::format("hidden_size {} is not a multiple of num_attention_heads {}",
                                    d.hidden, d.n_heads));
  d.head_size = head_size ? static_cast<uint32_t>(*head_size) : d.hidden / d.n_heads;
  return {};
}

}  // namespace

const json* ConfigView::find(std::string_view key) const {
  const auto it = object_->find(key);
  return it == object_->end() || it->is_null() ? nullptr : &*it;
}

Error ConfigView::error(Errc code, const std::string& what) const {
  return {code, fmt::format("{}: {}", where_, what)};
}

Error ConfigView::missing(std::string_view key) const {
  // Only what looks like a slip of the pen: long_factor is no misspelling of short_factor.
  constexpr size_t kSlip = 2;
  std::string hint;
  for (const auto& item : object_->items())
    if (item.key() != key && edit_distance(key, item.key().substr(0, 100)) <= kSlip)
      hint = fmt::format(" (there is '{}')", printable(item.key()));
  return error(Errc::corrupt, fmt::format("'{}' is missing{}", key, hint));
}

Error ConfigView::wrong(std::string_view key, std::string_view wanted) const {
  return error(Errc::corrupt, fmt::format("'{}' is {}, wanted {}", key, shown(*find(key)), wanted));
}

Result<std::optional<uint64_t>> ConfigView::optional_count(std::string_view key,
                                                           uint64_t max) const {
  const json* value = find(key);
  if (!value) return std::optional<uint64_t>();
  if (value->is_number_unsigned()) {
    const auto number = value->get<uint64_t>();
    if (number >= 1 && number <= max) return std::optional(number);
  }
  return wrong(key, fmt::format("a whole number from 1 to {}", max));
}

Result<uint64_t> ConfigView::count(std::string_view key, uint64_t max) const {
  PHIQUANT_ASSIGN(const auto value, optional_count(key, max));
  if (!value) return missing(key);
  return *value;
}

Result<uint32_t> ConfigView::count32(std::string_view key, uint32_t max) const {
  PHIQUANT_ASSIGN(const uint64_t value, count(key, max));
  return static_cast<uint32_t>(value);
}

Result<std::optional<double>> ConfigView::optional_positive(std::string_view key) const {
  const json* value = find(key);
  if (!value) return std::optional<double>();
  const auto number = finite(*value);
  if (!number || *number <= 0) return wrong(key, "a number above 0");
  return number;
}

Result<double> ConfigView::positive(std::string_view key) const {
  PHIQUANT_ASSIGN(const auto value, optional_positive(key));
  if (!value) return missing(key);
  return *value;
}

Result<bool> ConfigView::flag(std::string_view key, bool fallback) const {
  const json* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean()) return wrong(key, "true or false");
  return value->get<bool>();
}

Result<std::optional<std::string>> ConfigView::optional_text(std::string_view key) const {
  const json* value = find(key);
  if (!value) return std::optional<std::string>();
  if (!value->is_string()) return wrong(key, "a text");
  return std::optional(value->get<std::string>());
}

Result<std::vector<float>> ConfigView::positive_list(std::string_view key, size_t n_wanted) const {
  const json* value = find(key);
  if (!value) return missing(key);
  if (!value->is_array()) return wrong(key, "a list of numbers");
  if (value->size() != n_wanted)
    return error(
        Errc::corrupt,
        fmt::format("'{}' has {} numbers, wanted {} (half of the rotated dimensions of a head)",
                    key, value->size(), n_wanted));
  std::vector<float> list;
  for (const json& item : *value) {
    const auto number = finite(item);
    const float rounded = number ? static_cast<float>(*number) : 0;
    if (!std::isfinite(rounded) || rounded <= 0)
      return error(Errc::corrupt,
                   fmt::format("'{}' holds {}, wanted numbers above 0", key, shown(item)));
    list.push_back(rounded);
  }
  return list;
}

Result<std::optional<ConfigView>> ConfigView::section(std::string_view key) const {
  const json* value = find(key);
  if (!value) return std::optional<ConfigView>();
  if (!value->is_object()) return wrong(key, "an object");
  return std::optional(ConfigView(*value, fmt::format("{}: {}", where_, key)));
}

Result<Decoder> common_decoder(const ConfigView& config, const CommonKeys& keys) {
  Decoder d;
  PHIQUANT_ASSIGN(d.n_layers, config.count32("num_hidden_layers", kMaxLayers));
  PHIQUANT_ASSIGN(d.hidden, config.count32("hidden_size", kMaxWidth));
  PHIQUANT_TRY(read_heads(config, d));
  PHIQUANT_ASSIGN(d.ffn, config.count32(keys.ffn, kMaxWidth));
  PHIQUANT_ASSIGN(d.vocab, config.count32("vocab_size", kMaxVocab));
  PHIQUANT_ASSIGN(d.context, config.count("max_position_embeddings", kMaxContext));
  PHIQUANT_ASSIGN(d.sliding_window, config.optional_count("sliding_window", uint64_t{1} << 40));
  PHIQUANT_ASSIGN(d.activation, read_activation(config, keys));
  PHIQUANT_ASSIGN(d.rope, read_rope(config, keys, d.head_size, d.context));
  PHIQUANT_ASSIGN(d.tied_embeddings, config.flag("tie_word_embeddings", false));
  return d;
}

}  // namespace phiquant
