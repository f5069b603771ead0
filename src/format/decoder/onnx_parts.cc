#include "format/decoder/onnx_parts.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/input_file.h"

namespace phiquant::format {
namespace {

bool scales_logits(const Decoder& d) { return d.logit_scale != 1 || !d.unused_tokens.empty(); }

// Logits of float32 or float16 times the model's scale; those of unused tokens become the lowest
// number.
void scale_logits(GraphWriter& w, std::string logits, DType dtype) {
  const Decoder& d = w.decoder;
  if (d.logit_scale != 1)
    logits = w.add("Mul", "/lm_head/Mul", {logits, w.scalar(dtype, d.logit_scale)});
  if (d.unused_tokens.empty()) return;
  std::string is_unused(d.vocab, '\0');
  for (const uint32_t id : d.unused_tokens) is_unused[id] = 1;
  const std::string mask =
      w.table("logits_mask",
              {"logits_mask", DType::boolean, {d.vocab}, memory_source(std::move(is_unused))});
  const float lowest = dtype == DType::f16 ? -65504.0f : std::numeric_limits<float>::lowest();
  w.add("Where", "/lm_head/Where", {mask, w.scalar(dtype, lowest), logits});
}

}  // namespace

float attention_scale(const Decoder& d) {
  return d.attention_scale.value_or(
      static_cast<float>(1.0 / std::sqrt(static_cast<double>(d.head_size))));
}

std::string norm_path(const Decoder& d, Role role, int32_t layer) {
  switch (role) {
    case Role::attn_norm:
      return fmt::format("layers.{}/input_layernorm", layer);
    case Role::mlp_norm:
      return fmt::format("layers.{}/post_attention_layernorm", layer);
    default:
      return fmt::format("layers.{}/final_norm_layernorm", d.n_layers);
  }
}

std::string write_embedding(GraphWriter& w) {
  const std::string rows = w.embedding("input_ids");
  if (w.decoder.embedding_scale == 1) return rows;
  return w.add("Mul", "/model/embed_tokens/Mul", {rows, w.float_scalar(w.decoder.embedding_scale)});
}

void write_head(GraphWriter& w, const std::string& input) {
  // GenAI samples from float32 or float16 logits.
  const bool widens = w.io == DType::bf16, is_last = !widens && !scales_logits(w.decoder);
  std::string out = w.linear({Role::lm_head}, input, is_last ? "logits" : "");
  if (is_last) return;
  if (widens) out = w.cast("/lm_head/Cast", out, DType::f32);
  scale_logits(w, out, widens ? DType::f32 : w.io);
  // The last node's output is the graph's.
  w.graph().mutable_node(w.graph().node_size() - 1)->set_output(0, "logits");
}

}  // namespace phiquant::format
