// The tensors of a GGUF file before their types are chosen.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "decide/slot.h"
#include "model/checkpoint.h"
#include "wire/gguf_model.h"
#include "wire/gguf_types.h"

namespace phiquant {

struct GgufWeight {
  std::string name;
  // [out, in]; stacks of experts [experts, out, in]. Carries `name`; `floats.bytes` is null where
  // the stored type cannot be decoded.
  SourceTensor floats;
  GgmlType stored = kGgmlF32;               // the type it keeps where it is not quantized
  std::shared_ptr<const ByteSource> bytes;  // in that type; null: made from `floats`
  std::optional<WeightKey> key = {};        // which weight of a decoder; a stack has its first's
};

// Those of a checkpoint, named as llama.cpp's convert_hf_to_gguf.py (release b11434) names them for
// phi2, phi3 and phimoe: experts stacked, rope factors as tensors. In the order of gguf_order.
std::vector<GgufWeight> gguf_weights(const Checkpoint& checkpoint);

// The order of tensors in files of llama-quantize: those outside the blocks, then block by block,
// each by name.
bool gguf_order(std::string_view a, std::string_view b);

// Those of a GGUF model, in the same order.
std::vector<GgufWeight> gguf_weights(const GgufModel& model);

// Their slots, in the same order. What llama-quantize does not touch is a vector (all that is not a
// matrix or a table by its name and shape, norms) or must stay (routers).
std::vector<Slot> gguf_slots(const std::vector<GgufWeight>& weights);

}  // namespace phiquant
