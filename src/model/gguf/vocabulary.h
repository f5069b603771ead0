// The vocabulary of a GGUF model.
#pragma once

#include "model/tokenizer/vocabulary.h"
#include "phiquant/error.h"
#include "wire/gguf_model.h"

namespace phiquant {

// tokenizer.ggml.* and tokenizer.chat_template. Errors: corrupt (a list is missing, has another
// length than the tokens, or elements of another type; ids beyond the tokens; a merge that is not
// two parts), unsupported (a tokenizer other than "llama" and "gpt2").
Result<Vocabulary> gguf_vocabulary(const GgufModel& model);

}  // namespace phiquant
