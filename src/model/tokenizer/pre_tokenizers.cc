#include "model/tokenizer/pre_tokenizers.h"

#include <algorithm>

namespace phiquant {
namespace {

// Sources: the tokenizer.json of openai-community/gpt2, Xenova/gpt-4o, microsoft/phi-4,
// meta-llama/Meta-Llama-3-8B and Qwen/Qwen2.5-7B; names: llama.cpp b11434, src/llama-vocab.cpp.
constexpr PreTokenizer kPatterns[] = {
    {"gpt-4o",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {kPreDbrx,
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {kPreDbrx,
     R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)"},
    {"qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
    {kPreGpt2, R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {kPreGpt2, R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
};

}  // namespace

std::span<const PreTokenizer> pre_tokenizers() { return kPatterns; }

std::string_view pattern_of_pre_tokenizer(std::string_view name) {
  if (name == kPrePhi2) name = kPreGpt2;
  if (name == kPreLlama3) name = kPreDbrx;
  const auto* row = std::find_if(std::begin(kPatterns), std::end(kPatterns),
                                 [&](const PreTokenizer& p) { return p.name == name; });
  return row == std::end(kPatterns) ? std::string_view() : row->regex;
}

std::string_view byte_level_pattern() { return pattern_of_pre_tokenizer(kPreGpt2); }

}  // namespace phiquant
