#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "cli/catalog.h"
#include "cli/commands.h"
#include "cli/report_json.h"
#include "cli/terminal.h"
#include "cli/text.h"

namespace phiquant::cli {
namespace {

std::string zero_points(const SchemeLine& scheme) {
  if (scheme.symmetric && scheme.asymmetric) return "sym, asym";
  return scheme.symmetric ? "sym" : scheme.asymmetric ? "asym" : "-";
}

std::string list_text() {
  Table schemes("llllll"), formats("ll"), simd("ll");
  schemes.row({"name", "format", "precision", "codes", "blocks", "what it is"});
  for (const SchemeLine& s : scheme_lines())
    schemes.row({std::string(s.name), std::string(s.format),
                 fmt::format("{}", fmt::join(s.precisions, ", ")), zero_points(s),
                 s.blocks ? s.format == "mlx" ? "32-128" : "16-256" : "-", std::string(s.summary)});
  for (const FormatLine& f : format_lines())
    formats.row({std::string(f.name), std::string(f.summary)});
  for (const SimdLine& t : simd_lines()) simd.row({std::string(t.name), t.active ? "in use" : ""});
  return "Schemes (--scheme)\n" + schemes.text(2) + "\nFormats\n" + formats.text(2) +
         "\nSIMD levels (PHIQUANT_SIMD)\n" + simd.text(2);
}

}  // namespace

Result<void> run_list(const Invocation& request) {
  return print(request.json ? list_json() : list_text());
}

}  // namespace phiquant::cli
