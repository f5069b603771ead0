#include "decide/mix_onnx.h"

#include <fmt/format.h>

#include "decide/protect.h"

namespace phiquant {
namespace {

class OnnxRule {
 public:
  OnnxRule(const Recipe& recipe, const IntegerSettings& settings, const Decoder* decoder,
           bool shares_embedding)
      : recipe_(recipe), s_(settings), decoder_(decoder), shares_embedding_(shares_embedding) {}

  Choice operator()(const Slot& slot, const Choice* head) const {
    switch (slot.kind) {
      case SlotKind::linear:
        return linear(slot);
      case SlotKind::table:
        return slot.is_tied ? tied_table(head) : table(recipe_.embeddings);
      case SlotKind::conv:
        return conv();
      case SlotKind::experts:
        // --search reaches experts, --scheme search does not.
        return blocks(Layout::nbits, s_.bits, true, "",
                      recipe_.search ? *find_method("search") : peer_method());
      case SlotKind::vector:
      case SlotKind::other:
        break;
    }
    return {};
  }

 private:
  static Choice int8(Layout layout, bool per_channel, bool symmetric, std::string reason) {
    Choice c;
    c.encoding = &onnx_encoding(layout);
    c.params = {8, 0, symmetric, per_channel};
    c.method = &peer_method();
    c.reason = std::move(reason);
    return c;
  }

  Choice blocks(Layout layout, unsigned bits, bool symmetric, std::string reason,
                const Method& method) const {
    Choice c;
    c.encoding = &onnx_encoding(layout);
    c.params = {bits, s_.block_size, symmetric, true};
    c.method = &method;
    c.reason = std::move(reason);
    return c;
  }
  // With the request's method where it has such codes, else with the peer's.
  Choice blocks(Layout layout, unsigned bits, bool symmetric, std::string reason) const {
    const Scheme* kernel = s_.kernel;
    // Runtimes take float zero points with 4-bit codes only.
    const bool offered = kernel && (kernel->bits_mask & (1u << bits)) &&
                         !(kernel->float_zero_points && bits != s_.bits);
    return blocks(layout, bits, symmetric, std::move(reason),
                  offered ? *find_method(kernel->method) : peer_method());
  }

  Choice matrix(unsigned bits, std::string reason) const {
    if (!s_.in_blocks()) return int8(s_.linear, s_.per_channel, s_.symmetric, std::move(reason));
    // 8-bit codes beside blocks of 4 bits: a scale per channel runs wherever those blocks do.
    if (s_.linear == Layout::qdq_blocks && bits == 8 && s_.bits == 4)
      return int8(Layout::qdq_int8, true, true, std::move(reason));
    Choice c = blocks(s_.linear, bits, s_.symmetric, std::move(reason));
    const Scheme& kernel = *block_kernel(*c.encoding, *c.method);
    c.params.symmetric = s_.symmetric ? kernel.symmetric : !kernel.asymmetric;
    return c;
  }

  Choice linear(const Slot& slot) const {
    if (slot.is(Role::router)) return stay_float("routers are never quantized");
    if (slot.is(Role::lm_head) && recipe_.lm_head != TableBits::automatic) return head();
    if (const auto more = protection(slot, decoder_, recipe_))
      return matrix(more->bits, more->reason);
    return matrix(s_.bits, "");
  }

  // As --lm-head says.
  Choice head() const {
    if (recipe_.lm_head == TableBits::keep) return stay_float("--lm-head keep");
    const unsigned bits = recipe_.lm_head == TableBits::int8 || !s_.in_blocks() ? 8 : 4;
    if (recipe_.lm_head == TableBits::int4 && bits == 8)
      return matrix(8, "8-bit, this scheme has no 4-bit form");
    return matrix(bits, bits == s_.bits ? "" : fmt::format("--lm-head int{}", bits));
  }

