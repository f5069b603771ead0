// Weights that 4 bits ruin: which get more, and why. Rules read the decoder's block, never a
// model's name.
#pragma once

#include <optional>
#include <string>

#include "decide/slot.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"

namespace phiquant {

struct Protection {
  unsigned bits = 8;
  std::string reason;
};

// What a slot is to get instead of 4 bits. `decoder`: null where the model is a graph of which only
// roles are known.
std::optional<Protection> protection(const Slot& slot, const Decoder* decoder,
                                     const Recipe& recipe);

// Layers whose qkv and down projections a mixed recipe lifts: the first and last eighth, and every
// third between. Rule: onnxruntime-genai 0.18's model builder, mixed_layers (after llama.cpp); its
// division is real and its rounding half to even.
bool is_sensitive_layer(int32_t layer, uint32_t n_layers);

}  // namespace phiquant
