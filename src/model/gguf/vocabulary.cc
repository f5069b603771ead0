#include "model/gguf/vocabulary.h"

#include <optional>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "wire/gguf_header.h"

namespace phiquant {
namespace {

class VocabularyReader {
 public:
  explicit VocabularyReader(const GgufModel& model) : model_(model) {}
  Result<Vocabulary> run();

 private:
  Error corrupt(const std::string& what) const {
    return {Errc::corrupt, fmt::format("{}: {}", printable(model_.path.string()), what)};
  }
  // The array of a key. Errors: corrupt (missing, another element type, not of n_wanted elements).
  Result<const GgufArray*> list(const char* key, GgufType type,
                                std::optional<size_t> n_wanted) const;
  Result<void> read_kind();
  Result<void> read_pieces();
  Result<void> read_merges();
  Result<void> read_special();
  std::optional<bool> flag(const std::string& key) const {
    const auto value = gguf_unsigned(model_.metadata, key);
    return value ? std::optional(*value != 0) : std::nullopt;
  }

  const GgufModel& model_;
  Vocabulary out_;
};

Result<const GgufArray*> VocabularyReader::list(const char* key, GgufType type,
                                                std::optional<size_t> n_wanted) const {
  const GgufValue* value = find_gguf_key(model_.metadata, key);
  const auto* array = value ? std::get_if<GgufArray>(value) : nullptr;
  if (!array || array->type != type)
    return corrupt(fmt::format("key '{}' is missing, or no list of the type that it needs", key));
  if (n_wanted && array->values.size() != *n_wanted)
    return corrupt(fmt::format("key '{}' has {} elements, wanted {}, one for each token", key,
                               array->values.size(), *n_wanted));
  return array;
}

Result<void> VocabularyReader::read_kind() {
  const std::string* model = gguf_string(model_.metadata, "tokenizer.ggml.model");
  if (!model || (*model != "llama" && *model != "gpt2"))
    return Error{Errc::unsupported,
                 fmt::format("{}: tokenizer.ggml.model is '{}' (known: llama, gpt2)",
                             printable(model_.path.string()), model ? printable(*model) : "")};
  out_.kind = *model == "llama" ? VocabularyKind::spm : VocabularyKind::bpe;
  const std::string* pre = gguf_string(model_.metadata, "tokenizer.ggml.pre");
  out_.pre_tokenizer = pre ? *pre : "default";
  return {};
}

Result<void> VocabularyReader::read_pieces() {
  PHIQUANT_ASSIGN(const auto* tokens,
                  list("tokenizer.ggml.tokens", GgufType::string, std::nullopt));
  const size_t n = tokens->values.size();
  out_.pieces.reserve(n);
  for (const auto& text : tokens->values) out_.pieces.push_back(std::get<std::string>(text));
  PHIQUANT_ASSIGN(const auto* types, list("tokenizer.ggml.token_type", GgufType::i32, n));
  for (const auto& value : types->values) {
    const int32_t type = std::get<int32_t>(value);
    if (type < 1 || type > 6)
      return corrupt(fmt::format("key 'tokenizer.ggml.token_type' has the unknown type {}", type));
    out_.types.push_back(static_cast<PieceType>(type));
  }
  if (out_.kind != VocabularyKind::spm) return {};
  PHIQUANT_ASSIGN(const auto* scores, list("tokenizer.ggml.scores", GgufType::f32, n));
  for (const auto& value : scores->values) out_.scores.push_back(std::get<float>(value));
  return {};
}

Result<void> VocabularyReader::read_merges() {
  if (out_.kind != VocabularyKind::bpe) return {};
  PHIQUANT_ASSIGN(const auto* merges,
                  list("tokenizer.ggml.merges", GgufType::string, std::nullopt));
  for (const auto& value : merges->values) {
    const auto& text = std::get<std::string>(value);
    const size_t space = text.find(' ', 1);
    if (space == std::string::npos || space + 1 == text.size())
      return corrupt(
          fmt::format("merge '{}' is not two parts with a space between", printable(text)));
    out_.merges.push_back(text);
  }
  return {};
}

Result<void> VocabularyReader::read_special() {
  const std::pair<SpecialToken, const char*> kIds[] = {
      {SpecialToken::bos, "bos"},     {SpecialToken::eos, "eos"},
      {SpecialToken::unk, "unknown"}, {SpecialToken::sep, "seperator"},
      {SpecialToken::pad, "padding"}, {SpecialToken::mask, "mask"},
      {SpecialToken::eot, "eot"},     {SpecialToken::eom, "eom"},
  };
  for (const auto& [token, name] : kIds) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", name);
    const auto id = gguf_unsigned(model_.metadata, key);
    if (!id) continue;
    if (*id >= out_.pieces.size())
      return corrupt(
          fmt::format("key '{}' is {}, there are {} tokens", key, *id, out_.pieces.size()));
    out_.special.emplace_back(token, static_cast<uint32_t>(*id));
  }
  // llama.cpp's defaults where nothing is said: sentencepiece gets bos, byte-level BPE nothing.
  const bool spm = out_.kind == VocabularyKind::spm;
  out_.added = {{SpecialToken::bos, flag("tokenizer.ggml.add_bos_token").value_or(spm)},
                {SpecialToken::eos, flag("tokenizer.ggml.add_eos_token").value_or(false)}};
  out_.add_space_prefix = flag("tokenizer.ggml.add_space_prefix").value_or(true);
  if (const auto* text = gguf_string(model_.metadata, "tokenizer.chat_template"))
    out_.chat_template = *text;
  return {};
}

Result<Vocabulary> VocabularyReader::run() {
  PHIQUANT_TRY(read_kind());
  PHIQUANT_TRY(read_pieces());
  PHIQUANT_TRY(read_merges());
  PHIQUANT_TRY(read_special());
  return std::move(out_);
}

}  // namespace

Result<Vocabulary> gguf_vocabulary(const GgufModel& model) { return VocabularyReader(model).run(); }

}  // namespace phiquant
