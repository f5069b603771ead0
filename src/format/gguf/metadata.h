// What a GGUF file says beside its tensors: general.*, <architecture>.* and tokenizer.* keys.
// Source: llama.cpp b11434, conversion/base.py, conversion/phi.py, gguf-py/gguf/metadata.py.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "phiquant/error.h"
#include "wire/gguf.h"

namespace phiquant::format {

constexpr uint32_t kGgufQuantizationVersion = 2;
constexpr uint32_t kGgufAllF32 = 0, kGgufMostlyF16 = 1, kGgufMostlyBf16 = 32;  // file types

// "phi2", "phi3", "phimoe": the prefix of hyperparameter keys. Errors: unsupported (a block that
// none of the three describes).
Result<std::string> gguf_architecture(const Checkpoint& checkpoint);

// All keys but those about splits and importance matrices; every key occurs once. The order is that
// of the tool which writes such a file: of convert_hf_to_gguf.py for f32, f16 and bf16; of
// llama-quantize for the rest, which puts quantization_version and file_type last.
//   file_type   general.file_type, llama.cpp's number of the mix (1 = mostly F16, 15 = Q4_K_M)
// Errors: those of gguf_architecture() and Checkpoint::vocabulary().
Result<std::vector<GgufKeyValue>> gguf_metadata(const Checkpoint& checkpoint, uint32_t file_type);

}  // namespace phiquant::format
