// A language model checkpoint as data: what its config says, how its block is built, which tensors
// it holds. Readers fill it (src/model); writers that must build a graph or a header read it, never
// the architecture's name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "model/checkpoint/model_card.h"
#include "phiquant/error.h"
#include "phiquant/options.h"

namespace phiquant {

// What a tensor is for. Policy ("keep lm_head at 8 bits") reads roles, never strings.
enum class Role : uint8_t {
  embed,
  attn_norm,
  attn_qkv,
  attn_q,
  attn_k,
  attn_v,
  attn_out,
  mlp_norm,
  mlp_gate_up,
  mlp_gate,
  mlp_up,
  mlp_down,
  router,
  expert_gate,
  expert_up,
  expert_down,
  final_norm,
  lm_head,
  ignored,  // known, and of no use to inference (rotary inv_freq, ...)
};
std::string_view role_name(Role role);

enum class NormKind : uint8_t { rms, layer };
enum class Activation : uint8_t {
  silu,
  gelu_tanh,
  // Of pairs (g, u), which are neighbours in the projection's output: quick_gelu(min(g, limit)) *
  // (clamp(u, -limit, limit) + 1), where quick_gelu(x) = x * sigmoid(1.702 x).
  gegelu,
};

// Rotary position embedding of one branch: angle(p, i) = p / (factor[i] * theta^(2i / dims)), cos
// and sin times `attention_factor`. Halves are rotated (not interleaved pairs).
struct RopeBranch {
  std::vector<float> factors;  // [dims / 2], all 1 for plain RoPE
  float attention_factor =
      1;  // longrope: sqrt(1 + ln(max / original) / ln(original)), or the config's mscale
};

struct Rope {
  double theta = 10000;
  uint32_t dims = 0;        // rotated dimensions of a head (head_size * partial factor)
  RopeBranch short_branch;  // all there is, for plain RoPE
  std::optional<RopeBranch> long_branch;  // past original_context tokens
  uint64_t original_context = 0;          // 0 without long_branch
};

struct MoE {
  uint32_t n_experts = 0, n_used = 0;
  float jitter_eps = 0;  // sparse mixer (Phi-3.5-MoE)
};

// Causal attention in which blocks of queries see only some blocks of keys: those nearby, and every
// `vertical_stride`-th, which ones depending on the head.
struct BlockSparse {
  uint32_t block_size = 0, local_blocks = 0, vertical_stride = 0;
  bool alike_heads = false;  // every head sees what head 0 sees
  uint32_t dense_every = 0;  // layers dense_every - 1, 2 * dense_every - 1, ... see all; 0: none

