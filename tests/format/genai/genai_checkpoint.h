// A small checkpoint in memory: every weight a decoder needs, filled with a pattern.
#pragma once

#include <string>

#include "core/input_file.h"
#include "model/checkpoint.h"
#include "phiquant/phiquant.h"

namespace phiquant::format {

inline SourceTensor pattern(const std::string& name, Shape shape) {
  const uint64_t n = *element_count(shape);
  std::string bytes;
  for (uint64_t i = 0; i < n; ++i) {
    const float value = static_cast<float>((i * 7919 + name.size() * 31) % 257) / 128.0f - 1.0f;
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return {name, DType::f32, std::move(shape), memory_source(bytes)};
}

inline Request request(Precision precision, Target target = Target::cpu) {
  Request o;
  o.source.path = "small";
  o.output.path = "out";
  o.recipe.precision = precision;
  o.output.onnx.target = target;
  return o;
}

// A phi3 block: RMS norm, fused qkv and gate_up, longrope, two layers of width 64 with two heads.
inline Checkpoint small_checkpoint() {
  Checkpoint c;
  c.folder = "small";
  c.architecture = "Phi3ForCausalLM";
  c.model_type = "phi3";
  c.dtype = DType::f32;
  Decoder& d = c.decoder;
  d.n_layers = 2;
  d.hidden = 64;
  d.n_heads = d.n_kv_heads = 2;
  d.head_size = 32;
  d.ffn = 96;
  d.vocab = 128;
  d.context = 256;
  d.rope.dims = 32;
  d.rope.original_context = 64;
  d.rope.short_branch.factors.assign(16, 1.0f);
  d.rope.long_branch.emplace();
  d.rope.long_branch->factors.assign(16, 2.0f);
  d.rope.long_branch->attention_factor = 1.25f;
  const auto put = [&](Role role, int32_t layer, Shape shape, bool bias = false) {
    const std::string name =
        std::string(role_name(role)) + std::to_string(layer) + (bias ? ".bias" : "");
    c.weights[{role, layer, -1, bias}] = pattern(name, std::move(shape));
  };
  put(Role::embed, -1, {128, 64});
  put(Role::final_norm, -1, {64});
  put(Role::lm_head, -1, {128, 64});
  for (int32_t i = 0; i < 2; ++i) {
    put(Role::attn_norm, i, {64});
    put(Role::attn_qkv, i, {192, 64});
    put(Role::attn_out, i, {64, 64});
    put(Role::mlp_norm, i, {64});
    put(Role::mlp_gate_up, i, {192, 64});
    put(Role::mlp_down, i, {64, 96});
  }
  c.tokens.eos = {3};
  c.config_json = R"({"eos_token_id": 3, "bos_token_id": 1})";
  c.generation_config_json = R"({"eos_token_id": [3, 4], "pad_token_id": 3, "temperature": 0.5})";
  return c;
}

}  // namespace phiquant::format
