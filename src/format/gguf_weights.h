// The tensors of a GGUF file before their types are chosen.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "phiquant/model.h"
#include "phiquant/tensor.h"
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
  std::string role;  // for the report: "linear", "embedding", "lm_head", "norm", "other"
};

// Those of a checkpoint, named as llama.cpp's convert_hf_to_gguf.py (release b11434) names them for
// phi2, phi3 and phimoe: experts stacked, rope factors as tensors. In the order of gguf_order.
std::vector<GgufWeight> gguf_weights(const Checkpoint& checkpoint);

// Those of a GGUF model, in the same order.
std::vector<GgufWeight> gguf_weights(const GgufModel& model);

// "linear", "embedding", ...: from a tensor's GGUF name and shape.
std::string gguf_role(const std::string& name, const Shape& shape);

}  // namespace phiquant
