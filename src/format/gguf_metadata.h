// What a GGUF file says beside its tensors: general.*, <architecture>.* and tokenizer.* keys.
// Source: llama.cpp b11434, conversion/base.py, conversion/phi.py, gguf-py/gguf/metadata.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phiquant/error.h"
#include "phiquant/model.h"
#include "wire/gguf.h"

namespace phiquant::format {

constexpr uint32_t kGgufQuantizationVersion = 2;

// "phi2", "phi3", "phimoe": the prefix of hyperparameter keys. Errors: unsupported (a block that
// none of the three describes).
Result<std::string> gguf_architecture(const Checkpoint& checkpoint);

// Where general.file_type and general.quantization_version stand.
enum class GgufKeyOrder : uint8_t {
  converter,  // convert_hf_to_gguf.py: among the hyperparameters, and before tokenizer.*
  quantizer,  // llama-quantize: at the end, the version first
};

// All keys in their order, but those about splits and importance matrices. Every key occurs once.
//   file_type   general.file_type, llama.cpp's number of the mix (1 = mostly F16, 15 = Q4_K_M)
// Errors: those of gguf_architecture() and read_vocabulary(); unsupported (a rope that llama.cpp
// does not have).
Result<std::vector<GgufKeyValue>> gguf_metadata(const Checkpoint& checkpoint, uint32_t file_type,
                                                GgufKeyOrder order);

}  // namespace phiquant::format
