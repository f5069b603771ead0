#include "cli/check_mlx.h"

#include <fmt/format.h>

#include "cli/options.h"
#include "decide/mix_gguf.h"
#include "decide/mix_mlx.h"
#include "quant/scheme.h"

namespace phiquant::cli {
namespace {

Error usage(std::string message) { return Error{Errc::usage, std::move(message)}; }

std::string_view name_of(Precision p) { return kPrecisionNames[static_cast<size_t>(p)]; }

// Words of other formats; those that a plan sees too are its own to refuse.
Result<void> check_others(const Invocation& q) {
  if (q.keep_io_types_given)
    return usage("--keep-io-types: has no meaning with --format mlx (leave it out)");
  return {};
}

}  // namespace

void settle_mlx(Invocation& q) {
  Request& o = q.quantize;
  const MlxScheme* scheme = find_mlx_scheme(o.recipe.scheme);
  if (o.output.format != OutputFormat::mlx || q.precision_given || !scheme) return;
  o.recipe.precision = scheme->precision;
  q.precision_given = true;
}

Result<void> check_mlx(const Invocation& q) {
  const Request& o = q.quantize;
  const MlxScheme* scheme = find_mlx_scheme(o.recipe.scheme);
  if (o.output.format != OutputFormat::mlx) {
    const bool is_other = find_graph_scheme(o.recipe.scheme) ||
                          find_block_scheme(o.recipe.scheme) ||
                          find_gguf_file_type(o.recipe.scheme);
    if (scheme && !is_other)
      return usage(fmt::format("--scheme {}: is one of MLX (add --format mlx)", scheme->name));
    if (o.output.mlx.context) return usage("--context: only for --format mlx (leave it out)");
    return {};
  }
  PHIQUANT_TRY(check_others(q));
  if (!o.recipe.scheme.empty() && !scheme)
    return usage(
        fmt::format("--scheme {}: is not one of MLX (see 'phiquant list')", o.recipe.scheme));
  if (scheme && scheme->precision != o.recipe.precision)
    return usage(
        fmt::format("--scheme {}: goes with --precision {}, not {} (leave --precision out)",
                    scheme->name, name_of(scheme->precision), name_of(o.recipe.precision)));
  return {};
}

}  // namespace phiquant::cli
