// Experts behind the sparse mixer (SparseMixer-v2 at inference): two experts a token; the weight of
// each is its share of a softmax over those logits that lie within 2 * jitter_eps of its own,
// relative to max(|logit|, own). The second one's softmax leaves the first one out. Source:
// transformers, models/phimoe/modeling_phimoe.py, sparsemixer.
#include <cassert>

#include <fmt/format.h>

#include "format/decoder/onnx_parts.h"
#include "quant/numeric/cast_source.h"

namespace phiquant::format {

namespace {

struct Mixer {
  std::string is_first, is_second;  // bool [..., experts]
  std::string first, second;        // weights [..., 1]
};

// Two values [..., 1] out of one [..., 2].
std::pair<std::string, std::string> split_pair(GraphWriter& w, const std::string& path,
                                               const std::string& input) {
  const std::string a = path + "/output_0", b = path + "/output_1";
  onnx::NodeProto& node = w.node("Split", path, {input}, {a, b});
  add_int_attribute(node, "axis", -1);
  add_int_attribute(node, "num_outputs", 2);
  return {a, b};
}

// 1 / sum(exp(logit - top)) over the logits near `top`, without those where `without` is true.
std::string share(GraphWriter& w, const std::string& path, const std::string& logits,
                  const std::string& magnitude, const std::string& top,
                  const std::string& without) {
  const std::string below = w.add("Sub", path + "/Sub", {top, logits});
  const std::string relative =
      w.add("Div", path + "/Div", {below, w.add("Max", path + "/Max", {magnitude, top})});
  const std::string far = w.add("Greater", path + "/Greater",
                                {relative, w.scalar(DType::f32, 2 * w.decoder.moe->jitter_eps)});
  const std::string masked = without.empty() ? far : w.add("Or", path + "/Or", {far, without});
  const std::string terms = w.add("Exp", path + "/Exp", {w.add("Neg", path + "/Neg", {below})});
  const std::string kept =
      w.add("Where", path + "/Where", {masked, w.scalar(DType::f32, 0), terms});
  const std::string axes = w.int64s({-1}), sum = path + "/ReduceSum/output_0";
  add_int_attribute(w.node("ReduceSum", path + "/ReduceSum", {kept, axes}, {sum}), "keepdims", 1);
  return w.add("Reciprocal", path + "/Reciprocal", {sum});
}

Mixer write_mixer(GraphWriter& w, const std::string& path, const std::string& logits) {
  std::vector<int64_t> experts(w.decoder.moe->n_experts);
  for (size_t i = 0; i < experts.size(); ++i) experts[i] = static_cast<int64_t>(i);
  const std::string two = w.int64s({2}), order = w.int64s(experts);
  const std::string values = path + "/TopK/output_0", indices = path + "/TopK/output_1";
  w.node("TopK", path + "/TopK", {logits, two}, {values, indices});
  const auto [top1, top2] = split_pair(w, path + "/values/Split", values);
  const auto [index1, index2] = split_pair(w, path + "/indices/Split", indices);
  Mixer m;
  m.is_first = w.add("Equal", path + "/first/Equal", {order, index1});
  m.is_second = w.add("Equal", path + "/second/Equal", {order, index2});
  const std::string magnitude = w.add("Abs", path + "/Abs", {logits});
  m.first = share(w, path + "/first", logits, magnitude, top1, "");
  m.second = share(w, path + "/second", logits, magnitude, top2, m.is_first);
  return m;
}

// ---- QMoE ----

struct ExpertWeights {
  std::string codes, scales;
};

// A stack of all experts' rows as blocks of symmetric codes.
ExpertWeights add_expert_blocks(GraphWriter& w, const WeightKey& key) {
  const GraphWeight& weight = w.weight(key);
  const Choice& choice = w.choice(key);
  const Slot& slot = weight.slot;
  const unsigned bits = choice.params.bits;
  Editor& editor = w.editor();
  uint64_t bytes = 0;
  const auto add = [&](const std::string& tensor_name, DType dtype, Shape shape) {
    const uint64_t size = *tensor_bytes(dtype, shape);
    editor.plan.tensors.push_back({tensor_name, dtype, std::move(shape), size, 0, 0});
    const auto id = static_cast<TensorId>(editor.plan.tensors.size() - 1);
    w.produced(tensor_name, id);
    bytes += size;
    return id;
  };
  BlockJob job;
  job.scheme = block_kernel(*choice.encoding, *choice.method);
  job.params = {bits, choice.params.block_size, true, w.io};
  const ExpertWeights names{fmt::format("{}_Q{}", slot.tensor, bits), slot.tensor + "_scales"};
  job.codes = add(names.codes, DType::u8, {slot.stack, slot.n, slot.k * bits / 8});
  job.scales = add(names.scales, w.io, {slot.stack, slot.n, slot.k / choice.params.block_size});
  SourceTensor rows = weight.rows;
  if (w.io != DType::f32) rows = cast_source(rows, w.io);
  job.source = {slot.tensor, slot.k, slot.stack * slot.n,
                DenseStorage{std::move(rows), Orientation::nk}};
  w.stored(key, editor.add_job(std::move(job)), bytes);
  return names;
}

// The router computes in float32: which experts a token gets must not depend on the rounding of
// 16-bit logits.
std::string to_io(GraphWriter& w, const std::string& name, const std::string& input) {
  return w.io == DType::f32 ? input : w.cast(name, input, w.io);
}

std::string write_qmoe(GraphWriter& w, int32_t layer, const std::string& input,
                       const std::string& logits) {
  const std::string path = layer_path(layer, "moe");
  const std::string flat = w.add("Reshape", path + "/router/Reshape",
                                 {logits, w.int64s({-1, w.decoder.moe->n_experts})});
  const Mixer m = write_mixer(w, path + "/router", flat);
  const std::string weights =
      to_io(w, path + "/router/weights/Cast",
            w.add("Where", path + "/router/weights/Where", {m.is_first, m.first, m.second}));
  const std::string probabilities = to_io(w, path + "/router/Reshape/Cast", flat);
  const WeightKey gate_up{Role::expert_gate, layer}, down{Role::expert_down, layer};
  const ExpertWeights fc1 = add_expert_blocks(w, gate_up), fc2 = add_expert_blocks(w, down);
  const EncodingParams params = w.choice(gate_up).params;
  const std::string out = path + "/QMoE/output_0";
  onnx::NodeProto& node = w.node("QMoE", path + "/QMoE",
                                 {input, probabilities, fc1.codes, fc1.scales, "", fc2.codes,
                                  fc2.scales, "", "", "", "", "", "", "", weights},
                                 {out}, "com.microsoft");
  add_int_attribute(node, "k", 2);
  add_int_attribute(node, "expert_weight_bits", params.bits);
  add_int_attribute(node, "block_size", params.block_size);
  set_string(node, "activation_type", "swiglu");
  add_int_attribute(node, "swiglu_fusion", 1);  // rows of gate and up by turns
  set_float(node, "activation_alpha", 1);       // silu(gate) * (up + beta)
  set_float(node, "activation_beta", 0);
  add_int_attribute(node, "normalize_routing_weights", 0);
  if (w.target.target == Target::cuda)
    add_int_attribute(node, "weights_prepacked",
                      0);  // plain rows; its default is a layout of its own
  return out;
}

// ---- Plain MatMuls ----

std::string write_expert(GraphWriter& w, int32_t layer, int32_t expert, const std::string& input) {
  const std::string rest = fmt::format("moe/experts.{}/", expert);
  const auto linear = [&](Role role, const std::string& from) {
    return w.linear({role, layer, expert}, from);
  };
  const std::string gate = linear(Role::expert_gate, input), up = linear(Role::expert_up, input);
  const std::string sigmoid = w.add("Sigmoid", layer_path(layer, rest + "act_fn/Sigmoid"), {gate});
  const std::string act = w.add("Mul", layer_path(layer, rest + "act_fn/Mul"), {gate, sigmoid});
  return linear(Role::expert_down, w.add("Mul", layer_path(layer, rest + "Mul"), {act, up}));
}

// Every expert for every token, weighted: right for each type and provider, and as slow as it
// sounds.
std::string write_plain(GraphWriter& w, int32_t layer, const std::string& input,
                        const std::string& logits) {
  const std::string path = layer_path(layer, "moe");
  const Mixer m = write_mixer(w, path + "/router", logits);
  const std::string second = w.add("Where", path + "/router/second/weights/Where",
                                   {m.is_second, m.second, w.scalar(DType::f32, 0)});
  const std::string weights =
      to_io(w, path + "/router/weights/Cast",
            w.add("Where", path + "/router/weights/Where", {m.is_first, m.first, second}));
  std::vector<std::string> parts, terms;
  const auto n = static_cast<int32_t>(w.decoder.moe->n_experts);
  for (int32_t e = 0; e < n; ++e)
    parts.push_back(fmt::format("{}/router/weights/Split/output_{}", path, e));
  onnx::NodeProto& split = w.node("Split", path + "/router/weights/Split", {weights}, parts);
  add_int_attribute(split, "axis", -1);
  add_int_attribute(split, "num_outputs", n);
  for (int32_t e = 0; e < n; ++e)
    terms.push_back(w.add("Mul", fmt::format("{}/experts.{}/weighted/Mul", path, e),
                          {write_expert(w, layer, e, input), parts[static_cast<size_t>(e)]}));
  return w.add("Sum", path + "/Sum", terms);
}

}  // namespace

std::string write_moe(GraphWriter& w, int32_t layer, const std::string& input) {
  assert(w.decoder.moe && w.decoder.moe->n_used == 2);
  const std::string path = layer_path(layer, "moe/router");
  const std::string wide = w.io == DType::f32 ? input : w.cast(path + "/Cast", input, DType::f32);
  const std::string logits = w.linear({Role::router, layer}, wide);
  return w.has_stack(layer) ? write_qmoe(w, layer, input, logits)
                            : write_plain(w, layer, input, logits);
}

}  // namespace phiquant::format
