// A .tiktoken file: the tokens of a byte-level BPE by rank, and the merges that they stand for.
// Source: tiktoken 0.14.0, tiktoken/load.py (the file) and src/lib.rs (how ranks are used).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "phiquant/error.h"

namespace phiquant {

struct TiktokenToken {
  std::string bytes;  // any bytes, not only UTF-8
  size_t line = 0;    // of the file, from 1
};

// Lines of a token in base64, a space and its rank in decimal; empty ones are skipped. Returns the
// tokens by rank. `where`: the file, for messages, which name the line too. Errors: corrupt (a line
// of another form; a token or a rank twice; ranks that leave one out; a byte that is no token of
// its own), unsupported (a token of more than 256 bytes: cl100k_base's longest has 128).
Result<std::vector<TiktokenToken>> read_tiktoken(std::string_view where, std::string_view text);

// The merge of each token of two bytes and more, as ranks of its left and right part, in the order
// of the tokens. tiktoken joins any two neighbours that are a token together, the lowest rank
// first; where text holds a token's bytes, this comes by the same two parts as in the token alone,
// so that one merge for each says it all. Errors: corrupt (a token that does not come about by
// joining two of lower rank).
Result<std::vector<std::pair<uint32_t, uint32_t>>> tiktoken_merges(
    std::string_view where, const std::vector<TiktokenToken>& tokens);

// Bytes as the printable characters that stand for them in vocabularies: GPT-2's table, in which
// bytes that print in Latin-1 are themselves and the others U+0100, U+0101, ... in their order.
std::string byte_level_text(std::string_view bytes);

}  // namespace phiquant
