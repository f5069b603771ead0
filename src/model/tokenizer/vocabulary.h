// The vocabulary of a checkpoint's tokenizer, as runtimes that tokenize by themselves (llama.cpp)
// need it: every piece with its kind, merges, special ids, the chat template.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/checkpoint.h"
#include "phiquant/error.h"

namespace phiquant {

enum class VocabularyKind : uint8_t {
  spm,  // sentencepiece: pieces with scores, "▁" for a space, bytes as <0x00>
  bpe,  // byte-level BPE: bytes as printable characters, a list of merges
};

// Numbered as in sentencepiece and in GGUF.
enum class PieceType : uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

enum class SpecialToken : uint8_t { bos, eos, unk, sep, pad, cls, mask, eot, eom };
// "bos", "eos", ...
std::string_view special_token_name(SpecialToken token);

struct Vocabulary {
  VocabularyKind kind = VocabularyKind::bpe;
  // How text is cut before merges apply, by llama.cpp's name for it: "default" of spm, "gpt-4o".
  std::string pre_tokenizer;
  // By id, as many as the embedding has rows; ids without a token are "[PAD<id>]", unused.
  std::vector<std::string> pieces;
  std::vector<PieceType> types;
  std::vector<float> scores;        // spm only, as many as pieces
  std::vector<std::string> merges;  // bpe only: "left right", the first one applies first
  // In the order in which the files name them, each kind once; ids below pieces.size().
  std::vector<std::pair<SpecialToken, uint32_t>> special;
  bool add_space_prefix = true;  // spm only: a space is put before the text
  // Whether encoding adds the token at its end of the text, where the files say so.
  std::vector<std::pair<SpecialToken, bool>> added;
  std::optional<std::string> chat_template;
  // Further templates, by name ("tool_use").
  std::vector<std::pair<std::string, std::string>> named_templates;

  std::optional<uint32_t> find(SpecialToken token) const {
    for (const auto& [kind_of, id] : special)
      if (kind_of == token) return id;
    return std::nullopt;
  }
};

// Reads the tokenizer's files among the checkpoint's sidecars: sentencepiece's tokenizer.model,
// else tokenizer.json, else vocab.json and merges.txt, else Phi-3-small's .tiktoken file;
// tokenizer_config.json, added_tokens.json and chat_template.* beside it. Takes the same pieces,
// scores, types and ids as llama.cpp's convert_hf_to_gguf.py (b11434), and names the pre-tokenizer
// by its own pattern. Errors: corrupt (files that break their format or contradict each other; ids
// beyond the vocabulary), unsupported (no tokenizer; a kind or a pre-tokenizer that llama.cpp does
// not have), io.
Result<Vocabulary> read_vocabulary(const Checkpoint& checkpoint);

}  // namespace phiquant
