#include "cli/check_gguf.h"

#include <string_view>

#include <fmt/format.h>

#include "cli/options.h"
#include "decide/mix_gguf.h"
#include "quant/scheme.h"

namespace phiquant::cli {
namespace {

Error usage(std::string message) { return Error{Errc::usage, std::move(message)}; }

struct Given {
  bool given;
  std::string_view option;
};

Result<void> refuse(std::initializer_list<Given> options, std::string_view why) {
  for (const Given& g : options)
    if (g.given) return usage(fmt::format("{}: {}", g.option, why));
  return {};
}

Result<void> check_others(const Invocation& q) {
  const Request& o = q.quantize;
  PHIQUANT_TRY(
      refuse({{!o.recipe.include.empty(), "--include"}, {!o.recipe.exclude.empty(), "--exclude"}},
             "not for --format gguf (use --tensor-type GLOB=f16)"));
  return refuse({{o.recipe.block_size.has_value(), "--block-size"},
                 {q.symmetric_given, "--symmetric"},
                 {q.asymmetric_given, "--asymmetric"},
                 {o.output.onnx.accuracy_level.has_value(), "--accuracy-level"},
                 {o.output.onnx.style == Style::qdq, "--style qdq"},
                 {o.recipe.search, "--search"},
                 {!o.recipe.protect, "--uniform"},
                 {o.recipe.embeddings != TableBits::automatic, "--embeddings"},
                 {o.recipe.lm_head != TableBits::automatic, "--lm-head"},
                 {q.keep_io_types_given, "--keep-io-types"},
                 {!o.output.onnx.op_block_list.empty(), "--op-block-list"},
                 {o.recipe.mixed_layers, "--mixed-layers"},
                 {o.recipe.defaults == Defaults::builder, "--recipe builder"},
                 {o.output.onnx.target != Target::cpu, "--target"}},
                "has no meaning with --format gguf, whose --scheme says it all (leave it out)");
}

}  // namespace

void settle_gguf(Invocation& q) {
  Request& o = q.quantize;
  if (o.output.format == OutputFormat::automatic && o.output.path.extension() == ".gguf")
    o.output.format = OutputFormat::gguf;
  const GgufFileType* type = find_gguf_file_type(o.recipe.scheme);
  if (o.output.format != OutputFormat::gguf || q.precision_given || !type) return;
  o.recipe.precision = type->nearest;
  q.precision_given = true;
}

Result<void> check_gguf(const Invocation& q) {
  const Request& o = q.quantize;
  const GgufFileType* type = find_gguf_file_type(o.recipe.scheme);
  if (o.output.format != OutputFormat::gguf) {
    const bool is_other = find_graph_scheme(o.recipe.scheme) || find_block_scheme(o.recipe.scheme);
    if (type && !is_other && o.output.format != OutputFormat::mlx)
      return usage(fmt::format("--scheme {}: is a GGUF file type (add --format gguf)", type->name));
    return refuse({{!o.recipe.imatrix.empty(), "--imatrix"},
                   {!o.recipe.tensor_types.empty(), "--tensor-type"},
                   {!o.recipe.token_embedding_type.empty(), "--token-embedding-type"},
                   {!o.recipe.output_tensor_type.empty(), "--output-tensor-type"},
                   {o.recipe.pure, "--pure"},
                   {o.output.gguf.via_f16, "--via-f16"}},
                  "only for --format gguf (leave it out)");
  }
  PHIQUANT_TRY(check_others(q));
  if (!o.recipe.scheme.empty() && !type)
    return usage(
        fmt::format("--scheme {}: is no GGUF file type (see 'phiquant list')", o.recipe.scheme));
  if (type && type->nearest != o.recipe.precision)
    return usage(
        fmt::format("--scheme {}: goes with --precision {}, not {} (leave --precision out)",
                    type->name, kPrecisionNames[static_cast<size_t>(type->nearest)],
                    kPrecisionNames[static_cast<size_t>(o.recipe.precision)]));
  const bool is_integer =
      o.recipe.precision == Precision::int4 || o.recipe.precision == Precision::int8;
  if (q.precision_given && !is_integer && !o.recipe.imatrix.empty())
    return usage("--imatrix: floats have no use for it (leave it out)");
  return {};
}

}  // namespace phiquant::cli
