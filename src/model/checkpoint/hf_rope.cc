// Rotary position embeddings as config.json states them.
#include <cmath>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "model/checkpoint/hf_config.h"

namespace phiquant {
namespace {

constexpr uint64_t kMaxOriginalContext = uint64_t{1} << 30;

// Old files have rope_scaling beside rope_theta; newer ones put all of it into rope_parameters.
struct RopeSource {
  ConfigView top;
  std::optional<ConfigView> scaling;

  // A number of the section or, failing that, of the whole config.
  Result<std::optional<double>> positive(std::string_view key) const {
    if (scaling && scaling->has(key)) return scaling->optional_positive(key);
    return top.optional_positive(key);
  }
  Result<std::optional<uint64_t>> count(std::string_view key, uint64_t max) const {
    if (scaling && scaling->has(key)) return scaling->optional_count(key, max);
    return top.optional_count(key, max);
  }
};

Result<RopeSource> rope_source(const ConfigView& config) {
  PHIQUANT_ASSIGN(std::optional<ConfigView> scaling, config.section("rope_parameters"));
  if (!scaling) {
    PHIQUANT_ASSIGN(scaling, config.section("rope_scaling"));
  }
  return RopeSource{config, scaling};
}

Result<std::string> rope_kind(const RopeSource& source) {
  if (!source.scaling) return std::string("default");
  PHIQUANT_ASSIGN(auto kind, source.scaling->optional_text("rope_type"));
  if (!kind) {
    PHIQUANT_ASSIGN(kind, source.scaling->optional_text("type"));
  }
  return kind.value_or("default");
}

// Longrope's scale of cos and sin: what the config states, or the paper's formula. `factor` is the
// context's growth.
Result<double> attention_factor(const RopeSource& source, uint64_t context, uint64_t original) {
  PHIQUANT_ASSIGN(const auto stated, source.scaling->optional_positive("attention_factor"));
  if (stated) return *stated;
  PHIQUANT_ASSIGN(const auto stated_growth, source.scaling->optional_positive("factor"));
  const double growth =
      stated_growth.value_or(static_cast<double>(context) / static_cast<double>(original));
  if (growth <= 1) return 1.0;
  return std::sqrt(1 + std::log(growth) / std::log(static_cast<double>(original)));
}

Result<void> read_longrope(const RopeSource& source, uint64_t context, Rope& rope) {
  const ConfigView& scaling = *source.scaling;
  PHIQUANT_ASSIGN(const auto original,
                  source.count("original_max_position_embeddings", kMaxOriginalContext));
  if (!original) return source.top.missing("original_max_position_embeddings");
  if (*original < 2)
    return source.top.error(Errc::corrupt,
                            "'original_max_position_embeddings' is 1, wanted at least 2");
  rope.original_context = *original;
  rope.long_branch.emplace();
  PHIQUANT_ASSIGN(rope.short_branch.factors, scaling.positive_list("short_factor", rope.dims / 2));
  PHIQUANT_ASSIGN(rope.long_branch->factors, scaling.positive_list("long_factor", rope.dims / 2));
  PHIQUANT_ASSIGN(const double factor, attention_factor(source, context, *original));
  PHIQUANT_ASSIGN(const auto short_mscale, scaling.optional_positive("short_mscale"));
  PHIQUANT_ASSIGN(const auto long_mscale, scaling.optional_positive("long_mscale"));
  rope.short_branch.attention_factor = static_cast<float>(short_mscale.value_or(factor));
  rope.long_branch->attention_factor = static_cast<float>(long_mscale.value_or(factor));
  return {};
}

}  // namespace

Result<Rope> read_rope(const ConfigView& config, const CommonKeys& keys, uint32_t head_size,
                       uint64_t context) {
  PHIQUANT_ASSIGN(const RopeSource source, rope_source(config));
  Rope rope;
  PHIQUANT_ASSIGN(const auto theta, source.positive(keys.rope_theta));
  rope.theta = theta.value_or(keys.default_theta);
  PHIQUANT_ASSIGN(const auto partial, source.positive("partial_rotary_factor"));
  const double dims = std::floor(head_size * partial.value_or(1));
  if (dims > head_size || dims < 2 || std::fmod(dims, 2) != 0)
    return config.error(Errc::corrupt,
                        fmt::format("partial_rotary_factor {} of a head of {} rotates {} "
                                    "dimensions, wanted an even number from 2 to {}",
                                    partial.value_or(1), head_size, dims, head_size));
  rope.dims = static_cast<uint32_t>(dims);
  PHIQUANT_ASSIGN(const std::string kind, rope_kind(source));
  if (kind == "longrope" || kind == "su") {
    PHIQUANT_TRY(read_longrope(source, context, rope));
  } else if (kind == "default") {
    rope.short_branch.factors.assign(rope.dims / 2, 1.0f);
  } else {
    return config.error(
        Errc::unsupported,
        fmt::format("unknown rope type '{}' (known: default, longrope, su)", printable(kind)));
  }
  return rope;
}

}  // namespace phiquant
