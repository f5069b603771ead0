// What every layer of a GenAI graph shares: lengths, positions, rotary caches, the pattern of
// sparse blocks.
#pragma once

#include <string>

#include "format/decoder/graph_writer.h"

namespace phiquant::format {

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
// The sparse layers' inputs that do not depend on the layer.
void write_block_mask(GraphWriter& w, SharedInputs& shared);

}  // namespace phiquant::format
