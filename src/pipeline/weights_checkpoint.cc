// A Hugging Face checkpoint, or an MLX folder, as weights.
#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "model/checkpoint.h"
#include "model/tokenizer/vocabulary_files.h"
#include "pipeline/weights.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

using Properties = std::vector<std::pair<std::string, std::string>>;

std::string id_list(const std::vector<int64_t>& ids) {
  std::string text;
  for (const int64_t id : ids) text += fmt::format("{}{}", text.empty() ? "" : ", ", id);
  return text;
}

std::string rope_text(const Rope& rope) {
  std::string text = fmt::format("theta {:g}, {} dimensions of a head", rope.theta, rope.dims);
  if (rope.long_branch)
    text += fmt::format(", other factors past {} tokens", rope.original_context);
  return text;
}

std::string activation_name(const Decoder& d) {
  switch (d.activation) {
    case Activation::silu:
      return "silu";
    case Activation::gelu_tanh:
      return "gelu (tanh)";
    case Activation::gegelu:
      return d.activation_limit ? fmt::format("gegelu, at most {:g}", *d.activation_limit)
                                : "gegelu";
  }
  return "";
}

std::string sparse_text(const BlockSparse& b) {
  return fmt::format("in blocks of {} tokens: the {} nearest, 1 in {} beyond{}", b.block_size,
                     b.local_blocks, b.vertical_stride,
                     b.dense_every ? fmt::format("; all in 1 layer of {}", b.dense_every) : "");
}

void add_decoder(const Decoder& d, Properties& p) {
  const auto add = [&](const char* name, auto value) {
    p.emplace_back(name, fmt::format("{}", value));
  };
  add("layers", d.n_layers);
  add("hidden size", d.hidden);
  add("attention heads", d.n_heads);
  add("key-value heads", d.n_kv_heads);
  add("head size", d.head_size);
  add("feed-forward size", d.ffn);
  if (d.moe) add("experts", fmt::format("{}, {} for each token", d.moe->n_experts, d.moe->n_used));
  add("vocabulary", d.vocab);
  add("context", d.context);
  if (d.sliding_window) add("sliding window", *d.sliding_window);
  add("norm",
      fmt::format("{}, epsilon {:g}", d.norm == NormKind::rms ? "RMS" : "layer", d.norm_eps));
  add("activation", fmt::format("{}{}", activation_name(d), d.gated_mlp ? ", gated" : ""));
  if (d.block_sparse) add("attention", sparse_text(*d.block_sparse));
  add("rotary embedding", rope_text(d.rope));
  add("lm_head", d.tied_embeddings ? "the embedding table" : "a tensor of its own");
}

void add_tokens(const TokenIds& t, Properties& p) {
  if (t.bos) p.emplace_back("bos token", std::to_string(*t.bos));
  if (!t.eos.empty()) p.emplace_back("eos tokens", id_list(t.eos));
  if (t.pad) p.emplace_back("pad token", std::to_string(*t.pad));
}

// Of a .tiktoken file folders get a tokenizer that runtimes read, in the place of its config.
Result<void> add_sidecars(const Checkpoint& c, Properties& p) {
  PHIQUANT_ASSIGN(const std::string tiktoken, known_tiktoken(c));
  for (const fs::path& file : c.sidecars)
    if (tiktoken.empty() || file.filename() != "tokenizer_config.json")
      p.emplace_back("goes along", file.filename().string());
  if (!tiktoken.empty())
    p.emplace_back("made", fmt::format("tokenizer.json, tokenizer_config.json (of {})", tiktoken));
  return {};
}

Result<Properties> properties_of(const Checkpoint& c) {
  Properties p = {{"architecture", c.architecture},
                  {"model type", c.model_type},
                  {"weights", c.quantized_by.empty() ? std::string(dtype_name(c.dtype))
                                                     : "quantized by " + c.quantized_by}};
  add_decoder(c.decoder, p);
  add_tokens(c.tokens, p);
  if (!c.left_out.empty())
    p.emplace_back("left out", fmt::format("{} tensors without use for text, '{}' the first",
                                           c.left_out.size(), c.left_out.front()));
  PHIQUANT_TRY(add_sidecars(c, p));
  return p;
}

// Notes which file the weight is in, and how it is stored there; returns where among all tensors.
size_t place(const Checkpoint& c, NamedWeight& weight) {
  // Parts of a tensor are "<tensor>[3].gate", "<tensor>[q]".
  const std::string_view name = weight.source.name;
  const auto it = c.places.find(name.substr(0, name.find('[')));
  if (it == c.places.end()) return std::numeric_limits<size_t>::max();
  const TensorPlace& at = it->second;
  weight.location = at.file;
  if (!at.codes.empty()) {
    weight.description = at.codes;
    weight.size_bytes = at.size_bytes / at.n_rows * weight.source.n;
  }
  return at.order;
}

}  // namespace

Result<ModelWeights> weights_of(const Checkpoint& checkpoint) {
  ModelWeights out;
  PHIQUANT_ASSIGN(out.properties, properties_of(checkpoint));
  std::vector<std::pair<size_t, NamedWeight>> placed;
  for (const auto& [key, tensor] : checkpoint.weights) {
    NamedWeight weight = dense_weight(tensor, key);
    const size_t at = place(checkpoint, weight);
    placed.emplace_back(at, std::move(weight));
  }
  std::stable_sort(placed.begin(), placed.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto& [at, weight] : placed) out.weights.push_back(std::move(weight));
  out.tied_embeddings = checkpoint.decoder.tied_embeddings;
  out.files = checkpoint.files;
  out.warnings = checkpoint.warnings;
  out.size_bytes = checkpoint.input_bytes;
  return out;
}

}  // namespace phiquant
