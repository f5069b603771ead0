#include "format/genai_policy.h"

#include <cmath>

#include <fmt/format.h>

#include "core/glob.h"

namespace phiquant::format {

using Part = phiquant::Role;

namespace {

// ---- Defaults under int4, one line each ----

struct Default {
  std::string_view model_type;
  bool (*applies)(const Decoder&);
  Part role;
  unsigned bits;
  std::string_view reason;
};

bool always(const Decoder&) { return true; }
bool is_tied(const Decoder& d) { return d.tied_embeddings; }

constexpr std::string_view kLogits =
    "4-bit logits cost more than all other layers together (--uniform to change)";

constexpr Default kDefaults[] = {
    {"phi", always, Part::lm_head, 8, kLogits},
    {"phi3", always, Part::lm_head, 8, kLogits},
    // Phi-4-mini, the phi3 with tied embeddings: repeats itself with 4-bit down projections; its
    // hidden states carry large constants, which a rounding error of those weights multiplies.
    {"phi3", is_tied, Part::mlp_down, 8,
     "tied embeddings (Phi-4-mini): 4-bit down projections make it repeat itself (--uniform to "
     "change)"},
    {"phimoe", always, Part::lm_head, 8, kLogits},
    {"phi3small", always, Part::lm_head, 8, kLogits},
};

// Layers whose qkv and down projections a mixed recipe lifts to 8 bits: the first and last eighth,
// and every third between. Rule: onnxruntime-genai 0.18's model builder, mixed_layers (after
// llama.cpp); its division is real and its rounding half to even.
bool is_sensitive(int32_t layer, uint32_t n_layers) {
  const double n = n_layers, i = layer;
  const auto eighth = static_cast<int32_t>(std::nearbyint(n / 8));
  const int32_t phase = ((layer - eighth) % 3 + 3) % 3;
  return i < n / 8 || i >= 7 * n / 8 || phase == 2;
}

bool excluded(const QuantizeOptions& o, const std::string& node) {
  const std::string weight = dotted(node) + ".weight";
  const auto matches = [&](const std::vector<std::string>& patterns) {
    return glob_match_any(patterns, node) || glob_match_any(patterns, weight);
  };
  return matches(o.exclude) || (!o.include.empty() && !matches(o.include));
}

unsigned head_bits(const QuantizeOptions& o) {
  if (o.lm_head == TableBits::keep || excluded(o, "/lm_head/MatMul")) return 0;
  if (o.lm_head == TableBits::int8 || o.precision == Precision::int8) return 8;
  if (o.lm_head == TableBits::int4 || o.uniform || o.recipe == Recipe::builder) return 4;
  return 8;
}

}  // namespace

QuantizeOptions settle(const QuantizeOptions& options, const TargetInfo& target,
                       const Decoder& decoder) {
  QuantizeOptions o = options;
  if (o.recipe == Recipe::builder) o.uniform = true;
  const Scheme* scheme = o.scheme.empty() ? nullptr : find_block_scheme(o.scheme);
  const bool makes_nbits = o.style == Style::contrib &&
                           (o.scheme.empty() || (scheme && scheme->packing == Packing::nbits));
  if (!o.accuracy_level && makes_nbits) o.accuracy_level = target.accuracy_level;
  // The builder takes the Gather of tied embeddings for a weight of its own once the lm_head stays
  // float.
  const bool builder_table = o.recipe == Recipe::builder && decoder.tied_embeddings &&
                             o.precision == Precision::int4 && head_bits(o) == 0;
  if (builder_table && o.embeddings == TableBits::automatic && o.style == Style::contrib)
    o.embeddings = TableBits::int4;
  return o;
}

std::map<std::string, NodeBits> node_bits(const GraphWriter& w, const QuantizeOptions& o) {
  std::map<std::string, NodeBits> out;
  if (o.precision != Precision::int4) return out;
  for (const auto& [name, linear] : w.linears()) {
    if (linear.role == Part::lm_head && o.lm_head != TableBits::automatic) continue;  // as asked
    const bool mixes = linear.role == Part::attn_qkv || linear.role == Part::attn_v ||
                       linear.role == Part::mlp_down;
    if (o.mixed_layers && mixes && is_sensitive(linear.layer, w.decoder.n_layers))
      out[name] = {8, "--mixed-layers"};
    if (o.uniform) continue;
    for (const Default& d : kDefaults)
      if (d.model_type == w.checkpoint.model_type && d.role == linear.role && d.applies(w.decoder))
        out[name] = {d.bits, std::string(d.reason)};
  }
  // Where 8 bits are wanted and the target has none.
  if (w.target.fixed_shapes)
    for (auto& [name, bits] : out)
      if (bits.bits == 8) bits = {0, fmt::format("{} has no 8-bit weights", w.target.name)};
  return out;
}

EmbeddingPlan embedding_plan(const Decoder& decoder, const QuantizeOptions& o) {
  if (!decoder.tied_embeddings || o.target == Target::qnn) return {};
  if (o.precision != Precision::int4 && o.precision != Precision::int8)
    return {EmbeddingForm::shared, false};
  if (o.style == Style::qdq || o.embeddings == TableBits::keep) return {};
  const unsigned head = head_bits(o);
  if (o.embeddings == TableBits::automatic) {
    // The builder shares codes under int4 only.
    if (o.recipe == Recipe::builder && (o.precision == Precision::int8 || head == 0)) return {};
    return {EmbeddingForm::shared, head != 0};
  }
  const unsigned wanted = o.embeddings == TableBits::int4 ? 4 : 8;
  return wanted == head ? EmbeddingPlan{EmbeddingForm::shared, true} : EmbeddingPlan{};
}

}  // namespace phiquant::format
