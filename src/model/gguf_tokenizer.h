// The vocabulary of a GGUF model as the tokenizer files that other runtimes read.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "phiquant/error.h"
#include "phiquant/tokenizer.h"
#include "wire/gguf_model.h"

namespace phiquant {

// tokenizer.ggml.* and tokenizer.chat_template. Errors: corrupt (a list is missing, has another
// length than the tokens, or elements of another type; ids beyond the tokens; a merge that is not
// two parts), unsupported (a tokenizer other than "llama" and "gpt2").
Result<Vocabulary> gguf_vocabulary(const GgufModel& model);

struct TokenizerFile {
  std::string name, text;
};

// tokenizer.json and tokenizer_config.json that encode text to the same ids. Merges of a
// sentencepiece vocabulary are found from its scores. Whether a token swallows the spaces after it
// is not in a GGUF file: none does then, as in llama.cpp.
//   context   the longest text in tokens, for model_max_length
// Errors: unsupported (a pre-tokenizer whose pattern is not known here).
Result<std::vector<TokenizerFile>> make_tokenizer_files(const Vocabulary& vocabulary,
                                                        uint64_t context);

}  // namespace phiquant
