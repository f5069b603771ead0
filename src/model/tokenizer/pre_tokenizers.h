// The pre-tokenizers of byte-level BPE: llama.cpp's names for them and the patterns that they are.
#pragma once

#include <span>
#include <string_view>

namespace phiquant {

struct PreTokenizer {
  std::string_view name;
  std::string_view regex;  // without possessive quantifiers, which only spare backtracking
};

constexpr std::string_view kPreGpt2 = "gpt-2", kPrePhi2 = "phi-2", kPreDbrx = "dbrx",
                           kPreLlama3 = "llama-bpe";

// A name may have several patterns that mean the same. GPT-2's is also Phi-2's, and dbrx's Llama
// 3's, which differ in other things.
std::span<const PreTokenizer> pre_tokenizers();
// The pattern that ByteLevel itself cuts by.
std::string_view byte_level_pattern();
// The first pattern of that name; "" for an unknown one.
std::string_view pattern_of_pre_tokenizer(std::string_view name);

}  // namespace phiquant
