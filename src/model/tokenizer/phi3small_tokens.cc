#include "model/tokenizer/phi3small_tokens.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/core.h>

namespace phiquant {
namespace {

constexpr uint32_t kBegin = 100256, kEnd = 100352;

struct NamedToken {
  uint32_t id;
  std::string_view text;
  bool used;
};
// The rest are dummies.
constexpr NamedToken kNamed[] = {
    {100257, "<|endoftext|>", true},   {100258, "<|fim_prefix|>", false},
    {100259, "<|fim_middle|>", false}, {100260, "<|fim_suffix|>", false},
    {100261, "<|system|>", true},      {100262, "<|user|>", true},
    {100263, "<|assistant|>", true},   {100266, "<|end|>", true},
    {100276, "<|endofprompt|>", false}};

constexpr const NamedToken* find_named(uint32_t id) {
  const auto* it = std::find_if(std::begin(kNamed), std::end(kNamed),
                                [&](const NamedToken& token) { return token.id == id; });
  return it == std::end(kNamed) ? nullptr : it;
}

// 0 and 1 fill the gap before <|end|>, 2 the one before <|endoftext|>, the others what follows.
constexpr uint32_t dummy_number(uint32_t id) {
  if (id == kBegin) return 2;
  if (id < 100266) return id - 100264;
  return id < 100276 ? 3 + id - 100267 : 11 + id - 100276;
}

constexpr size_t kUsed = 5;
constexpr auto kUnused = [] {
  std::array<uint32_t, kEnd - kBegin - kUsed> ids{};
  size_t n = 0;
  for (uint32_t id = kBegin; id < kEnd; ++id)
    if (const NamedToken* token = find_named(id); !token || !token->used) ids[n++] = id;
  return ids;
}();

}  // namespace

std::vector<TokenText> phi3small_special_tokens() {
  std::vector<TokenText> tokens;
  for (uint32_t id = kBegin; id < kEnd; ++id) {
    const NamedToken* token = find_named(id);
    tokens.push_back(
        {id, token ? std::string(token->text) : fmt::format("<|dummy_id_{}|>", dummy_number(id))});
  }
  return tokens;
}

std::span<const uint32_t> phi3small_unused_ids() { return kUnused; }

}  // namespace phiquant
