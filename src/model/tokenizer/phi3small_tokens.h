// The special tokens of Phi-3-small, which no file of its folder lists: they are constants of its
// Python tokenizer.
// Source: microsoft/Phi-3-small-8k-instruct, tokenization_phi3_small.py: cl100k_base's ids up to
// 100276, its gaps and the padding to a multiple of 1024 filled with dummies.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace phiquant {

struct TokenText {
  uint32_t id = 0;
  std::string text;
};

// All 96 of them, 100256 to 100351 without a gap.
std::vector<TokenText> phi3small_special_tokens();

// Those of them that the model never produces, ascending: every dummy, the three for filling in the
// middle, and <|endofprompt|>. config.json repeats the list as dummy_token_indices.
std::span<const uint32_t> phi3small_unused_ids();

}  // namespace phiquant
