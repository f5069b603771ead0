// A vocabulary as the tokenizer files that runtimes read, where the input has none of these.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/checkpoint.h"
#include "model/tokenizer/vocabulary.h"
#include "phiquant/error.h"

namespace phiquant {

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

// The same of a checkpoint whose only tokenizer is a .tiktoken file of a class known here, which
// Python code reads and no runtime; its tokenizer_config.json names that code and is of no use in
// an output. Empty for every other checkpoint. Errors: as read_vocabulary().
Result<std::vector<TokenizerFile>> missing_tokenizer_files(const Checkpoint& checkpoint);

// What a folder with a copy of the model needs beside its sidecars, where runtimes look for the
// tokenizer's files.
struct MadeTokenizer {
  std::vector<TokenizerFile> files;  // in the place of sidecars of the same names
  std::string warning;  // why there are none, where the model is of use without; else ""
};

// The files of missing_tokenizer_files(), or of the vocabulary that is in the model's own file.
// Errors: those of missing_tokenizer_files().
Result<MadeTokenizer> make_tokenizer(const Checkpoint& checkpoint);

}  // namespace phiquant
