#include "format/decoder/genai_inputs.h"

#include <fmt/format.h>

namespace phiquant::format {
namespace {

const char* const kMaskPath = "/model/attn_mask_reformat/attn_mask_subgraph";

// Long rope without If: both tables lie one below the other, and positions past the original
// context are shifted.
std::string shifted_positions(GraphWriter& w) {
  const std::string base = "/model/pos_ids_reformat";
  const std::string largest = base + "/ReduceMax/output_0";
  add_int_attribute(w.node("ReduceMax", base + "/ReduceMax", {"position_ids"}, {largest}),
                    "keepdims", 0);
  const std::string context = w.int64(static_cast<int64_t>(w.decoder.rope.original_context));
  const std::string is_long = w.add("GreaterOrEqual", base + "/GreaterOrEqual", {largest, context});
  const std::string as_int = w.cast(base + "/Cast", is_long, DType::i64);
  const std::string shift = w.add("Mul", base + "/Mul", {as_int, context});
  return w.add("Add", base + "/Add_1", {shift, "position_ids"});
}

std::string write_total_length(GraphWriter& w) {
  const std::string shape = w.add("Shape", fmt::format("{}/Shape", kMaskPath), {"attention_mask"});
  const std::string one = w.int64(1), out = fmt::format("{}/Gather/output_0", kMaskPath);
  add_int_attribute(w.node("Gather", fmt::format("{}/Gather", kMaskPath), {shape, one}, {out}),
                    "axis", 0);
  return out;
}

void write_lengths(GraphWriter& w, SharedInputs& shared) {
  const std::string one = w.int64s({1}), sum = fmt::format("{}/ReduceSum/output_0", kMaskPath);
  add_int_attribute(
      w.node("ReduceSum", fmt::format("{}/ReduceSum", kMaskPath), {"attention_mask", one}, {sum}),
      "keepdims", 0);
  const std::string less_one = w.add("Sub", fmt::format("{}/Sub", kMaskPath), {sum, one});
  shared.seqlens_k = w.cast(fmt::format("{}/Sub/Cast", kMaskPath), less_one, DType::i32);
  if (w.decoder.block_sparse)
    shared.key_lengths = w.cast(fmt::format("{}/ReduceSum/Cast", kMaskPath), sum, DType::i32);
}

}  // namespace

void write_interface(GraphWriter& w) {
  const Decoder& d = w.decoder;
  w.input("input_ids", DType::i64, {"batch_size", "sequence_length"});
  w.input("attention_mask", DType::i64, {"batch_size", "total_sequence_length"});
  if (!w.target.rotary_in_attention)
    w.input("position_ids", DType::i64, {"batch_size", "sequence_length"});
  w.output("logits", w.io == DType::bf16 ? DType::f32 : w.io,
           {"batch_size", "sequence_length", std::to_string(d.vocab)});
  const std::string heads = std::to_string(d.n_kv_heads);
  for (const char* kind : {"key", "value"})
    for (uint32_t i = 0; i < d.n_layers; ++i) {
      w.input(fmt::format("past_key_values.{}.{}", i, kind), w.io,
              {"batch_size", heads, "past_sequence_length", "kv_cache_dim"});
      w.output(fmt::format("present.{}.{}", i, kind), w.io,
               {"batch_size", heads, "total_sequence_length", "kv_cache_dim"});
    }
}

SharedInputs write_preprocessing(GraphWriter& w) {
  SharedInputs shared;
  if (!w.target.rotary_in_attention)
    shared.position_ids =
        w.decoder.rope.long_branch && !w.target.has_if ? shifted_positions(w) : "position_ids";
  shared.total_length_int64 = write_total_length(w);
  write_rope(w, shared);
  write_lengths(w, shared);
  shared.total_length =
      w.cast(fmt::format("{}/Gather/Cast", kMaskPath), shared.total_length_int64, DType::i32);
  if (w.decoder.block_sparse) write_block_mask(w, shared);
  return shared;
}

}  // namespace phiquant::format
