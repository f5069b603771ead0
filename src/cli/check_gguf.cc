#include "cli/check_gguf.h"

#include <string_view>

#include <fmt/format.h>

#include "cli/options.h"
#include "format/gguf_mix.h"
#include "phiquant/scheme.h"

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

Result<void> check_others(const Request& q) {
  const QuantizeOptions& o = q.quantize;
  PHIQUANT_TRY(refuse({{!o.include.empty(), "--include"}, {!o.exclude.empty(), "--exclude"}},
                      "not for --format gguf (use --tensor-type GLOB=f16)"));
  return refuse({{o.block_size.has_value(), "--block-size"},
                 {q.symmetric_given, "--symmetric"},
                 {q.asymmetric_given, "--asymmetric"},
                 {o.accuracy_level.has_value(), "--accuracy-level"},
                 {o.style == Style::qdq, "--style qdq"},
                 {o.search, "--search"},
                 {o.uniform, "--uniform"},
                 {o.embeddings != TableBits::automatic, "--embeddings"},
                 {o.lm_head != TableBits::automatic, "--lm-head"},
                 {q.keep_io_types_given, "--keep-io-types"},
                 {!o.op_block_list.empty(), "--op-block-list"},
                 {o.mixed_layers, "--mixed-layers"},
                 {o.recipe == Recipe::builder, "--recipe builder"},
                 {o.target != Target::cpu, "--target"}},
                "has no meaning with --format gguf, whose --scheme says it all (leave it out)");
}

}  // namespace

void settle_gguf(Request& q) {
  QuantizeOptions& o = q.quantize;
  if (o.format == OutputFormat::automatic && o.output.extension() == ".gguf")
    o.format = OutputFormat::gguf;
  const GgufFileType* type = find_gguf_file_type(o.scheme);
  if (o.format != OutputFormat::gguf || q.precision_given || !type) return;
  o.precision = type->nearest;
  q.precision_given = true;
}

Result<void> check_gguf(const Request& q) {
  const QuantizeOptions& o = q.quantize;
  const GgufFileType* type = find_gguf_file_type(o.scheme);
  if (o.format != OutputFormat::gguf) {
    const bool is_other = find_graph_scheme(o.scheme) || find_block_scheme(o.scheme);
    if (type && !is_other && o.format != OutputFormat::mlx)
      return usage(fmt::format("--scheme {}: is a GGUF file type (add --format gguf)", type->name));
    return refuse({{!o.imatrix.empty(), "--imatrix"},
                   {!o.tensor_types.empty(), "--tensor-type"},
                   {!o.token_embedding_type.empty(), "--token-embedding-type"},
                   {!o.output_tensor_type.empty(), "--output-tensor-type"},
                   {o.pure, "--pure"},
                   {o.via_f16, "--via-f16"}},
                  "only for --format gguf (leave it out)");
  }
  PHIQUANT_TRY(check_others(q));
  if (!o.scheme.empty() && !type)
    return usage(fmt::format("--scheme {}: is no GGUF file type (see 'phiquant list')", o.scheme));
  if (type && type->nearest != o.precision)
    return usage(
        fmt::format("--scheme {}: goes with --precision {}, not {} (leave --precision out)",
                    type->name, kPrecisionNames[static_cast<size_t>(type->nearest)],
                    kPrecisionNames[static_cast<size_t>(o.precision)]));
  const bool is_integer = o.precision == Precision::int4 || o.precision == Precision::int8;
  if (q.precision_given && !is_integer && !o.imatrix.empty())
    return usage("--imatrix: floats have no use for it (leave it out)");
  return {};
}

}  // namespace phiquant::cli
