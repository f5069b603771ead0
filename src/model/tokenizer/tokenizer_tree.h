// A tokenizer.json taken in whole: its long lists as plain vectors, the rest as a tree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "phiquant/error.h"

namespace phiquant {

struct TokenizerTree {
  std::vector<std::pair<std::string, uint64_t>> vocab;  // model.vocab, in the file's order
  // model.merges, "left right"; a space inside a part is written as the byte-level "Ġ".
  std::vector<std::string> merges;
  nlohmann::json rest;  // the file without these two
};

// Errors: corrupt (not JSON; a vocabulary or a merge of another form; a text twice in the
// vocabulary), unsupported (a Unigram vocabulary; absurd sizes).
Result<TokenizerTree> read_tokenizer_tree(std::string_view where, std::string_view text);

}  // namespace phiquant
