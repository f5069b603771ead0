#include "format/gguf/weights.h"

#include <gtest/gtest.h>

namespace phiquant {
namespace {

TEST(GgufWeights, OrderIsByBlockThenName) {
  EXPECT_TRUE(gguf_order("token_embd.weight", "blk.0.attn_k.weight"));
  EXPECT_TRUE(gguf_order("blk.2.z", "blk.10.a"));
  EXPECT_TRUE(gguf_order("output.weight", "output_norm.weight"));
  EXPECT_FALSE(gguf_order("blk.1.b", "blk.1.a"));
}

}  // namespace
}  // namespace phiquant
