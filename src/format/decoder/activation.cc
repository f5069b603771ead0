// Activations of the feed-forward part.
#include <limits>

#include "format/decoder/onnx_parts.h"

namespace phiquant::format {

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

}  // namespace

std::string write_activation(GraphWriter& w, int32_t layer, const std::string& input) {
  if (w.decoder.activation == Activation::gegelu) return write_gegelu(w, layer, input);
  if (w.decoder.activation == Activation::gelu_tanh) {
    const std::string path = layer_path(layer, "mlp/act_fn/FastGelu"), out = path + "/output_0";
    set_string(w.node("Gelu", path, {input}, {out}), "approximate", "tanh");
    return out;
  }
  const std::string gate = w.add("Sigmoid", layer_path(layer, "mlp/act_fn/Sigmoid"), {input});
  return w.add("Mul", layer_path(layer, "mlp/act_fn/Mul"), {input, gate});
}

}  // namespace phiquant::format
