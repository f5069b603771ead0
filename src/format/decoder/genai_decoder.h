// The parts of a decoder's graph. All read the block's description (Decoder), never the
// architecture's name.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "format/decoder/graph_writer.h"

namespace phiquant::format {

// What attention of every layer shares.
struct SharedInputs {
  std::string seqlens_k, total_length;  // int32: keys per sequence minus 1; keys in all
  // Of block-sparse attention: keys per sequence, int32; the blocks that each head sees, int32 CSR.
  std::string key_lengths, block_rows, block_columns;
  std::string cos_cache, sin_cache;
  std::string position_ids;  // where RotaryEmbedding nodes need it
  std::string total_length_int64;
};

// Graph inputs and outputs: ids, mask, positions, past and present keys and values, logits.
void write_interface(GraphWriter& w);
// Nodes that turn mask and positions into what attention takes, and the rotary caches.
SharedInputs write_preprocessing(GraphWriter& w);
// cos_cache and sin_cache as initializers, or as the outputs of an If over the two branches.
void write_rope(GraphWriter& w, SharedInputs& shared);
// The cosines (or sines) of a branch for positions 0 .. length, [length, dims / 2] float32.
SourceTensor rope_table(const Rope& rope, const RopeBranch& branch, uint64_t length, bool is_cos,
                        const std::string& name);

// Errors: unsupported, where ONNX Runtime's SparseAttention cannot compute the decoder's. `folder`
// is for messages.
Result<void> check_block_sparse(const Decoder& decoder, const std::string& folder);
// The sparse layers' inputs that do not depend on the layer.
void write_block_mask(GraphWriter& w, SharedInputs& shared);

// Rows of the table, times the model's scale.
std::string write_embedding(GraphWriter& w);
std::string write_attention(GraphWriter& w, int32_t layer, const std::string& input,
                            const SharedInputs& shared);
std::string write_mlp(GraphWriter& w, int32_t layer, const std::string& input);
// The three projections, each with its bias; and the one behind attention.
std::vector<std::string> write_projections(GraphWriter& w, int32_t layer, const std::string& input);
std::string write_output_projection(GraphWriter& w, int32_t layer, const std::string& input);
// 1 / sqrt(head_size), or what the model has instead.
float attention_scale(const Decoder& decoder);
// logits, scaled, those of unused tokens the lowest number.
void write_head(GraphWriter& w, const std::string& input);
// Experts chosen by the sparse mixer: com.microsoft::QMoE where they are a stack, else plain
// MatMuls.
std::string write_moe(GraphWriter& w, int32_t layer, const std::string& input);

// A norm. With `skip` the sum input + skip is normalized; `sum` is that sum's name where wanted
// (else "").
struct NormOutputs {
  std::string normalized, sum;
};
NormOutputs write_norm(GraphWriter& w, const std::string& name, Role role, int32_t layer,
                       const std::string& input, const std::string& skip, bool want_sum);

// The whole graph with com.microsoft operators and a cache, for ONNX Runtime GenAI.
void write_decoder(GraphWriter& w);

// The same of standard operators only (opset 21), input_ids to logits, without a cache. With
// `n_tokens` every shape is fixed: [1, n_tokens] to [1, n_tokens, vocab].
void write_plain_decoder(GraphWriter& w, std::optional<uint32_t> n_tokens);

}  // namespace phiquant::format
