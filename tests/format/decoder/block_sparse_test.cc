// Block-sparse attention: the lists of blocks that SparseAttention takes, and what it cannot do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "format/decoder/onnx_parts.h"
#include "format/genai/genai_checkpoint.h"
#include "format/onnx/onnx_builder.h"
#include "format/plans.h"

namespace phiquant::format {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// As Phi-3-small's, but for its size: 2 layers, the second one dense.
Checkpoint sparse_checkpoint() {
  Checkpoint c = small_checkpoint();
  c.architecture = "Phi3SmallForCausalLM";
  c.model_type = "phi3small";
  c.decoder.block_sparse = BlockSparse{16, 2, 3, false, 2};
  return c;
}

// The values of an int32 tensor that a plan writes.
std::vector<int32_t> values_of(const Plan& plan, const std::string& name) {
  for (const Job& job : plan.jobs)
    if (const auto* copy = std::get_if<CopyJob>(&job); copy && copy->source.name == name) {
      std::vector<int32_t> out(copy->source.bytes->size_bytes() / sizeof(int32_t));
      EXPECT_TRUE(copy->source.bytes->read(0, std::as_writable_bytes(std::span(out))));
      return out;
    }
  ADD_FAILURE() << name;
  return {};
}

bool sees(const BlockSparse& b, uint64_t query, uint64_t key, uint64_t shift) {
  return key <= query && (b.is_nearby(query, key) || b.is_beyond(key, shift));
}

TEST(BlockSparse, WhichLayersAndBlocks) {
  const BlockSparse b{64, 2, 4, false, 2};
  EXPECT_TRUE(b.has(0));
  EXPECT_FALSE(b.has(1));
  const auto seen = [&](uint64_t query, uint64_t shift) {
    std::vector<uint64_t> keys;
    for (uint64_t key = 0; key <= query + 1; ++key)
      if (sees(b, query, key, shift)) keys.push_back(key);
    return keys;
  };
  EXPECT_THAT(seen(0, 0), ElementsAre(0));
  EXPECT_THAT(seen(8, 0), ElementsAre(3, 7, 8));  // blocks 3, 7, ... and the two nearest
  EXPECT_THAT(seen(8, 1), ElementsAre(2, 6, 7, 8));
  // As many heads as strides or more: each moves the pattern by one; fewer: by more.
  EXPECT_EQ(b.shift(3, 8), 3u);
  EXPECT_EQ(b.shift(1, 2), 2u);
  EXPECT_EQ((BlockSparse{64, 2, 4, true, 2}.shift(3, 8)), 0u);
}

TEST(BlockSparse, ListsOfBlocksAreThoseThatAreSeen) {
  const Checkpoint c = sparse_checkpoint();
  const auto plan = plan_checkpoint(c, request(Precision::fp32));
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  const std::vector<int32_t> rows = values_of(*plan, "block_row_indices"),
                             columns = values_of(*plan, "block_col_indices");
  const uint64_t n_blocks = 16, n_heads = 2;  // 256 tokens
  ASSERT_EQ(rows.size(), n_heads * (n_blocks + 1));
  const size_t width = columns.size() / n_heads;
  bool is_padded = false;
  for (uint64_t head = 0; head < n_heads; ++head) {
    const int32_t* row = rows.data() + head * (n_blocks + 1);
    const int32_t* list = columns.data() + head * width;
    EXPECT_EQ(row[0], 0);
    for (uint64_t query = 0; query < n_blocks; ++query) {
      std::vector<int32_t> wanted;
      for (uint64_t key = 0; key < n_blocks; ++key)
        if (sees(*c.decoder.block_sparse, query, key, head))
          wanted.push_back(static_cast<int32_t>(key));
      EXPECT_EQ(std::vector<int32_t>(list + row[query], list + row[query + 1]), wanted);
    }
    for (auto i = static_cast<size_t>(row[n_blocks]); i < width; ++i, is_padded = true)
      EXPECT_EQ(list[i], -1);
  }
  EXPECT_TRUE(is_padded);
}

std::string refusal(const Checkpoint& c, const Request& o) {
  const auto plan = plan_checkpoint(c, o);
  return plan ? "" : plan.error().message;
}

TEST(BlockSparse, WhatTheOperatorCannotDoIsRefused) {
  Checkpoint c = sparse_checkpoint();
  const Request cpu = request(Precision::fp32);
  c.decoder.block_sparse->block_size = 48;
  EXPECT_EQ(refusal(c, cpu),
            "small: ONNX Runtime's SparseAttention has blocks of 16, 32, 64 or 128 tokens, "
            "config.json wants 48 (--format onnx writes standard operators, which have no such "
            "limit)");
  Request plain = cpu;
  plain.output.format = OutputFormat::onnx;
  EXPECT_EQ(refusal(c, plain), "");
  c = sparse_checkpoint();
  c.decoder.head_size = 24;
  EXPECT_THAT(refusal(c, cpu), HasSubstr("heads of a multiple of 16, they are of 24"));
  c = sparse_checkpoint();
  c.decoder.context = uint64_t{1} << 30;
  EXPECT_THAT(refusal(c, cpu), HasSubstr("lists every block that a head sees: more than 33554432"));
  // Few blocks seen of very many: as long as the list, and no longer.
  c.decoder.block_sparse = BlockSparse{16, 1, 1 << 20, false, 2};
  c.decoder.context = uint64_t{1} << 22;
  EXPECT_EQ(refusal(c, cpu), "");
  // Exactly what is listed is counted: the published model for 131072 tokens is well below.
  c.decoder.block_sparse = BlockSparse{64, 16, 8, false, 2};
  c.decoder.context = 131072;
  EXPECT_TRUE(check_block_sparse(c.decoder, "small"));
}

TEST(BlockSparse, TargetsWithoutTheOperator) {
  const Checkpoint c = sparse_checkpoint();
  EXPECT_EQ(refusal(c, request(Precision::int4, Target::cuda)), "");
  for (const auto& [precision, target] :
       {std::pair(Precision::int4, Target::dml), std::pair(Precision::fp16, Target::webgpu),
        std::pair(Precision::fp32, Target::cuda)})
    EXPECT_THAT(refusal(c, request(precision, target)),
                HasSubstr("block-sparse attention of Phi3SmallForCausalLM on cpu (int4, int8, "
                          "fp32) and cuda (int4, int8, fp16, bf16) only"));
}

// ONNX Runtime's CUDA provider has no Clip for bfloat16, and older ones no Where.
TEST(BlockSparse, OperatorsWithoutBfloat16WorkOnFloats) {
  Checkpoint c = sparse_checkpoint();
  c.decoder.activation = Activation::gegelu;
  c.decoder.activation_limit = 4;
  c.decoder.gated_mlp = false;
  c.decoder.logit_scale = 0.25f;
  c.decoder.unused_tokens = {5};
  for (int32_t i = 0; i < 2; ++i) c.weights[{Role::mlp_up, i}] = pattern("up", {192, 64});
  const auto nodes_before = [&](Precision precision, const std::string& op) {
    const auto plan = plan_checkpoint(c, request(precision, Target::cuda));
    const onnx::ModelProto model = plan ? test::written(*plan) : onnx::ModelProto();
    std::map<std::string, std::string> makers;
    for (const auto& node : model.graph().node())
      for (const std::string& output : node.output()) makers[output] = node.op_type();
    std::vector<std::string> out;
    for (const auto& node : model.graph().node())
      if (node.op_type() == op) out.push_back(makers[node.input(op == "Where" ? 2 : 0)]);
    return out;
  };
  const std::vector<std::string> casts(4, "Cast"), slices(4, "Slice");
  EXPECT_EQ(nodes_before(Precision::bf16, "Clip"), casts);
  EXPECT_EQ(nodes_before(Precision::fp16, "Clip"), slices);
  EXPECT_THAT(nodes_before(Precision::bf16, "Where"), ElementsAre("Mul"));
  EXPECT_THAT(nodes_before(Precision::bf16, "Mul"), ::testing::Contains("Cast"));
}

}  // namespace
}  // namespace phiquant::format