  bool has(int32_t layer) const {
    return dense_every == 0 || (static_cast<uint32_t>(layer) + 1) % dense_every != 0;
  }
  // What a block of keys is moved by for a head, before its stride is counted.
  uint64_t shift(uint32_t head, uint32_t n_heads) const {
    const uint32_t step = vertical_stride / n_heads;
    return alike_heads ? 0 : uint64_t{head} * (step == 0 ? 1 : step);
  }
  // What a block of queries sees, of keys that are not behind it: those nearby, and those that are
  // seen from anywhere.
  bool is_nearby(uint64_t query_block, uint64_t key_block) const {
    return query_block < key_block + local_blocks;
  }
  bool is_beyond(uint64_t key_block, uint64_t head_shift) const {
    return (key_block + head_shift + 1) % vertical_stride == 0;
  }
};

// The whole decoder in numbers. Blocks are alike but for what `block_sparse` says.
struct Decoder {
  uint32_t n_layers = 0, hidden = 0, n_heads = 0, n_kv_heads = 0, head_size = 0, ffn = 0, vocab = 0;
  uint64_t context = 0;                    // max_position_embeddings
  std::optional<uint64_t> sliding_window;  // as the config says; nullopt: none
  NormKind norm = NormKind::rms;
  float norm_eps = 1e-5f;
  Activation activation = Activation::silu;
  std::optional<float> activation_limit;  // of gegelu; nullopt: none
  bool gated_mlp = true;                  // act(gate) * up; false: act(up) (gegelu's too)
  bool parallel_residual = false;         // x + attn(norm(x)) + mlp(norm(x)) (Phi-2)
  bool fused_qkv = true;                  // stored as one tensor: q rows, then k, then v
  bool fused_gate_up = true;  // stored as one tensor: gate rows, then up (never of experts)
  bool attention_bias = false, mlp_bias = false, norm_bias = false, lm_head_bias = false;
  Rope rope;
  std::optional<MoE> moe;
  std::optional<BlockSparse> block_sparse;
  std::optional<float> attention_scale;        // of q times k; nullopt: 1 / sqrt(head_size)
  float embedding_scale = 1, logit_scale = 1;  // what rows of the table and logits are times
  std::vector<uint32_t> unused_tokens;         // ids whose logits are to be the lowest, in order
  // lm_head is the embedding table: then `weights` has no lm_head. Decided by the data: an lm_head
  // that is absent where the config allows it, or stored with the embedding's bytes.
  bool tied_embeddings = false;
};

// Ids and texts that runtimes ask for.
struct TokenIds {
  std::optional<int64_t> bos, pad;  // generation_config's, else config's
  std::vector<int64_t>
      eos;  // generation_config's, in its order, then config's that are not among them
  // What the tokenizer says: its own special tokens, and the tags of tool calls and thoughts that
  // runtimes look for.
  std::optional<int64_t> tokenizer_bos, tokenizer_eos, tokenizer_pad;
  std::map<std::string, int64_t> tags;  // ids of those of kTokenTags that are in the vocabulary
};
constexpr std::string_view kTokenTags[] = {"<tool_call>",    "<|tool_call|>", "</tool_call>",
                                           "<|/tool_call|>", "<think>",       "</think>"};

// One tensor of the checkpoint, named and placed.
struct WeightKey {
  Role role;
  int32_t layer = -1;  // -1: outside the blocks
  int32_t expert = -1;
  bool bias = false;
  auto operator<=>(const WeightKey&) const = default;
};

// A stored tensor: where it is, and as what.
struct TensorPlace {
  size_t order = 0;   // among all tensors, file after file
  std::string file;   // its name in the folder
  std::string codes;  // "affine4 group 64", "mxfp4"; "" where it is no codes of MLX
  uint64_t size_bytes = 0, n_rows = 0;  // of codes, scales and biases together; rows of values
};

struct Vocabulary;  // model/tokenizer/vocabulary.h

struct Checkpoint {
  std::filesystem::path folder;
  std::string architecture;        // "Phi3ForCausalLM": for messages and metadata only
  std::string model_type;          // "phi3"
  DType dtype = DType::undefined;  // of most bytes of the weights, as stored
  Decoder decoder;
  TokenIds tokens;
  // Linears are [out, in] row-major. Those with a merged adapter are float32, computed as they are
  // read; an expert that is stored in one tensor with others has a slice of it.
  std::map<WeightKey, SourceTensor> weights;
  std::vector<std::string>
      left_out;  // tensors deliberately not used (vision, audio, adapters, ...), by name
  std::vector<std::filesystem::path>
      sidecars;  // tokenizer, template and licence files to copy byte for byte
  std::vector<std::filesystem::path>
      files;  // every file that was opened, sidecars too, for input = output checks
  std::vector<std::string> warnings;   // conflicts between the files, one line each
  std::string config_json;             // the files as they are, for writers that need more
  std::string generation_config_json;  // "" where absent
  uint64_t input_bytes = 0;
  // By the name of the stored tensor; weights that are parts of one are "<name>[3].gate". Of
  // folders only.
  std::map<std::string, TensorPlace, std::less<>> places;
  std::string quantized_by;  // "MLX"; "" for a checkpoint of floats
  ModelCard card;
  // The tokenizer is in the model's own file (GGUF): there are no files of it to copy.
  bool has_inner_tokenizer = false;
  // Few writers need the vocabulary, and reading it takes its time: the reader leaves behind how
  // to.
  std::function<Result<Vocabulary>(const Checkpoint&)> vocabulary_reader;
  // Errors: those of read_vocabulary() or gguf_vocabulary() · unsupported (no reader).
  Result<Vocabulary> vocabulary() const;

  const SourceTensor* find(Role role, int32_t layer = -1, bool bias = false,
                           int32_t expert = -1) const {
    const auto it = weights.find({role, layer, expert, bias});
    return it == weights.end() ? nullptr : &it->second;
  }
};

struct CheckpointOptions {
  bool follow_symlinks = false;
  bool text_only = false;  // take the text part of a multimodal checkpoint
  MergeLora merge_lora = MergeLora::none;
};

// Opens a folder as downloaded: config.json, safetensors (one file, or shards with their index),
// tokenizer files. Reads headers only; every name, shape, type and offset is checked against the
// config before this returns. The only tensor bytes that are read: embedding and lm_head, where
// both are stored, up to their first difference. Errors: io (files missing or unreadable) · corrupt
// (missing, extra, duplicate, overlapping, truncated tensors, each named; a token id beyond the
// vocabulary) · unsupported (unknown architecture with the list of known ones; pickled or quantized
// weights; multimodal without text_only; links that leave the folder) · usage (merge_lora where
// nothing can be merged).
Result<Checkpoint> open_checkpoint(const std::filesystem::path& folder,
                                   const CheckpointOptions& options = {});

// True for a folder that holds a config.json beside safetensors or pickled weights.
bool looks_like_checkpoint(const std::filesystem::path& folder);

}  // namespace phiquant
