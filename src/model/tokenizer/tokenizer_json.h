// What tokenizer.json says about ids, without building a tree of it (those of Phi-4 have 15 MB).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "phiquant/error.h"

namespace phiquant {

struct TokenizerSummary {
  uint64_t n_tokens = 0;  // of the vocabulary and added ones
  uint64_t max_id = 0;
  std::string max_token;                   // the text of max_id
  std::map<std::string, uint64_t> wanted;  // ids of those texts that were asked for and found
  std::map<std::string, uint64_t> added;   // added_tokens, by text
};

// `text`: the file. Vocabularies may be an object (BPE, WordPiece) or a list of [text, score]
// (Unigram). Errors: corrupt (not JSON, or an id that is not a whole number from 0).
Result<TokenizerSummary> summarize_tokenizer(std::string_view where, std::string_view text,
                                             const std::vector<std::string>& wanted);

}  // namespace phiquant
