#include "format/mlx_policy.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/glob.h"

namespace phiquant::format {
namespace {

constexpr MlxScheme kSchemes[] = {
    {"affine2", "2 bits, a scale and an offset for each group", "affine", 2},
    {"affine3", "3 bits, likewise", "affine", 3},
    {"affine4", "4 bits, likewise: what int4 makes", "affine", 4},
    {"affine5", "5 bits, likewise", "affine", 5},
    {"affine6", "6 bits, likewise", "affine", 6},
    {"affine8", "8 bits, likewise: what int8 makes", "affine", 8, 0, 64, Precision::int8},
    {"mxfp4", "E2M1 floats, a power of two for each 32", "mxfp4", 4, 0, 32},
    {"nvfp4", "E2M1 floats, an E4M3 scale for each 16", "nvfp4", 4, 0, 16},
    {"mxfp8", "E4M3 floats, a power of two for each 32", "mxfp8", 8, 0, 32, Precision::int8},
    {"mixed_2_6", "affine 2 bits, 6 for sensitive layers", "affine", 2, 6},
    {"mixed_3_4", "affine 3 bits, 4 for sensitive layers", "affine", 3, 4},
    {"mixed_3_6", "affine 3 bits, 6 for sensitive layers", "affine", 3, 6},
    {"mixed_4_6", "affine 4 bits, 6 for sensitive layers", "affine", 4, 6},
};

Error usage(std::string message) { return {Errc::usage, std::move(message)}; }

bool is_integer(Precision p) { return p == Precision::int4 || p == Precision::int8; }

// The scheme that the options name; nullptr where nothing is to be quantized.
Result<const MlxScheme*> chosen_scheme(const QuantizeOptions& o) {
  if (o.scheme.empty()) {
    if (!is_integer(o.precision)) return static_cast<const MlxScheme*>(nullptr);
    return find_mlx_scheme(o.precision == Precision::int8 ? "affine8" : "affine4");
  }
  if (const MlxScheme* scheme = find_mlx_scheme(o.scheme)) return scheme;
  return usage(fmt::format("--scheme {}: is not one of MLX (see 'phiquant list')", o.scheme));
}

Result<void> check_options(const QuantizeOptions& o) {
  const std::pair<bool, const char*> meaningless[] = {
      {o.target != Target::cpu, "--target"},
      {o.style == Style::qdq, "--style qdq"},
      {o.search, "--search"},
      {o.symmetric.has_value(), "--symmetric and --asymmetric"},
      {o.accuracy_level.has_value(), "--accuracy-level"},
      {o.mixed_layers, "--mixed-layers (there is --scheme mixed_4_6)"},
      {!o.op_block_list.empty(), "--op-block-list"},
      {!o.imatrix.empty(), "--imatrix"},
      {!o.tensor_types.empty() || !o.token_embedding_type.empty() ||
           !o.output_tensor_type.empty() || o.pure || o.via_f16,
       "the options of GGUF"},
  };
  for (const auto& [given, name] : meaningless)
    if (given) return usage(fmt::format("{}: not for --format mlx (leave it out)", name));
  return {};
}

Result<MlxMode> base_mode(const MlxScheme& s, const QuantizeOptions& o) {
  const uint32_t group = o.block_size.value_or(s.group_size);
  const bool affine = s.mode == "affine";
  if (affine ? group != 32 && group != 64 && group != 128 : group != s.group_size)
    return usage(fmt::format("--block-size {}: {} has groups of {}", group, s.name,
                             affine ? "32, 64 or 128" : std::to_string(s.group_size)));
  return MlxMode{find_row_scheme(RowFamily::mlx, s.mode), s.bits, group};
}

// What --embeddings and --lm-head name: of the affine modes with the scheme's group, of the float
// modes the one with such codes.
MlxMode table_mode(TableBits bits, const MlxMode& base) {
  const bool eight = bits == TableBits::int8;
  if (base.scheme->name == "affine") return {base.scheme, eight ? 8u : 4u, base.group_size};
  if (!eight && base.bits == 4) return base;
  return {find_row_scheme(RowFamily::mlx, eight ? "mxfp8" : "mxfp4"), eight ? 8u : 4u, 32};
}

// The layers whose value and down projections get more bits in a mixed scheme. Source: mlx_lm
// 0.32.2, convert.py, mixed_quant_predicate_builder (after llama.cpp); the divisions are whole.
bool is_sensitive(int32_t layer, uint32_t n_layers) {
  const auto n = static_cast<int32_t>(n_layers), eighth = n / 8;
  return layer < eighth || layer >= 7 * n / 8 || (layer - eighth) % 3 == 2;
}

class Chooser {
 public:
  Chooser(const QuantizeOptions& o, const MlxScheme& scheme, const MlxMode& base,
          const Decoder& decoder, bool tied, const std::set<std::string>& keep_float)
      : o_(o), scheme_(scheme), base_(base), decoder_(decoder), tied_(tied), keep_(keep_float) {}

