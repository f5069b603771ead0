// The feed-forward part: gated (down(act(gate) * up)) or plain (fc2(act(fc1))).
#include <limits>

#include "format/genai_decoder.h"
#include "phiquant/sources.h"

namespace phiquant::format {

using Part = phiquant::Role;

namespace {

// Every second number, from `first` on.
std::string every_second(GraphWriter& w, const std::string& path, const std::string& input,
                         int64_t first) {
  return w.add("Slice", path,
               {input, w.int64s({first}), w.int64s({std::numeric_limits<int64_t>::max()}),
                w.int64s({-1}), w.int64s({2})});
}

std::string write_quick_gelu(GraphWriter& w, const std::string& path, const std::string& input,
                             DType dtype) {
  if (w.is_standard) {
    const std::string scaled = w.add("Mul", path + "/Scale", {input, w.scalar(dtype, 1.702f)});
    return w.add("Mul", path + "/Mul", {input, w.add("Sigmoid", path + "/Sigmoid", {scaled})});
  }
  const std::string out = path + "/QuickGelu/output_0";
  set_float(w.node("QuickGelu", path + "/QuickGelu", {input}, {out}, "com.microsoft"), "alpha",
            1.702f);
  return out;
}

// In float32 where activations are bfloat16: ONNX Runtime has no Clip of that type.
std::string write_gegelu(GraphWriter& w, int32_t layer, const std::string& input) {
  const auto path = [&](const char* rest) { return layer_path(layer, std::string("mlp/") + rest); };
  std::string gate = every_second(w, path("gelu/Slice"), input, 0),
              linear = every_second(w, path("linear/Slice"), input, 1);
  const bool widens = w.io == DType::bf16;
  const DType dtype = widens ? DType::f32 : w.io;
  if (widens) {
    gate = w.cast(path("gelu/Cast"), gate, dtype);
    linear = w.cast(path("linear/Cast"), linear, dtype);
  }
  if (const auto limit = w.decoder.activation_limit) {
    const std::string most = w.scalar(dtype, *limit), least = w.scalar(dtype, -*limit);
    gate = w.add("Clip", path("gelu/Clip"), {gate, "", most});
    linear = w.add("Clip", path("linear/Clip"), {linear, least, most});
  }
  linear = w.add("Add", path("linear/Add"), {linear, w.scalar(dtype, 1)});
  const std::string gelu = write_quick_gelu(w, path("act_fn"), gate, dtype);
  const std::string product = w.add("Mul", path("Mul"), {gelu, linear});
  return widens ? w.cast(path("Mul/Cast"), product, w.io) : product;
}

std::string activate(GraphWriter& w, int32_t layer, const std::string& input) {
  if (w.decoder.activation == Activation::gegelu) return write_gegelu(w, layer, input);
  if (w.decoder.activation == Activation::gelu_tanh) {
    const std::string path = layer_path(layer, "mlp/act_fn/FastGelu"), out = path + "/output_0";
    set_string(w.node("Gelu", path, {input}, {out}), "approximate", "tanh");
    return out;
  }
  const std::string gate = w.add("Sigmoid", layer_path(layer, "mlp/act_fn/Sigmoid"), {input});
  return w.add("Mul", layer_path(layer, "mlp/act_fn/Mul"), {input, gate});
}

std::string write_linear(GraphWriter& w, const char* name, Part role, int32_t layer,
                         const std::string& input) {
  const bool biased = w.has(role, layer, true);
  SourceTensor bias;
  if (biased) bias = w.weight(role, layer, true);
  return w.linear(layer_path(layer, std::string("mlp/") + name), role, layer, input,
                  w.weight(role, layer), biased ? &bias : nullptr);
}

// gate and up out of one tensor: gate rows, then up.
std::pair<std::string, std::string> write_gate_up(GraphWriter& w, int32_t layer,
                                                  const std::string& input) {
  if (!w.has(Part::mlp_gate_up, layer))
    return {write_linear(w, "gate_proj", Part::mlp_gate, layer, input),
            write_linear(w, "up_proj", Part::mlp_up, layer, input)};
  const uint64_t ffn = w.decoder.ffn;
  const SourceTensor rows = w.weight(Part::mlp_gate_up, layer);
  const bool biased = w.has(Part::mlp_gate_up, layer, true);
  SourceTensor gate_bias, up_bias;
  if (biased) {
    const SourceTensor bias = w.weight(Part::mlp_gate_up, layer, true);
    gate_bias = slice_rows(bias, 0, ffn);
    up_bias = slice_rows(bias, ffn, ffn);
  }
  return {w.linear(layer_path(layer, "mlp/gate_proj"), Part::mlp_gate, layer, input,
                   slice_rows(rows, 0, ffn), biased ? &gate_bias : nullptr),
          w.linear(layer_path(layer, "mlp/up_proj"), Part::mlp_up, layer, input,
                   slice_rows(rows, ffn, ffn), biased ? &up_bias : nullptr)};
}

}  // namespace

std::string write_mlp(GraphWriter& w, int32_t layer, const std::string& input) {
  if (!w.decoder.gated_mlp) {
    const bool pairs = w.decoder.activation == Activation::gegelu;
    const char *first = pairs ? "up_proj" : "fc1", *second = pairs ? "down_proj" : "fc2";
    return write_linear(w, second, Part::mlp_down, layer,
                        activate(w, layer, write_linear(w, first, Part::mlp_up, layer, input)));
  }
  const auto [gate, up] = write_gate_up(w, layer, input);
  const std::string product =
      w.add("Mul", layer_path(layer, "mlp/Mul"), {activate(w, layer, gate), up});
  return write_linear(w, "down_proj", Part::mlp_down, layer, product);
}

}  // namespace phiquant::format
