// Which type each tensor of a GGUF file gets: the file types ("mixes") of llama-quantize. Source:
// llama.cpp's src/llama-quant.cpp, release b11434 (llama_tensor_get_type and what it calls), for
// the file types of the table and the tensors that Phi models have.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "decide/capability.h"
#include "phiquant/error.h"
#include "phiquant/options.h"
#include "wire/gguf_types.h"

namespace phiquant {

struct GgufFileType {
  std::string_view name;     // as --scheme takes it
  std::string_view summary;  // one line for `phiquant list`
  uint32_t id;               // general.file_type
  GgmlType base;             // of tensors that no rule moves
  Precision nearest;         // what the report calls it
  bool is_default;           // what --precision alone chooses
};

// The table, in the order of `phiquant list`.
std::span<const GgufFileType> gguf_file_types();
// By name, letters of any case; nullptr where unknown.
const GgufFileType* find_gguf_file_type(std::string_view name);
const GgufFileType& default_gguf_file_type(Precision precision);
// What the recipe names. Errors: usage, for an unknown scheme, with the known ones.
Result<const GgufFileType*> gguf_file_type(const Recipe& recipe);

// What the rules ask about a model.
struct GgufMixModel {
  uint32_t n_layers = 0, n_heads = 0, n_kv_heads = 0, n_experts = 0;
};

// The type that a choice is stored in: of an encoding or of a float. `slot` of the choice.
GgmlType ggml_type_of(const Slot& slot, const Choice& choice);

// The rule of a recipe. `slots` are in the order of the file: the rules count layers as they pass.
// Errors: usage (names of types; an override that matches nothing, or whose type does not fit the
// rows and has no fallback).
Result<Capability> gguf_capability(std::span<const Slot> slots, const Recipe& recipe,
                                   const GgufMixModel& model);

}  // namespace phiquant
