#include "decide/integer_settings.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/nearest.h"

namespace phiquant {
namespace {

constexpr uint32_t kBlockSizes[] = {16, 32, 64, 128, 256};  // what the runtimes' kernels take

constexpr Int8Scheme kInt8Schemes[] = {
    {"qdq_channel", "int8, a scale per output channel, DequantizeLinear", Layout::qdq_int8, true},
    {"qdq_tensor", "int8, a scale per tensor, DequantizeLinear", Layout::qdq_int8, false},
    {"dynamic", "int8 per tensor, activations quantized at run time, as quantize_dynamic",
     Layout::dynamic, false},
    {"dynamic_channel", "the same with a scale per output channel (per_channel=True)",
     Layout::dynamic, true}};

std::string default_scheme(const Recipe& r, const OnnxSettings& onnx) {
  if (onnx.style == Style::qdq) return r.precision == Precision::int4 ? "qdq" : "qdq_channel";
  return r.search ? "search" : "matmul_nbits";
}

Result<void> set_scheme(const OnnxSettings& onnx, const std::string& name, IntegerSettings& s) {
  std::vector<std::string> known;
  for (const Int8Scheme& scheme : kInt8Schemes) {
    known.push_back(scheme.name);
    if (name != scheme.name) continue;
    s.linear = scheme.layout;
    s.per_channel = scheme.per_channel;
    if (s.bits != 8)
      return Error{Errc::usage, fmt::format("--scheme {} is for --precision int8 only", name)};
    return {};
  }
  for (const Scheme& scheme : block_schemes())
    if (scheme.packing != Packing::n_major) known.emplace_back(scheme.name);
  const Scheme* scheme = find_block_scheme(name);
  if (!scheme || scheme->packing == Packing::n_major)
    return Error{Errc::usage, fmt::format("--scheme {}: no such scheme{} (known: {})", name,
                                          did_you_mean(name, known), fmt::join(known, ", "))};
  s.kernel = scheme;
  s.linear = scheme->packing == Packing::nbits ? Layout::nbits : Layout::qdq_blocks;
  if (!(scheme->bits_mask & (1u << s.bits))) {
    std::vector<std::string_view> others;
    for (const Scheme& other : block_schemes())
      if (other.packing == scheme->packing && (other.bits_mask & (1u << s.bits)))
        others.push_back(other.name);
    return Error{
        Errc::usage,
        fmt::format("--scheme {} has no {}-bit form{} (try --scheme {}, or another --precision)",
                    name, s.bits,
                    scheme->float_zero_points
                        ? ": MatMulNBits takes float zero points with 4-bit codes only"
                        : "",
                    fmt::join(others, " or "))};
  }
  if (onnx.style == Style::qdq && s.linear == Layout::nbits)
    return Error{
        Errc::usage,
        fmt::format("--scheme {} makes MatMulNBits, which --style qdq excludes (try --scheme qdq)",
                    name)};
  return {};
}

Result<void> check_pairs(const Recipe& r, const OnnxSettings& onnx, const IntegerSettings& s) {
  if (r.search && s.name != "search")
    return Error{
        Errc::usage,
        fmt::format("--search and --scheme {} exclude each other (leave one out)", s.name)};
  if (r.block_size && !s.kernel)
    return Error{Errc::usage, fmt::format("--block-size has no meaning for --scheme {}", s.name)};
  if (std::find(std::begin(kBlockSizes), std::end(kBlockSizes), s.block_size) ==
      std::end(kBlockSizes))
    return Error{Errc::usage,
                 fmt::format("--block-size {}: found {}, wanted one of {}", s.block_size,
                             s.block_size, fmt::join(kBlockSizes, ", "))};
  if (s.kernel && s.symmetric && !s.kernel->symmetric)
    return Error{Errc::usage,
                 fmt::format("--scheme {} is always asymmetric (leave out --symmetric)", s.name)};
  if (s.kernel && !s.symmetric && !s.kernel->asymmetric)
    return Error{Errc::usage,
                 fmt::format("--scheme {} is always symmetric (leave out --asymmetric)", s.name)};
  if (s.accuracy_level < 0 || s.accuracy_level > 4)
    return Error{Errc::usage, fmt::format("--accuracy-level {}: wanted 0 to 4", s.accuracy_level)};
  if (onnx.accuracy_level && s.linear != Layout::nbits)
    return Error{
        Errc::usage,
        fmt::format(
            "--accuracy-level is an attribute of MatMulNBits, which --scheme {} does not make",
            s.name)};
  return {};
}

}  // namespace

Result<IntegerSettings> integer_settings(const Recipe& r, const OnnxSettings& onnx,
                                         int accuracy_level) {
  IntegerSettings s;
  s.style = onnx.style;
  s.bits = r.precision == Precision::int4 ? 4 : 8;
  s.name = r.scheme.empty() ? default_scheme(r, onnx) : r.scheme;
  PHIQUANT_TRY(set_scheme(onnx, s.name, s));
  s.block_size = r.block_size.value_or(32);
  s.symmetric = r.symmetric.value_or(s.kernel ? s.kernel->symmetric : true);
  s.accuracy_level = onnx.accuracy_level.value_or(accuracy_level);
  PHIQUANT_TRY(check_pairs(r, onnx, s));
  return s;
}

std::span<const Int8Scheme> int8_schemes() { return kInt8Schemes; }

}  // namespace phiquant