  MlxChoice choose(const MlxModule& m) const {
    if (!is_mlx_linear(m.role)) return {};
    const auto kept = [](std::string why) { return MlxChoice{std::nullopt, std::move(why), true}; };
    if (keep_.contains(m.weight.name)) return kept("holds NaN or infinity");
    if (excluded(m)) return kept("--include and --exclude");
    const TableBits bits = table_bits(m.role);
    if (bits == TableBits::keep) return kept(m.role == Role::embed ? "--embeddings" : "--lm-head");
    if (m.role == Role::router && !exact())
      return kept("its choice of experts is kept exact (--uniform to change)");
    MlxMode mode = base_;
    std::string reason;
    if (bits != TableBits::automatic) {
      mode = table_mode(bits, base_);
    } else if (gets_high_bits(m)) {
      mode.bits = scheme_.high_bits;
      reason = "sensitive";
    }
    if (m.weight.shape.back() % mode.group_size != 0)
      return {std::nullopt,
              fmt::format("rows of {} do not divide by {}", m.weight.shape.back(), mode.group_size),
              false};
    return {mode, reason, scheme_.high_bits != 0 || mode != base_};
  }

  static bool matches(const std::vector<std::string>& patterns, const MlxModule& m) {
    return glob_match_any(patterns, m.path) || glob_match_any(patterns, m.path + ".weight") ||
           glob_match_any(patterns, m.weight.name);
  }

 private:
  // Whether mlx_lm's own choices are wanted.
  bool exact() const { return o_.uniform || o_.recipe == Recipe::builder; }
  bool excluded(const MlxModule& m) const {
    return matches(o_.exclude, m) || (!o_.include.empty() && !matches(o_.include, m));
  }
  TableBits table_bits(Role role) const {
    if (role == Role::lm_head) return o_.lm_head;
    if (role != Role::embed) return TableBits::automatic;
    return tied_ && o_.embeddings == TableBits::automatic ? o_.lm_head : o_.embeddings;
  }
  bool gets_high_bits(const MlxModule& m) const {
    if (scheme_.high_bits == 0) return false;
    switch (m.role) {
      case Role::lm_head:
        return true;
      case Role::embed:  // is the lm_head, where tied
        return tied_ && !exact();
      case Role::attn_qkv:  // mlx_lm looks for "v_proj", which is a part of "qkv_proj"
        if (exact() && m.path.find("v_proj") == std::string::npos) return false;
        [[fallthrough]];
      case Role::attn_v:
      case Role::mlp_down:
      case Role::expert_down:
        return is_sensitive(m.layer, decoder_.n_layers);
      default:
        return false;
    }
  }

  const QuantizeOptions& o_;
  const MlxScheme& scheme_;
  const MlxMode& base_;
  const Decoder& decoder_;
  bool tied_;
  const std::set<std::string>& keep_;
};

Result<void> check_globs(const QuantizeOptions& o, const std::vector<MlxModule>& modules) {
  for (const std::string& pattern : o.include) {
    const bool found = std::any_of(modules.begin(), modules.end(), [&](const MlxModule& m) {
      return is_mlx_linear(m.role) && Chooser::matches({pattern}, m);
    });
    if (!found)
      return usage(
          fmt::format("--include '{}': matches no weight that can be quantized (names "
                      "look like '{}')",
                      pattern, modules.size() > 1 ? modules[1].path : "lm_head"));
  }
  return {};
}

}  // namespace

std::span<const MlxScheme> mlx_schemes() { return kSchemes; }

const MlxScheme* find_mlx_scheme(std::string_view name) {
  for (const MlxScheme& scheme : kSchemes)
    if (scheme.name == name) return &scheme;
  return nullptr;
}

Result<MlxPlanning> plan_modes(const QuantizeOptions& o, const Decoder& decoder, bool tied,
                               const std::vector<MlxModule>& modules,
                               const std::set<std::string>& keep_float) {
  PHIQUANT_TRY(check_options(o));
  MlxPlanning plan;
  plan.choices.resize(modules.size());
  PHIQUANT_ASSIGN(const MlxScheme* scheme, chosen_scheme(o));
  if (!scheme) return plan;
  if (tied && o.embeddings != TableBits::automatic && o.lm_head != TableBits::automatic &&
      o.embeddings != o.lm_head)
    return usage("--embeddings and --lm-head: are one table in this model (leave one out)");
  PHIQUANT_TRY(check_globs(o, modules));
  PHIQUANT_ASSIGN(plan.base, base_mode(*scheme, o));
  const Chooser chooser(o, *scheme, *plan.base, decoder, tied, keep_float);
  for (size_t i = 0; i < modules.size(); ++i) plan.choices[i] = chooser.choose(modules[i]);
  return plan;
}

}  // namespace phiquant::format
