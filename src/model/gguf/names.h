// Names of a decoder's tensors in GGUF, shared by reader and writer. Source: llama.cpp's
// gguf-py/gguf/constants.py, for the architectures phi2, phi3 and phimoe.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/checkpoint.h"

namespace phiquant {

// "blk.3.attn_qkv.weight", "output.bias". Experts of a layer share one tensor, and so one name.
// "" for roles that have none.
std::string gguf_name(const WeightKey& key);

// The reverse; `gated`: the model's ffn_up holds the gate's rows too. A stack of experts has the
// key of the first one. nullopt for other names.
std::optional<WeightKey> gguf_weight_key(std::string_view name, bool gated);

// The weight that a tensor of any architecture counts as where types are chosen: that of
// gguf_weight_key(), norms under whatever name, and the few other names that llama-quantize looks
// at.
std::optional<WeightKey> gguf_slot_key(std::string_view name);

constexpr const char* kGgufRopeLong = "rope_factors_long.weight";
constexpr const char* kGgufRopeShort = "rope_factors_short.weight";

}  // namespace phiquant
