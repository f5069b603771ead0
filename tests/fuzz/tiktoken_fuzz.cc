// .tiktoken files: what is accepted has every byte, each token once, and merges that put each token
// together. The bytes as they are, and behind a line for every byte.
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include <fmt/core.h>
#include <yaml-cpp/binary.h>

#include "fuzz/require.h"
#include "model/tokenizer/tiktoken.h"

namespace {

using phiquant::require;

std::string all_bytes() {
  std::string out;
  for (int i = 0; i < 256; ++i) {
    const auto byte = static_cast<unsigned char>(i);
    out += fmt::format("{} {}\n", YAML::EncodeBase64(&byte, 1), i);
  }
  return out;
}

void read(std::string_view text) {
  const auto tokens = phiquant::read_tiktoken("fuzz", text);
  if (!tokens) return;
  std::set<std::string> seen;
  size_t n_long = 0;
  for (const auto& token : *tokens) {
    require(seen.insert(token.bytes).second, "a token twice");
    require(!phiquant::byte_level_text(token.bytes).empty(), "a token without text");
    if (token.bytes.size() > 1) ++n_long;
  }
  require(tokens->size() - n_long == 256, "every byte is a token");
  const auto merges = phiquant::tiktoken_merges("fuzz", *tokens);
  if (!merges) return;
  require(merges->size() == n_long, "one merge for each token");
  auto merge = merges->begin();
  for (const auto& token : *tokens) {
    if (token.bytes.size() == 1) continue;
    const auto& left = (*tokens)[merge->first].bytes;
    const auto& right = (*tokens)[merge->second].bytes;
    require(left + right == token.bytes, "a merge is its token");
    ++merge;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string kAllBytes = all_bytes();
  const std::string text(reinterpret_cast<const char*>(data), size);
  read(text);
  read(kAllBytes + text);
  return 0;
}
