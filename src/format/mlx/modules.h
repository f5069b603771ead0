// The modules of mlx_lm's Phi models, as its folders name them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/checkpoint.h"
#include "phiquant/error.h"

namespace phiquant::format {

// A module with a weight. `pattern`: its path, {} for the layer. `bias`: it has a bias, always.
struct MlxModuleRule {
  std::string_view pattern;
  Role role;
  bool bias = false;
};

// Whether a class takes the embedding table for its lm_head.
enum class MlxTying : uint8_t {
  never,
  stated,  // where tie_word_embeddings says so
  always,  // it has no lm_head, and does not ask
};

// A model class of mlx_lm: its modules in the order of its parameters, those outside the layers
// before and behind them.
struct MlxModel {
  std::string_view model_type, class_name;
  std::span<const MlxModuleRule> before, layer, behind;
  MlxTying tying = MlxTying::never;
  bool groups_qkv = false;    // attn_qkv has the rows of q, k and v of a key head together
  bool is_code_only = false;  // transformers has no such class: auto_map would run Python files
};

// The class that computes such a decoder.
const MlxModel& mlx_model(const Decoder& decoder);

// Errors: unsupported, where that class would compute something else than the decoder.
Result<void> check_mlx_class(const Checkpoint& checkpoint);

struct MlxModule {
  std::string path;  // "model.layers.0.self_attn.qkv_proj"
  Role role = Role::ignored;
  int32_t layer = -1;
  SourceTensor weight;             // [out, in]; experts [experts, out, in]; norms [hidden]
  std::vector<SourceTensor> bias;  // one or none
};

// The checkpoint's weights as modules, in order: experts of a layer stacked, separate q, k and v
// (gate and up) joined where the class has them fused. `tied`: without lm_head; otherwise a tied
// table is there twice. Errors: unsupported, where the class has no place for a bias that is there,
// or wants one that is not.
Result<std::vector<MlxModule>> mlx_modules(const Checkpoint& checkpoint, bool tied);

// Whether the role is a matrix that mlx_lm can quantize.
bool is_mlx_linear(Role role);

}  // namespace phiquant::format
