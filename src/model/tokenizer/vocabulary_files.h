// The parts of read_vocabulary(): the tokenizer's files, and what each kind of vocabulary takes
// from them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "model/checkpoint.h"
#include "model/tokenizer/tokenizer_json.h"
#include "model/tokenizer/tokenizer_tree.h"
#include "model/tokenizer/vocabulary.h"
#include "phiquant/error.h"

namespace phiquant {

// A token beside the model's own, or one of its own with properties.
struct AddedToken {
  uint64_t id = 0;
  std::string text;
  bool special = false;
};

struct TokenizerFiles {
  const Checkpoint* checkpoint = nullptr;
  nlohmann::json config;              // tokenizer_config.json; null where absent
  std::optional<TokenizerTree> tree;  // tokenizer.json
  std::vector<AddedToken> added;  // of tokenizer.json, in its order; of a .tiktoken file's class
  std::vector<AddedToken> configured;  // added_tokens_decoder of tokenizer_config.json
  std::string tiktoken;                // the .tiktoken file's name, where it is the tokenizer

  // "<folder>/<name>", for messages.
  std::string where(std::string_view name) const;
  bool has(std::string_view name) const;
  // A sidecar's text; "" where there is none. Errors: io, unsupported (size).
  Result<std::string> text(std::string_view name) const;
  // A sidecar as JSON; null where there is none. Errors: io, corrupt, unsupported (size).
  Result<nlohmann::json> json(std::string_view name) const;
  // The text of "bos_token" and the like in tokenizer_config.json.
  std::optional<std::string> special_text(std::string_view key) const;
};

Result<TokenizerFiles> open_tokenizer_files(const Checkpoint& checkpoint);

// Whether tokenizer.json is byte-level BPE.
bool is_byte_level(const TokenizerFiles& files);

// The name of the .tiktoken file, where that is the checkpoint's tokenizer and of a known class;
// else "".
Result<std::string> known_tiktoken(const Checkpoint& checkpoint);
// Fills `tiktoken` and `added` where there is one. Special tokens are those that
// tokenizer_config.json lists, or the class's constants where it lists none.
void find_tiktoken(TokenizerFiles& files);
// Of a .tiktoken file what summarize_tokenizer() says of a tokenizer.json. Errors: as
// read_vocabulary().
Result<TokenizerSummary> summarize_tiktoken(const TokenizerFiles& files,
                                            const std::vector<std::string>& wanted);

// Each fills pieces, types, and scores or merges of `out`, whose pieces are already "[PAD<id>]".
Result<void> read_spm_pieces(const TokenizerFiles& files, Vocabulary& out);
Result<void> read_bpe_pieces(const TokenizerFiles& files, Vocabulary& out);
Result<void> read_tiktoken_pieces(const TokenizerFiles& files, Vocabulary& out);
// Fills special, added, chat_template and named_templates.
Result<void> read_special_tokens(const TokenizerFiles& files, Vocabulary& out);

// "<where>: token '<text>' has id <id>, the vocabulary has <n>"
Error beyond_vocabulary(const std::string& where, const AddedToken& token, size_t n);

}  // namespace phiquant
