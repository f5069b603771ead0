#include "decide/integer_settings.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace phiquant {
namespace {

constexpr uint32_t kBlockSizes[] = {16, 32, 64, 128, 256};  // what the runtimes' kernels take

constexpr GraphScheme kGraphSchemes[] = {
    {"qdq_channel", Precision::int8, "8 bits, one scale per output channel, DequantizeLinear",
     Layout::qdq_int8, true},
    {"qdq_tensor", Precision::int8, "8 bits, one scale per tensor, DequantizeLinear",
     Layout::qdq_int8, false},
    {"dynamic", Precision::int8,
     "8-bit activations too, as quantize_dynamic: one weight scale per tensor", Layout::dynamic,
     false},
    {"dynamic_channel", Precision::int8, "the same, one weight scale per output channel",
     Layout::dynamic, true},
    {"fp16", Precision::fp16, "whole graph in float16"},
    {"bf16", Precision::bf16, "whole graph in bfloat16"},
    {"fp32", Precision::fp32, "whole graph in float32, quantized weights decoded"},
};

Result<void> set_scheme(IntegerSettings& s) {
  if (const GraphScheme* scheme = find_graph_scheme(s.name);
      scheme && scheme->precision == Precision::int8) {
    s.linear = scheme->layout;
    s.per_channel = scheme->per_channel;
    return {};
  }
  s.kernel = find_block_scheme(s.name);
  if (!s.kernel) return Error{Errc::usage, fmt::format("--scheme {}: no such scheme", s.name)};
  s.linear = s.kernel->packing == Packing::nbits ? Layout::nbits : Layout::qdq_blocks;
  return {};
}

Result<void> check_values(const IntegerSettings& s) {
  if (std::find(std::begin(kBlockSizes), std::end(kBlockSizes), s.block_size) ==
      std::end(kBlockSizes))
    return Error{Errc::usage,
                 fmt::format("--block-size {}: found {}, wanted one of {}", s.block_size,
                             s.block_size, fmt::join(kBlockSizes, ", "))};
  if (s.accuracy_level < 0 || s.accuracy_level > 4)
    return Error{Errc::usage, fmt::format("--accuracy-level {}: wanted 0 to 4", s.accuracy_level)};
  return {};
}

}  // namespace

std::span<const GraphScheme> graph_schemes() { return kGraphSchemes; }

const GraphScheme* find_graph_scheme(std::string_view name) {
  for (const GraphScheme& scheme : kGraphSchemes)
    if (scheme.name == name) return &scheme;
  return nullptr;
}

std::string scheme_of(const Recipe& r, const OnnxSettings& onnx) {
  if (!r.scheme.empty()) return r.scheme;
  if (onnx.style == Style::qdq) return r.precision == Precision::int4 ? "qdq" : "qdq_channel";
  return r.search ? "search" : "matmul_nbits";
}

Result<IntegerSettings> integer_settings(const Recipe& r, const OnnxSettings& onnx,
                                         int accuracy_level) {
  IntegerSettings s;
  s.style = onnx.style;
  s.bits = r.precision == Precision::int4 ? 4 : 8;
  s.name = scheme_of(r, onnx);
  PHIQUANT_TRY(set_scheme(s));
  s.block_size = r.block_size.value_or(32);
  s.symmetric = r.symmetric.value_or(s.kernel ? s.kernel->symmetric : true);
  s.accuracy_level = onnx.accuracy_level.value_or(accuracy_level);
  PHIQUANT_TRY(check_values(s));
  return s;
}

}  // namespace phiquant
