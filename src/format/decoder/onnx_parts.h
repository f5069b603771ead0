// What the two ONNX dialects of the decoder's walk share. All read the block's description
// (Decoder), never the architecture's name.
#pragma once

#include <string>

#include "format/decoder/graph_writer.h"

namespace phiquant::format {

// The cosines (or sines) of a branch for positions 0 .. length, [length, dims / 2] float32.
SourceTensor rope_table(const Rope& rope, const RopeBranch& branch, uint64_t length, bool is_cos,
                        const std::string& name);

// 1 / sqrt(head_size), or what the model has instead.
float attention_scale(const Decoder& decoder);

// Where a norm lies: "layers.3/input_layernorm".
std::string norm_path(const Decoder& decoder, Role role, int32_t layer);

// Rows of the table, times the model's scale.
std::string write_embedding(GraphWriter& w);
std::string write_activation(GraphWriter& w, int32_t layer, const std::string& input);
// Experts chosen by the sparse mixer: com.microsoft::QMoE where they are a stack, else plain
// MatMuls.
std::string write_moe(GraphWriter& w, int32_t layer, const std::string& input);
// logits, scaled, those of unused tokens the lowest number.
void write_head(GraphWriter& w, const std::string& input);

// ---- The dialects

// The whole graph with com.microsoft operators and a cache, for ONNX Runtime GenAI.
void write_genai_decoder(GraphWriter& w);
// The same of standard operators only (opset 21), input_ids to logits, without a cache. With
// `n_tokens` every shape is fixed: [1, n_tokens] to [1, n_tokens, vocab].
void write_plain_decoder(GraphWriter& w, std::optional<uint32_t> n_tokens);

// Errors: unsupported, where ONNX Runtime's SparseAttention cannot compute the decoder's. `folder`
// is for messages.
Result<void> check_block_sparse(const Decoder& decoder, const std::string& folder);

}  // namespace phiquant::format
