// What keeps a weight float, in which order; what a tied embedding shares; what a provider cannot
// hold.
#include "decide/decide.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decide/mix_onnx.h"

namespace phiquant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Slot slot(WeightKey key, SlotKind kind, std::string tensor) {
  Slot s;
  s.key = key;
  s.kind = kind;
  s.tensor = std::move(tensor);
  s.names = {"/" + s.tensor};
  s.k = 64;
  s.n = 128;
  s.shape = {64, 128};
  s.dtype = DType::f32;
  return s;
}

std::vector<Slot> model(bool tied) {
  std::vector<Slot> slots = {slot({Role::embed}, SlotKind::table, "embed"),
                             slot({Role::attn_qkv, 0}, SlotKind::linear, "qkv"),
                             slot({Role::mlp_down, 0}, SlotKind::linear, "down"),
                             slot({Role::router, 0}, SlotKind::linear, "gate"),
                             slot({Role::lm_head}, SlotKind::linear, "head")};
  slots[0].is_tied = tied;
  return slots;
}

Recipe int4() {
  Recipe r;
  r.precision = Precision::int4;
  return r;
}

struct Decided {
  std::vector<Choice> choices;
  std::vector<std::string> warnings;
  Error error;
  const Choice& embed() const { return choices[0]; }
  const Choice& qkv() const { return choices[1]; }
  const Choice& down() const { return choices[2]; }
  const Choice& gate() const { return choices[3]; }
  const Choice& head() const { return choices[4]; }
};

Decided decided(const std::vector<Slot>& slots, const Recipe& recipe, bool tied = false,
                const Evidence& evidence = {}, OnnxLimits limits = {},
                const OnnxSettings& onnx = {}) {
  Decoder decoder;
  decoder.n_layers = 8;
  decoder.tied_embeddings = tied;
  const auto settings = integer_settings(recipe, onnx);
  EXPECT_TRUE(settings) << (settings ? "" : settings.error().message);
  const Capability capability = onnx_capability(recipe, &*settings, &decoder, limits);
  auto decisions = decide(slots, recipe, capability, evidence);
  if (!decisions) return {{}, {}, decisions.error()};
  return {decisions->choices, decisions->warnings, {}};
}

std::string text(const Choice& c) {
  return action_of(c) + (c.params.bits ? " " + std::to_string(c.params.bits) : "") +
         (c.reason.empty() ? "" : ": " + c.reason);
}

TEST(Decide, WhatStaysFloatAndWhyInThisOrder) {
  std::vector<Slot> slots = model(false);
  Evidence evidence;
  evidence.non_finite = {"qkv", "down"};
  Recipe r = int4();
  EXPECT_EQ(text(decided(slots, r, false, evidence).qkv()), "keep: holds NaN or infinity");
  r.include = {"/down", "head"};
  EXPECT_EQ(text(decided(slots, r, false, evidence).qkv()), "keep: not included");
  EXPECT_EQ(text(decided(slots, r, false, evidence).down()), "keep: holds NaN or infinity");
  r.exclude = {"*d*"};
  EXPECT_EQ(text(decided(slots, r, false, evidence).down()), "keep: excluded");
  slots[2].must_stay = "a batched weight";
  EXPECT_EQ(text(decided(slots, r, false, evidence).down()), "keep: a batched weight");
}

TEST(Decide, GlobsThatMatchNothing) {
  Recipe r = int4();
  r.exclude = {"hed"};
  EXPECT_THAT(decided(model(false), r).warnings,
              ElementsAre("--exclude 'hed' matches no node and no weight (did you mean 'head'?)"));
  r.include = {"nothing at all"};
  const Error error = decided(model(false), r).error;
  EXPECT_EQ(error.code, Errc::usage);
  EXPECT_THAT(error.message, HasSubstr("--include 'nothing at all' matches no node and no weight"));
}

TEST(Decide, GlobsAreTheFormatsWhereItDraftsNoSlots) {
  Recipe r = int4();
  r.include = {"*down*"};
  EXPECT_EQ(decided({}, r).error.message, "");
}

