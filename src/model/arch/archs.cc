#include <algorithm>
#include <vector>

#include <fmt/core.h>

#include "core/nearest.h"
#include "core/text.h"
#include "model/arch/arch.h"

namespace phiquant {
// One line for each architecture file of this folder: it defines arch::<name>(), its rows.
#define PHIQUANT_ARCHITECTURES(X) \
  X(phi)                          \
  X(phi3)                         \
  X(phimoe)                       \
  X(phi3_multimodal)              \
  X(phi3small)                    \
  X(refused)

#define PHIQUANT_DECLARE(name) std::span<const Architecture> name();
namespace arch {
PHIQUANT_ARCHITECTURES(PHIQUANT_DECLARE)
}

namespace {

std::vector<Architecture> all_rows() {
  std::vector<Architecture> all;
#define PHIQUANT_APPEND(name) \
  for (const Architecture& row : arch::name()) all.push_back(row);
  PHIQUANT_ARCHITECTURES(PHIQUANT_APPEND)
  return all;
}

std::string known_names() {
  std::string names;
  for (const Architecture& row : architectures())
    if (row.decoder) names += fmt::format("{}{}", names.empty() ? "" : ", ", row.class_name);
  return names;
}

}  // namespace

std::span<const Architecture> architectures() {
  static const std::vector<Architecture> rows = all_rows();
  return rows;
}

Result<const Architecture*> find_architecture(const ConfigView& config, std::string_view class_name,
                                              std::string_view model_type) {
  for (const Architecture& row : architectures()) {
    if (class_name.empty() ? row.model_type != model_type : row.class_name != class_name) continue;
    if (!row.decoder)
      return config.error(Errc::unsupported, fmt::format("architecture {} is not supported: {}",
                                                         row.class_name, row.reason));
    return &row;
  }
  const std::string_view found = class_name.empty() ? model_type : class_name;
  return config.error(Errc::unsupported, fmt::format("unknown architecture '{}' (known: {})",
                                                     printable(found), known_names()));
}

uint64_t dim_size(Dim dim, const Decoder& d) {
  const uint64_t q = uint64_t{d.n_heads} * d.head_size, kv = uint64_t{d.n_kv_heads} * d.head_size;
  switch (dim) {
    case Dim::hidden:
      return d.hidden;
    case Dim::vocab:
      return d.vocab;
    case Dim::experts:
      return d.moe ? d.moe->n_experts : 0;
    case Dim::ffn:
      return d.ffn;
    case Dim::gate_up:
      return 2 * uint64_t{d.ffn};
    case Dim::q:
      return q;
    case Dim::kv:
      return kv;
    case Dim::qkv:
      return q + 2 * kv;
    case Dim::none:
    case Dim::rank:
      break;
  }
  return 0;
}

bool is_required(When when, const Decoder& d) {
  switch (when) {
    case When::always:
      return true;
    case When::attention_bias:
      return d.attention_bias;
    case When::mlp_bias:
      return d.mlp_bias;
    case When::lm_head_bias:
      return d.lm_head_bias;
    case When::untied:
      return !d.tied_embeddings;
  }
  return true;
}

namespace {

// Takes a number off the front of `name`.
std::optional<int32_t> take_number(std::string_view& name) {
  size_t n = 0;
  int64_t value = 0;
  while (n < name.size() && name[n] >= '0' && name[n] <= '9') {
    value = value * 10 + (name[n++] - '0');
    if (value > INT32_MAX) return std::nullopt;
  }
  if (n == 0 || (n > 1 && name[0] == '0')) return std::nullopt;
  name.remove_prefix(n);
  return static_cast<int32_t>(value);
}

std::optional<std::string> take_word(std::string_view& name) {
  const size_t n = std::min(name.find('.'), name.size());
  if (n == 0) return std::nullopt;
  std::string word(name.substr(0, n));
  name.remove_prefix(n);
  return word;
}

constexpr std::string_view kLayer = "{layer}", kExpert = "{expert}", kAdapter = "{adapter}";

}  // namespace

std::optional<NameMatch> match_name(std::string_view pattern, std::string_view name) {
  NameMatch match;
  while (!pattern.empty()) {
    if (pattern == "*") return match;
    if (pattern.starts_with(kLayer) || pattern.starts_with(kExpert)) {
      const bool is_layer = pattern.starts_with(kLayer);
      const auto number = take_number(name);
      if (!number) return std::nullopt;
      (is_layer ? match.layer : match.expert) = *number;
      pattern.remove_prefix(is_layer ? kLayer.size() : kExpert.size());
    } else if (pattern.starts_with(kAdapter)) {
      auto word = take_word(name);
      if (!word) return std::nullopt;
      match.adapter = std::move(*word);
      pattern.remove_prefix(kAdapter.size());
    } else {
      if (name.empty() || name[0] != pattern[0]) return std::nullopt;
      name.remove_prefix(1);
      pattern.remove_prefix(1);
    }
  }
  if (!name.empty()) return std::nullopt;
  return match;
}

std::string make_name(std::string_view pattern, int32_t layer, int32_t expert) {
  std::string name(pattern);
  const auto put = [&](std::string_view what, int32_t number) {
    if (const size_t at = name.find(what); at != std::string::npos)
      name.replace(at, what.size(), std::to_string(number));
  };
  put(kLayer, layer);
  put(kExpert, expert);
  return name;
}

}  // namespace phiquant
