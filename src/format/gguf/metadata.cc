#include "format/gguf/metadata.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "format/gguf/general.h"
#include "model/tokenizer/vocabulary.h"

namespace phiquant::format {
namespace {

using Keys = std::vector<GgufKeyValue>;

class MetadataWriter {
 public:
  MetadataWriter(const Checkpoint& checkpoint, std::string arch, uint32_t file_type)
      : c_(checkpoint), d_(checkpoint.decoder), arch_(std::move(arch)), file_type_(file_type) {}
  Result<Keys> run();

 private:
  bool is_float() const {
    return file_type_ == kGgufAllF32 || file_type_ == kGgufMostlyF16 ||
           file_type_ == kGgufMostlyBf16;
  }
  void put(std::string key, GgufValue value) {
    const auto same = [&](const GgufKeyValue& known) { return known.key == key; };
    if (const auto it = std::find_if(keys_.begin(), keys_.end(), same); it != keys_.end())
      it->value = std::move(value);
    else
      keys_.push_back({std::move(key), std::move(value)});
  }
  void put_of_arch(const char* key, GgufValue value) {
    put(fmt::format("{}.{}", arch_, key), std::move(value));
  }
  void put_rope_factor();
  void put_hyperparameters();
  void put_tokenizer(Vocabulary vocabulary);
  void put_special(const Vocabulary& vocabulary);
  void put_templates(const Vocabulary& vocabulary);

