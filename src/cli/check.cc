// Combinations of options that cannot work, found before any work starts.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string_view>
#include <vector>

#include "cli/check_gguf.h"
#include "cli/check_mlx.h"
#include "cli/options.h"
#include "cli/parse.h"
#include "quant/scheme.h"

namespace phiquant::cli {
namespace {

Error usage(std::string message) { return Error{Errc::usage, std::move(message)}; }

std::string_view precision_name(const Invocation& q) {
  return kPrecisionNames[static_cast<size_t>(q.quantize.recipe.precision)];
}

// Options that only make sense for some precisions, and whether they were given.
struct Limited {
  bool given;
  std::string_view option;
  bool integer;  // for int4 and int8; else for fp16 and bf16
};

Result<void> check_precision(const Invocation& q) {
  const Request& o = q.quantize;
  const bool integer =
      o.recipe.precision == Precision::int4 || o.recipe.precision == Precision::int8;
  const bool half = o.recipe.precision == Precision::fp16 || o.recipe.precision == Precision::bf16;
  const Limited limited[] = {
      {o.recipe.block_size.has_value(), "--block-size", true},
      {q.symmetric_given, "--symmetric", true},
      {q.asymmetric_given, "--asymmetric", true},
      {o.output.onnx.accuracy_level.has_value(), "--accuracy-level", true},
      {o.output.onnx.style == Style::qdq, "--style qdq", true},
      {o.recipe.search, "--search", true},
      {!o.recipe.protect, "--uniform", true},
      {o.recipe.embeddings != TableBits::automatic && o.recipe.embeddings != TableBits::keep,
       "--embeddings", true},
      {o.recipe.lm_head != TableBits::automatic && o.recipe.lm_head != TableBits::keep, "--lm-head",
       true},
      {q.keep_io_types_given, "--keep-io-types", false},
      {!o.output.onnx.op_block_list.empty(), "--op-block-list", false},
  };
  for (const Limited& l : limited)
    if (l.given && (l.integer ? !integer : !half))
      return usage(
          fmt::format("{}: has no meaning with --precision {} (it is for {}; leave it out)",
                      l.option, precision_name(q), l.integer ? "int4 and int8" : "fp16 and bf16"));
  return {};
}

unsigned bits_of(Precision precision) { return precision == Precision::int4 ? 4 : 8; }

// Schemes for the same operator that offer `bits`.
std::vector<std::string_view> same_packing(const Scheme& scheme, unsigned bits) {
  std::vector<std::string_view> names;
  for (const Scheme& other : block_schemes())
    if (other.packing == scheme.packing && (other.bits_mask & (1u << bits)))
      names.push_back(other.name);
  return names;
}

Result<void> check_block_scheme(const Invocation& q, const Scheme& scheme) {
  const Request& o = q.quantize;
  const bool integer =
      o.recipe.precision == Precision::int4 || o.recipe.precision == Precision::int8;
  if (integer && !(scheme.bits_mask & (1u << bits_of(o.recipe.precision))))
    return usage(fmt::format("--scheme {}: has no {}-bit form{} (use {}, or see 'phiquant list')",
                             scheme.name, bits_of(o.recipe.precision),
                             scheme.float_zero_points
                                 ? ", for MatMulNBits takes float zero points with 4 bits only"
                                 : "",
                             fmt::join(same_packing(scheme, bits_of(o.recipe.precision)), " or ")));
  if (!integer)
    return usage(fmt::format("--scheme {}: not for --precision {} (see 'phiquant list')",
                             scheme.name, precision_name(q)));
  if (scheme.packing == Packing::n_major)
    return usage(fmt::format("--scheme {}: is for embedding tables only (use --embeddings {})",
                             scheme.name, precision_name(q)));
  if (q.symmetric_given && !scheme.symmetric)
    return usage(fmt::format("--symmetric: scheme {} is always asymmetric (leave --symmetric out)",
                             scheme.name));
  if (q.asymmetric_given && !scheme.asymmetric)
    return usage(fmt::format("--asymmetric: scheme {} is always symmetric (leave --asymmetric out)",
                             scheme.name));
  if (o.output.onnx.style == Style::qdq && scheme.packing == Packing::nbits)
    return usage(fmt::format("--style qdq: scheme {} is for MatMulNBits only (leave --scheme out)",
                             scheme.name));
  return {};
}

Result<void> check_scheme(const Invocation& q) {
  const Request& o = q.quantize;
  if (o.recipe.scheme.empty()) return {};
  if (const Scheme* scheme = find_block_scheme(o.recipe.scheme))
    return check_block_scheme(q, *scheme);
  const GraphScheme* scheme = find_graph_scheme(o.recipe.scheme);
  if (!scheme)
    return usage(fmt::format("--scheme {}: unknown (see 'phiquant list')", o.recipe.scheme));
  if (scheme->precision != o.recipe.precision)
    return usage(fmt::format("--scheme {}: is for --precision {}, not {}", scheme->name,
                             kPrecisionNames[static_cast<size_t>(scheme->precision)],
                             precision_name(q)));
  if (o.recipe.block_size)
    return usage(fmt::format("--block-size: scheme {} has no blocks (leave --block-size out)",
                             scheme->name));
  if (o.output.onnx.accuracy_level)
    return usage(fmt::format("--accuracy-level: scheme {} makes no MatMulNBits (leave it out)",
                             scheme->name));
  return {};
}

Result<void> check_output(const Invocation& q) {
  const Request& o = q.quantize;
  if (o.output.path.empty())
    return usage("--output: missing (give -o OUT: a folder, or a file ending in .onnx or .gguf)");
  if (o.output.path == "-")
    return usage(
        "--output -: a model cannot be written to standard output, because it is written out of "
        "order "
        "(give a file or folder)");
  if (q.report == "-")
    return usage("--report -: wanted a file name (--json prints the report on standard output)");
  return {};
}

Result<void> check_quantize(const Invocation& q) {
  PHIQUANT_TRY(check_output(q));
  PHIQUANT_TRY(check_gguf(q));
  PHIQUANT_TRY(check_mlx(q));
  if (!q.precision_given)
    return usage(fmt::format("--precision: missing (one of {})", "int4, int8, fp16, bf16, fp32"));
  if (q.symmetric_given && q.asymmetric_given)
    return usage("--symmetric and --asymmetric: contradict each other (leave one out)");
  PHIQUANT_TRY(check_precision(q));
  if (q.quantize.output.format == OutputFormat::gguf ||
      q.quantize.output.format == OutputFormat::mlx)
    return {};
  PHIQUANT_TRY(check_scheme(q));
  const Request& o = q.quantize;
  if (o.recipe.search && !o.recipe.scheme.empty() && o.recipe.scheme != "search")
    return usage(fmt::format("--search and --scheme {}: contradict each other (leave one out)",
                             o.recipe.scheme));
  if (!o.recipe.protect && o.recipe.precision != Precision::int4)
    return usage(
        "--uniform: only for --precision int4 (other precisions are uniform already; leave it "
        "out)");
  if (!o.recipe.protect && o.recipe.lm_head != TableBits::automatic)
    return usage("--uniform and --lm-head: contradict each other (leave one out)");
  if (o.output.onnx.style == Style::qdq && o.output.onnx.accuracy_level)
    return usage(
        "--accuracy-level: an attribute of MatMulNBits, which --style qdq does not use (leave one "
        "out)");
  return {};
}

}  // namespace

Result<void> check_request(const Invocation& request) {
  if (request.quiet && request.verbose)
    return usage("--quiet and --verbose: contradict each other (leave one out)");
  if (request.verb == Verb::quantize) return check_quantize(request);
  return {};
}

}  // namespace phiquant::cli