  Choice table(TableBits wanted) const {
    if (wanted == TableBits::automatic || wanted == TableBits::keep)
      return stay_float("embeddings stay float (--embeddings int8 or int4 to change)");
    const unsigned bits = wanted == TableBits::int4 ? 4 : 8;
    if (s_.linear == Layout::dynamic)
      return int8(Layout::dynamic, false, s_.symmetric,
                  bits == 4 ? "8-bit, this scheme has no 4-bit form" : "");
    if (s_.linear == Layout::nbits)
      return blocks(Layout::gather, bits, s_.symmetric, "", peer_method());
    if (bits == 8) return int8(Layout::qdq_int8, true, s_.symmetric, "");
    return blocks(Layout::qdq_blocks, bits, s_.symmetric, "", peer_method());
  }

  // The embedding reads what the lm_head is made of, unless it is to be something else.
  Choice tied_table(const Choice* head) const {
    const bool is_builder = recipe_.defaults == Defaults::builder;
    const bool head_stays = !head || head->is_float();
    if (!shares_embedding_ || s_.style == Style::qdq || recipe_.embeddings == TableBits::keep)
      return table(recipe_.embeddings);
    Choice shared = head ? *head : Choice{};
    shared.shares_head = true;
    shared.reason = head_stays ? "" : "shares the codes of lm_head";
    if (recipe_.embeddings == TableBits::automatic) {
      if (!is_builder) return shared;
      // The builder shares codes under int4 only, and takes the Gather for a weight of its own once
      // the lm_head stays float.
      if (s_.bits == 8) return table(TableBits::keep);
      return head_stays ? table(TableBits::int4) : shared;
    }
    const unsigned wanted = recipe_.embeddings == TableBits::int4 ? 4 : 8;
    const bool can_own = s_.linear == Layout::nbits;
    return !can_own && !head_stays && head->params.bits == wanted ? shared
                                                                  : table(recipe_.embeddings);
  }

  Choice conv() const {
    if (s_.bits == 4) return stay_float("Conv has no 4-bit form (try --precision int8)");
    const bool dynamic = s_.linear == Layout::dynamic;
    return int8(dynamic ? Layout::dynamic : Layout::qdq_int8,
                !dynamic && (s_.in_blocks() || s_.per_channel), s_.symmetric, "");
  }

  const Recipe& recipe_;
  const IntegerSettings& s_;
  const Decoder* decoder_;
  bool shares_embedding_;
};

Choice fit(const Slot& slot, Choice c, const OnnxLimits& limits) {
  if (c.is_float()) return c;
  if (c.params.bits == 8 && !limits.eight_bits)
    return stay_float(fmt::format("{} has no 8-bit weights", limits.provider));
  if (c.encoding->layout == Layout::dynamic && slot.seen_dtype() != DType::f32)
    return stay_float("DynamicQuantizeLinear takes float32 activations only");
  if (c.encoding->layout == Layout::dynamic && slot.kind == SlotKind::table && slot.is_turned)
    return stay_float("a transposed table");
  constexpr int64_t kPerChannel = 13;
  if (c.encoding->layout == Layout::qdq_int8 && c.params.per_channel &&
      slot.seen_dtype() == DType::f32 && limits.opset < kPerChannel) {
    c.params.per_channel = false;
    c.reason = fmt::format("one scale for the tensor: opset {} has no per-channel DequantizeLinear",
                           limits.opset);
  }
  return c;
}

}  // namespace

Capability onnx_capability(const Recipe& recipe, const IntegerSettings* settings,
                           const Decoder* decoder, const OnnxLimits& limits) {
  if (!settings)
    return {[shares = limits.shares_embedding](const Slot& slot, const Choice*) -> Result<Choice> {
              Choice c;
              c.shares_head = slot.is_tied && shares;
              return c;
            },
            nullptr};
  return {[rule = OnnxRule(recipe, *settings, decoder, limits.shares_embedding)](
              const Slot& slot, const Choice* head) -> Result<Choice> { return rule(slot, head); },
          [limits](const Slot& slot, Choice choice) -> Result<Choice> {
            return fit(slot, std::move(choice), limits);
          }};
}

}  // namespace phiquant
