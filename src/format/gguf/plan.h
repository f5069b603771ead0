// Checkpoints and GGUF models to GGUF files for llama.cpp.
#pragma once

#include "decide/evidence.h"
#include "format/draft.h"
#include "model/checkpoint.h"
#include "phiquant/options.h"
#include "wire/gguf_model.h"

namespace phiquant {

// One file ending in .gguf; with --max-file-size a folder of parts. Tensors and bytes are those of
// convert_hf_to_gguf.py followed by llama-quantize (release b11434): from the stored values, as if
// from an F32 file, or through f16 with GgufSettings::via_f16. Errors: usage (options that
// contradict each other or the output's name; names of types; an imatrix of another model),
// unsupported (a tokenizer that cannot be written).
Result<Draft> draft_gguf(const Checkpoint& checkpoint, const Request& request,
                         const Evidence& evidence);

// The same of a GGUF model, whose metadata is kept; tensors that already have their type are
// copied. Further errors: unsupported (a type that cannot be decoded).
Result<Draft> draft_gguf(const GgufModel& model, const Request& request, const Evidence& evidence);

}  // namespace phiquant