  const Checkpoint& c_;
  const Decoder& d_;
  std::string arch_;
  uint32_t file_type_;
  Keys keys_;
};

template <class T, class From>
GgufArray array_of(GgufType type, std::vector<From>& from) {
  GgufArray out{type, {}};
  out.values.reserve(from.size());
  for (From& value : from) {
    if constexpr (std::is_same_v<T, std::string>)
      out.values.emplace_back(std::in_place_type<T>, std::move(value));
    else
      out.values.emplace_back(std::in_place_type<T>, static_cast<T>(value));
  }
  return out;
}

// llama.cpp knows one factor for both branches of longrope, and multiplies its cos and sin with it.
void MetadataWriter::put_rope_factor() {
  if (d_.rope.long_branch)
    put_of_arch("rope.scaling.attn_factor", d_.rope.long_branch->attention_factor);
}

void MetadataWriter::put_hyperparameters() {
  const bool phi2 = arch_ == "phi2";
  put_of_arch("context_length", static_cast<uint32_t>(d_.context));
  if (!phi2)
    put_of_arch("rope.scaling.original_context_length",
                static_cast<uint32_t>(original_context(c_)));
  put_of_arch("embedding_length", d_.hidden);
  put_of_arch("feed_forward_length", d_.ffn);
  put_of_arch("block_count", d_.n_layers);
  put_of_arch("attention.head_count", d_.n_heads);
  put_of_arch("attention.head_count_kv", d_.n_kv_heads);
  put_of_arch(phi2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
              d_.norm_eps);
  put_of_arch("rope.dimension_count", d_.rope.dims);
  // The converter leaves Phi-2's out, which is llama.cpp's default.
  if (!phi2 || d_.rope.theta != 10000)
    put_of_arch("rope.freq_base", static_cast<float>(d_.rope.theta));
  if (is_float()) put("general.file_type", file_type_);
  if (phi2) put("tokenizer.ggml.add_bos_token", false);
  // 0 is how llama.cpp tells Phi-4, which has no window.
  else
    put_of_arch("attention.sliding_window", static_cast<uint32_t>(d_.sliding_window.value_or(0)));
  if (d_.moe) {
    put_of_arch("expert_used_count", d_.moe->n_used);
    put_of_arch("expert_count", d_.moe->n_experts);
  }
}

void MetadataWriter::put_special(const Vocabulary& vocabulary) {
  const auto key_of = [](SpecialToken token) -> std::string {
    switch (token) {
      case SpecialToken::unk:
        return "tokenizer.ggml.unknown_token_id";
      case SpecialToken::sep:
        return "tokenizer.ggml.seperator_token_id";
      case SpecialToken::pad:
        return "tokenizer.ggml.padding_token_id";
      default:
        return fmt::format("tokenizer.ggml.{}_token_id", special_token_name(token));
    }
  };
  for (const auto& [token, id] : vocabulary.special)
    if (token != SpecialToken::cls) put(key_of(token), id);  // cls is bos to llama.cpp
  for (const auto& [token, added] : vocabulary.added)
    if (token == SpecialToken::bos || token == SpecialToken::eos || token == SpecialToken::sep)
      put(fmt::format("tokenizer.ggml.add_{}_token", special_token_name(token)), added);
}

void MetadataWriter::put_templates(const Vocabulary& vocabulary) {
  std::vector<std::string> names;
  for (const auto& [given, text] : vocabulary.named_templates) {
    std::string name = given;
    for (char& c : name)
      if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) c = '_';
    put(fmt::format("tokenizer.chat_template.{}", name), text);
    names.push_back(std::move(name));
  }
  if (!names.empty())
    put("tokenizer.chat_templates", array_of<std::string>(GgufType::string, names));
  if (vocabulary.chat_template) put("tokenizer.chat_template", *vocabulary.chat_template);
}

void MetadataWriter::put_tokenizer(Vocabulary vocabulary) {
  const bool spm = vocabulary.kind == VocabularyKind::spm;
  put("tokenizer.ggml.model", std::string(spm ? "llama" : "gpt2"));
  put("tokenizer.ggml.pre", vocabulary.pre_tokenizer);
  put("tokenizer.ggml.tokens", array_of<std::string>(GgufType::string, vocabulary.pieces));
  if (spm) put("tokenizer.ggml.scores", array_of<float>(GgufType::f32, vocabulary.scores));
  put("tokenizer.ggml.token_type", array_of<int32_t>(GgufType::i32, vocabulary.types));
  if (!spm)
    put("tokenizer.ggml.merges", array_of<std::string>(GgufType::string, vocabulary.merges));
  // llama.cpp's default is true, and the converter never says so.
  if (spm && !vocabulary.add_space_prefix) put("tokenizer.ggml.add_space_prefix", false);
  put_special(vocabulary);
  put_templates(vocabulary);
}

Result<Keys> MetadataWriter::run() {
  PHIQUANT_ASSIGN(Vocabulary vocabulary, c_.vocabulary());
  put("general.architecture", arch_);
  put_rope_factor();
  for (auto& [key, value] : general_keys(c_, vocabulary)) put(std::move(key), std::move(value));
  put_hyperparameters();
  if (is_float()) put("general.quantization_version", kGgufQuantizationVersion);
  put_tokenizer(std::move(vocabulary));
  if (!is_float()) {
    put("general.quantization_version", kGgufQuantizationVersion);
    put("general.file_type", file_type_);
  }
  return std::move(keys_);
}

}  // namespace

Result<std::string> gguf_architecture(const Checkpoint& checkpoint) {
  const Decoder& d = checkpoint.decoder;
  const bool silu = d.activation == Activation::silu;
  if (d.norm == NormKind::layer && d.parallel_residual && !d.gated_mlp && !silu && !d.moe &&
      !d.rope.long_branch)
    return std::string("phi2");
  if (d.norm == NormKind::layer && !d.parallel_residual && d.gated_mlp && silu && d.moe)
    return std::string("phimoe");
  if (d.norm == NormKind::rms && !d.parallel_residual && d.gated_mlp && silu && !d.moe)
    return std::string("phi3");
  return Error{Errc::unsupported,
               fmt::format("{}: llama.cpp has no architecture with a block like that of {} (known: "
                           "phi2, phi3, phimoe)",
                           checkpoint.folder.string(), checkpoint.architecture)};
}

Result<std::vector<GgufKeyValue>> gguf_metadata(const Checkpoint& checkpoint, uint32_t file_type) {
  PHIQUANT_ASSIGN(std::string arch, gguf_architecture(checkpoint));
  return MetadataWriter(checkpoint, std::move(arch), file_type).run();
}

}  // namespace phiquant::format
