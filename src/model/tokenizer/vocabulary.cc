#include <array>

#include <fmt/core.h>

#include "model/tokenizer/vocabulary.h"
#include "model/tokenizer/vocabulary_files.h"

namespace phiquant {

std::string_view special_token_name(SpecialToken token) {
  constexpr std::array<std::string_view, 9> kNames = {"bos", "eos",  "unk", "sep", "pad",
                                                      "cls", "mask", "eot", "eom"};
  static_assert(kNames.size() == static_cast<size_t>(SpecialToken::eom) + 1);
  return kNames[static_cast<size_t>(token)];
}

Result<Vocabulary> Checkpoint::vocabulary() const {
  if (vocabulary_reader) return vocabulary_reader(*this);
  return Error{Errc::unsupported, fmt::format("{}: no tokenizer", folder.string())};
}

Result<Vocabulary> read_vocabulary(const Checkpoint& checkpoint) {
  PHIQUANT_ASSIGN(const TokenizerFiles files, open_tokenizer_files(checkpoint));
  Vocabulary out;
  const size_t n = checkpoint.decoder.vocab;
  out.pieces.reserve(n);
  for (size_t id = 0; id < n; ++id) out.pieces.push_back(fmt::format("[PAD{}]", id));
  out.types.assign(n, PieceType::unused);
  // A tokenizer.json says what it is; a tokenizer.model beside a byte-level one belongs to another.
  if (is_byte_level(files) || (!files.tree && !files.has("tokenizer.model") &&
                               files.has("vocab.json") && files.has("merges.txt"))) {
    PHIQUANT_TRY(read_bpe_pieces(files, out));
  } else if (files.tree || files.has("tokenizer.model")) {
    PHIQUANT_TRY(read_spm_pieces(files, out));
  } else if (!files.tiktoken.empty()) {
    PHIQUANT_TRY(read_tiktoken_pieces(files, out));
  } else {
    return Error{Errc::unsupported,
                 fmt::format("{}: no tokenizer (wanted tokenizer.json, tokenizer.model, or "
                             "vocab.json with merges.txt; download them with the weights)",
                             checkpoint.folder.string())};
  }
  PHIQUANT_TRY(read_special_tokens(files, out));
  return out;
}

}  // namespace phiquant
