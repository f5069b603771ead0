// config.json as typed, checked values.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "phiquant/error.h"

namespace phiquant {

// An object of a JSON file. `where` names it in messages: "phi/config.json" or "phi/config.json:
// rope_scaling". A key that is absent and one that is null mean the same. Lives no longer than the
// json.
class ConfigView {
 public:
  ConfigView(const nlohmann::json& object, std::string where)
      : object_(&object), where_(std::move(where)) {}

  // null where the key is absent or null.
  const nlohmann::json* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  // "<where>: <what>"
  Error error(Errc code, const std::string& what) const;
  Error missing(std::string_view key) const;
  Error wrong(std::string_view key, std::string_view wanted) const;

  // Whole numbers in [1, max].
  Result<uint64_t> count(std::string_view key, uint64_t max) const;
  Result<uint32_t> count32(std::string_view key, uint32_t max) const;
  Result<std::optional<uint64_t>> optional_count(std::string_view key, uint64_t max) const;
  // Finite numbers above zero.
  Result<std::optional<double>> optional_positive(std::string_view key) const;
  Result<double> positive(std::string_view key) const;
  Result<bool> flag(std::string_view key, bool fallback) const;
  Result<std::optional<std::string>> optional_text(std::string_view key) const;
  // Finite numbers above zero.
  Result<std::vector<float>> positive_list(std::string_view key, size_t n_wanted) const;
  // nullopt where absent; corrupt where not an object.
  Result<std::optional<ConfigView>> section(std::string_view key) const;

 private:
  const nlohmann::json* object_;
  std::string where_;
};

// Where architectures differ in the names of what they have in common.
struct CommonKeys {
  std::string_view ffn = "intermediate_size", rope_theta = "rope_theta";
  double default_theta = 10000;
  bool has_gegelu = false;  // the activation is gegelu, and no other
};

// What all decoders have in common: sizes, context, sliding window, activation, rope,
// tied_embeddings (as the config says; false where it says nothing). The rest of Decoder keeps its
// defaults. Errors: corrupt (missing, absurd or contradictory numbers), unsupported (activation,
// rope kind).
Result<Decoder> common_decoder(const ConfigView& config, const CommonKeys& keys = {});

// Rope of a decoder whose head_size and context are known.
// Source: transformers, modeling_rope_utils (default, longrope); "su" is longrope's name in the
// first Phi-3-128k files.
Result<Rope> read_rope(const ConfigView& config, const CommonKeys& keys, uint32_t head_size,
                       uint64_t context);

}  // namespace phiquant
