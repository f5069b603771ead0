#include "cli/check_mlx.h"

#include <fmt/format.h>

#include "cli/options.h"
#include "format/gguf_mix.h"
#include "format/mlx_policy.h"
#include "phiquant/scheme.h"

namespace phiquant::cli {
namespace {

Error usage(std::string message) { return Error{Errc::usage, std::move(message)}; }

std::string_view name_of(Precision p) { return kPrecisionNames[static_cast<size_t>(p)]; }

// Words of other formats; those that a plan sees too are its own to refuse.
Result<void> check_others(const Request& q) {
  if (q.keep_io_types_given)
    return usage("--keep-io-types: has no meaning with --format mlx (leave it out)");
  return {};
}

}  // namespace

void settle_mlx(Request& q) {
  QuantizeOptions& o = q.quantize;
  const format::MlxScheme* scheme = format::find_mlx_scheme(o.scheme);
  if (o.format != OutputFormat::mlx || q.precision_given || !scheme) return;
  o.precision = scheme->precision;
  q.precision_given = true;
}

Result<void> check_mlx(const Request& q) {
  const QuantizeOptions& o = q.quantize;
  const format::MlxScheme* scheme = format::find_mlx_scheme(o.scheme);
  if (o.format != OutputFormat::mlx) {
    const bool is_other =
        find_graph_scheme(o.scheme) || find_block_scheme(o.scheme) || find_gguf_file_type(o.scheme);
    if (scheme && !is_other)
      return usage(fmt::format("--scheme {}: is one of MLX (add --format mlx)", scheme->name));
    if (o.context) return usage("--context: only for --format mlx (leave it out)");
    return {};
  }
  PHIQUANT_TRY(check_others(q));
  if (!o.scheme.empty() && !scheme)
    return usage(fmt::format("--scheme {}: is not one of MLX (see 'phiquant list')", o.scheme));
  if (scheme && scheme->precision != o.precision)
    return usage(
        fmt::format("--scheme {}: goes with --precision {}, not {} (leave --precision out)",
                    scheme->name, name_of(scheme->precision), name_of(o.precision)));
  return {};
}

}  // namespace phiquant::cli
