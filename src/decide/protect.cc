#include "decide/protect.h"

#include <cmath>

namespace phiquant {
namespace {

// ---- One line for each rule ----

struct Rule {
  Role role;
  bool (*applies)(const Decoder* decoder);
  std::string_view reason;
};

bool always(const Decoder*) { return true; }

// Phi-4-mini's block: its hidden states carry large constants, which a rounding error of the down
// projections multiplies. Phi-3-small, tied too, has no gated MLP and clamps its activations.
bool is_tied_and_gated(const Decoder* d) { return d && d->tied_embeddings && d->gated_mlp; }

constexpr Rule kRules[] = {
    {Role::mlp_down, is_tied_and_gated,
     "tied embeddings (Phi-4-mini): 4-bit down projections make it repeat itself (--no-protect to "
     "change)"},
    {Role::lm_head, always,
     "4-bit logits cost more than all other layers together (--no-protect to change)"},
};

bool is_mixed(Role role) {
  return role == Role::attn_qkv || role == Role::attn_v || role == Role::mlp_down;
}

}  // namespace

std::optional<Protection> protection(const Slot& slot, const Decoder* decoder,
                                     const Recipe& recipe) {
  if (!slot.key || recipe.precision != Precision::int4) return std::nullopt;
  if (recipe.protect && recipe.defaults == Defaults::ours)
    for (const Rule& rule : kRules)
      if (slot.is(rule.role) && rule.applies(decoder))
        return Protection{8, std::string(rule.reason)};
  if (recipe.mixed_layers && decoder && is_mixed(slot.key->role) &&
      is_sensitive_layer(slot.key->layer, decoder->n_layers))
    return Protection{8, "--mixed-layers"};
  return std::nullopt;
}

bool is_sensitive_layer(int32_t layer, uint32_t n_layers) {
  const double n = n_layers, i = layer;
  const auto eighth = static_cast<int32_t>(std::nearbyint(n / 8));
  const int32_t phase = ((layer - eighth) % 3 + 3) % 3;
  return i < n / 8 || i >= 7 * n / 8 || phase == 2;
}

}  // namespace phiquant