TEST(Decide, ProtectionIsForInt4AndOursAlone) {
  Recipe r = int4();
  Decided d = decided(model(true), r, true);
  EXPECT_THAT(text(d.head()), HasSubstr("matmul_nbits 8: 4-bit logits cost more"));
  EXPECT_THAT(text(d.down()), HasSubstr("matmul_nbits 8: tied embeddings (Phi-4-mini)"));
  EXPECT_EQ(text(d.qkv()), "matmul_nbits 4");
  EXPECT_EQ(text(d.gate()), "keep: routers are never quantized");
  EXPECT_EQ(text(decided(model(false), r, false).down()), "matmul_nbits 4");
  r.protect = false;
  d = decided(model(true), r, true);
  EXPECT_EQ(text(d.head()) + ", " + text(d.down()), "matmul_nbits 4, matmul_nbits 4");
  r.protect = true;
  r.defaults = Defaults::builder;
  EXPECT_EQ(text(decided(model(true), r, true).head()), "matmul_nbits 4");
  r = int4();
  r.precision = Precision::int8;
  EXPECT_EQ(text(decided(model(true), r, true).head()), "matmul_nbits 8");
}

TEST(Decide, AMixedRecipeLiftsSensitiveLayersOnly) {
  Recipe r = int4();
  r.mixed_layers = true;
  std::vector<Slot> slots = model(false);
  EXPECT_EQ(text(decided(slots, r).qkv()), "matmul_nbits 8: --mixed-layers");
  slots[1].key->layer = 1;  // of 8: the first eighth is layer 0; then 3, 6
  EXPECT_EQ(text(decided(slots, r).qkv()), "matmul_nbits 4");
  slots[1].key->layer = 3;
  EXPECT_EQ(text(decided(slots, r).qkv()), "matmul_nbits 8: --mixed-layers");
}

TEST(Decide, ATiedEmbeddingSharesWhatTheHeadBecame) {
  Recipe r = int4();
  EXPECT_TRUE(decided(model(true), r, true).embed().shares_head);
  EXPECT_FALSE(decided(model(false), r, false).embed().shares_head);
  r.embeddings = TableBits::keep;
  EXPECT_THAT(text(decided(model(true), r, true).embed()),
              HasSubstr("keep: embeddings stay float"));
  r.embeddings = TableBits::int4;  // the head has 8
  EXPECT_EQ(text(decided(model(true), r, true).embed()), "gather 4");
  r.embeddings = TableBits::automatic;
  OnnxSettings qdq;
  qdq.style = Style::qdq;
  EXPECT_FALSE(decided(model(true), r, true, {}, {}, qdq).embed().shares_head);
  // A head that stays float is shared as a float; the builder makes a table of its own then.
  r.lm_head = TableBits::keep;
  const Decided kept = decided(model(true), r, true);
  EXPECT_TRUE(kept.embed().shares_head && kept.embed().is_float());
  r.defaults = Defaults::builder;
  EXPECT_EQ(text(decided(model(true), r, true).embed()), "gather 4");
}

TEST(Decide, AProvidersLimitsApplyToEveryChoice) {
  OnnxLimits npu{"qnn", false, false, 21};
  Recipe r = int4();
  Decided d = decided(model(true), r, true, {}, npu);
  EXPECT_EQ(text(d.head()), "keep: qnn has no 8-bit weights");
  EXPECT_EQ(text(d.down()), "keep: qnn has no 8-bit weights");
  EXPECT_EQ(text(d.qkv()), "matmul_nbits 4");
  EXPECT_FALSE(d.embed().shares_head);
  r.embeddings = TableBits::int8;
  EXPECT_EQ(text(decided(model(false), r, false, {}, npu).embed()),
            "keep: qnn has no 8-bit weights");
  r = int4();
  r.lm_head = TableBits::int8;
  EXPECT_EQ(text(decided(model(false), r, false, {}, npu).head()),
            "keep: qnn has no 8-bit weights");
}

TEST(Decide, OpsetsAndTypesThatCannotHoldAForm) {
  Recipe r = int4();
  r.precision = Precision::int8;
  r.scheme = "qdq_channel";
  OnnxLimits old;
  old.opset = 12;
  EXPECT_EQ(text(decided(model(false), r, false, {}, old).qkv()),
            "qdq_tensor 8: one scale for the tensor: opset 12 has no per-channel DequantizeLinear");
  r.scheme = "dynamic";
  std::vector<Slot> slots = model(false);
  slots[1].seen = DType::f16;
  EXPECT_EQ(text(decided(slots, r).qkv()),
            "keep: DynamicQuantizeLinear takes float32 activations only");
  EXPECT_EQ(text(decided(slots, r).down()), "dynamic 8");
}

}  // namespace
}  // namespace phiquant
