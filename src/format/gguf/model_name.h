// What a model's id says about it: "microsoft/Phi-3.5-mini-instruct" is Phi-3.5, of Microsoft,
// mini, an instruct finetune.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace phiquant::format {

// "" where the id does not say.
struct ModelId {
  std::string name;  // without the organization, as it stands
  std::string organization, basename, finetune, version, size_label;
};

// Takes "<organization>/<name>" or "<name>" apart. A part such as "4k" that is far from n_params is
// a context length and belongs to the finetune.
// Source: llama.cpp b11434, gguf-py/gguf/metadata.py, get_model_id_components.
ModelId parse_model_id(std::string_view id, uint64_t n_params);

// "phi-4_tiny" -> "Phi 4_Tiny": words of lower case get capitals, but versions and numbers do not.
std::string title_of_id(std::string_view id);

// "3.8B", "923K", and "16x4.9B" for experts.
//   n_shared, n_expert   parameters outside the experts, and of one of each of the experts
//   n_experts            0 for a dense model, whose parameters are all shared
// Source: the same, gguf-py/gguf/utility.py, size_label.
std::string size_label(uint64_t n_shared, uint64_t n_expert, uint64_t n_experts);

}  // namespace phiquant::format
