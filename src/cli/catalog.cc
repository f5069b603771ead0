#include "cli/catalog.h"

#include <cstdlib>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/options.h"
#include "core/nearest.h"
#include "decide/integer_settings.h"
#include "decide/mix_gguf.h"
#include "decide/mix_mlx.h"
#include "format/formats.h"
#include "quant/kernels.h"
#include "quant/scheme.h"

namespace phiquant::cli {

std::vector<SchemeLine> scheme_lines() {
  std::vector<SchemeLine> lines;
  for (const Scheme& scheme : block_schemes()) {
    std::vector<std::string_view> precisions;
    if (scheme.bits_mask & (1u << 4)) precisions.push_back("int4");
    if (scheme.bits_mask & (1u << 8)) precisions.push_back("int8");
    lines.push_back(
        {scheme.name, precisions, scheme.symmetric, scheme.asymmetric, true, scheme.summary});
  }
  for (const GraphScheme& scheme : graph_schemes()) {
    const bool integer = scheme.precision == Precision::int8;
    lines.push_back({scheme.name,
                     {kPrecisionNames[static_cast<size_t>(scheme.precision)]},
                     integer,
                     integer,
                     false,
                     scheme.summary});
  }
  for (const GgufFileType& type : gguf_file_types())
    lines.push_back({type.name,
                     {kPrecisionNames[static_cast<size_t>(type.nearest)]},
                     false,
                     false,
                     false,
                     type.summary,
                     "gguf"});
  for (const MlxScheme& mlx : mlx_schemes())
    lines.push_back({mlx.name,
                     {kPrecisionNames[static_cast<size_t>(mlx.precision)]},
                     false,
                     mlx.mode == "affine",
                     mlx.mode == "affine",
                     mlx.summary,
                     "mlx"});
  return lines;
}

std::vector<FormatLine> format_lines() {
  std::vector<FormatLine> lines;
  for (const Format& row : formats()) lines.push_back({row.name, row.summary});
  return lines;
}

std::vector<SimdLine> simd_lines() {
  std::vector<SimdLine> lines;
  for (const std::string_view name : quant::available_simd())
    lines.push_back({name, name == quant::active_simd()});
  return lines;
}

Result<void> apply_simd_variable() {
  const char* wanted = std::getenv("PHIQUANT_SIMD");
  if (wanted == nullptr || *wanted == '\0' || quant::force_simd(wanted)) return {};
  return Error{
      Errc::usage,
      fmt::format("PHIQUANT_SIMD={}: unknown or not offered by this CPU{}; wanted one of {}",
                  wanted, did_you_mean(wanted, quant::available_simd()),
                  fmt::join(quant::available_simd(), ", "))};
}

}  // namespace phiquant::cli
