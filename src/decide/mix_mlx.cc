#include "decide/mix_mlx.h"

#include <fmt/format.h>

namespace phiquant {
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

// The scheme that the recipe names; nullptr where nothing is to be quantized.
Result<const MlxScheme*> chosen_scheme(const Recipe& r) {
  if (r.scheme.empty()) {
    if (r.precision == Precision::int4) return find_mlx_scheme("affine4");
    if (r.precision == Precision::int8) return find_mlx_scheme("affine8");
    return static_cast<const MlxScheme*>(nullptr);
  }
  if (const MlxScheme* scheme = find_mlx_scheme(r.scheme)) return scheme;
  return usage(fmt::format("--scheme {}: is not one of MLX (see 'phiquant list')", r.scheme));
}

Choice mode(std::string_view name, unsigned bits, uint32_t group_size) {
  Choice c;
  c.encoding = find_encoding(Layout::mlx, name);
  c.params = {bits, group_size, false, true};
  c.method = &peer_method();
  return c;
}

// What --embeddings and --lm-head name: of the affine modes with the scheme's group, of the float
// modes the one with such codes.
Choice table_mode(TableBits bits, const Choice& base) {
  const bool eight = bits == TableBits::int8;
  if (base.encoding->name == "affine")
    return mode("affine", eight ? 8u : 4u, base.params.block_size);
  if (!eight && base.params.bits == 4) return base;
  return mode(eight ? "mxfp8" : "mxfp4", eight ? 8u : 4u, 32);
}

// The layers whose value and down projections get more bits in a mixed scheme. Source: mlx_lm
// 0.32.2, convert.py, mixed_quant_predicate_builder (after llama.cpp); the divisions are whole.
bool is_sensitive(int32_t layer, uint32_t n_layers) {
  const auto n = static_cast<int32_t>(n_layers), eighth = n / 8;
  return layer < eighth || layer >= 7 * n / 8 || (layer - eighth) % 3 == 2;
}

class MlxRule {
 public:
  MlxRule(const Recipe& recipe, const MlxScheme& scheme, Choice base, const Decoder& decoder,
          bool tied)
      : r_(recipe), scheme_(scheme), base_(std::move(base)), decoder_(decoder), tied_(tied) {}

  Choice operator()(const Slot& slot) const {
    if (slot.kind == SlotKind::vector) return {};
    const TableBits bits = table_bits(slot);
    if (bits == TableBits::keep)
      return stay_float(slot.is(Role::embed) ? "--embeddings" : "--lm-head", true);
    if (slot.is(Role::router) && !exact())
      return stay_float("its choice of experts is kept exact (--no-protect to change)", true);
    Choice c = base_;
    if (bits != TableBits::automatic) {
      c = table_mode(bits, base_);
    } else if (gets_high_bits(slot)) {
      c.params.bits = scheme_.high_bits;
      c.reason = "sensitive";
    }
    c.is_override =
        scheme_.high_bits != 0 || c.encoding != base_.encoding || c.params != base_.params;
    return c;
  }

 private:
  // Whether mlx_lm's own choices are wanted.
  bool exact() const { return !r_.protect || r_.defaults == Defaults::builder; }

  TableBits table_bits(const Slot& slot) const {
    if (slot.is(Role::lm_head)) return r_.lm_head;
    if (!slot.is(Role::embed)) return TableBits::automatic;
    return tied_ && r_.embeddings == TableBits::automatic ? r_.lm_head : r_.embeddings;
  }

  bool gets_high_bits(const Slot& slot) const {
    if (scheme_.high_bits == 0) return false;
    switch (slot.key->role) {
      case Role::lm_head:
        return true;
      case Role::embed:  // is the lm_head, where tied
        return tied_ && !exact();
      case Role::attn_qkv:
        // mlx_lm looks for "v_proj" in a module's name: that is a part of "qkv_proj", but not of
        // "query_key_value", as the class with grouped rows calls it.
        if (exact() && decoder_.block_sparse) return false;
        [[fallthrough]];
      case Role::attn_v:
      case Role::mlp_down:
      case Role::expert_down:
        return is_sensitive(slot.key->layer, decoder_.n_layers);
      default:
        return false;
    }
  }

  const Recipe& r_;
  const MlxScheme& scheme_;
  Choice base_;
  const Decoder& decoder_;
  bool tied_;
};

Result<Choice> base_of(const MlxScheme& s, const Recipe& r) {
  const uint32_t group = r.block_size.value_or(s.group_size);
  const bool affine = s.mode == "affine";
  if (affine ? group != 32 && group != 64 && group != 128 : group != s.group_size)
    return usage(fmt::format("--block-size {}: {} has groups of {}", group, s.name,
                             affine ? "32, 64 or 128" : std::to_string(s.group_size)));
  return mode(s.mode, s.bits, group);
}

Choice fit(const Slot& slot, Choice c) {
  if (c.is_float() || slot.k % c.params.block_size == 0) return c;
  return stay_float(fmt::format("rows of {} do not divide by {}", slot.k, c.params.block_size));
}

}  // namespace

std::span<const MlxScheme> mlx_schemes() { return kSchemes; }

const MlxScheme* find_mlx_scheme(std::string_view name) {
  for (const MlxScheme& scheme : kSchemes)
    if (scheme.name == name) return &scheme;
  return nullptr;
}

Result<std::optional<Choice>> mlx_base(const Recipe& recipe) {
  PHIQUANT_ASSIGN(const MlxScheme* scheme, chosen_scheme(recipe));
  if (!scheme) return std::optional<Choice>();
  PHIQUANT_ASSIGN(Choice base, base_of(*scheme, recipe));
  return std::optional(std::move(base));
}

Result<Capability> mlx_capability(const Recipe& recipe, const Decoder& decoder, bool tied) {
  PHIQUANT_ASSIGN(const MlxScheme* scheme, chosen_scheme(recipe));
  if (!scheme)
    return Capability{[](const Slot&, const Choice*) -> Result<Choice> { return Choice{}; },
                      nullptr};
  if (tied && recipe.embeddings != TableBits::automatic && recipe.lm_head != TableBits::automatic &&
      recipe.embeddings != recipe.lm_head)
    return usage("--embeddings and --lm-head: are one table in this model (leave one out)");
  PHIQUANT_ASSIGN(Choice base, base_of(*scheme, recipe));
  return Capability{[rule = MlxRule(recipe, *scheme, std::move(base), decoder, tied)](
                        const Slot& slot, const Choice*) -> Result<Choice> { return rule(slot); },
                    [](const Slot& slot, Choice choice) -> Result<Choice> {
                      return fit(slot, std::move(choice));
                    }};
}

}  // namespace phiquant
