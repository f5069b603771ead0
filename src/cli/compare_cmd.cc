#include <cmath>
#include <string>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/report_json.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "core/tensor.h"
#include "phiquant/phiquant.h"

namespace phiquant::cli {
namespace {

std::string name_list(std::string_view title, const std::vector<std::string>& names, bool verbose) {
  if (names.empty()) return "";
  std::string text = fmt::format("{}: {}", title, counted(names.size(), "weight"));
  if (!verbose) return text + " (-v names them)\n";
  text += "\n";
  for (const std::string& name : names) text += "  " + terminal_text(name) + "\n";
  return text;
}

std::string compare_text(const CompareReport& report, bool verbose) {
  Table table("llllrrr");
  table.row({"name", "shape", "A", "B", "SQNR", "cosine", "max error"});
  for (const CompareRow& row : report.rows)
    table.row({row.name, shape_string(row.shape), row.dtype_a, row.dtype_b,
               human_db(row.error.sqnr_db), fmt::format("{:.6f}", row.error.cosine),
               fmt::format("{:.3g}", row.error.max_abs)});
  return table.text() +
         fmt::format("{}, SQNR over all {}\n", counted(report.rows.size(), "pair"),
                     human_db(report.total_sqnr_db)) +
         name_list("only in A", report.only_a, verbose) +
         name_list("only in B", report.only_b, verbose);
}

// Every pair must reach the limit: a mean would hide one ruined tensor.
Result<void> judge(const Invocation& request, const CompareReport& report) {
  if (!request.fail_below_sqnr_db) return {};
  const double limit = *request.fail_below_sqnr_db;
  const CompareRow* worst = nullptr;
  size_t below = 0;
  for (const CompareRow& row : report.rows) {
    if (row.error.sqnr_db >= limit) continue;  // NaN is below
    ++below;
    if (!worst || std::isnan(row.error.sqnr_db) || row.error.sqnr_db < worst->error.sqnr_db)
      worst = &row;
  }
  if (!worst) return {};
  return Error{Errc::verify,
               fmt::format("{}: {} below {:g} dB, the worst is '{}' with {}", request.operands[1],
                           below == 1 ? "1 weight is" : fmt::format("{} weights are", below), limit,
                           worst->name, human_db(worst->error.sqnr_db))};
}

}  // namespace

Result<void> run_compare(const Invocation& request) {
  ProgressBar bar(!request.quiet && request.progress.value_or(stderr_is_terminal()), "comparing");
  Result<CompareReport> report = compare(request.operands[0], request.operands[1],
                                         request.quantize.run.threads, bar.callbacks());
  bar.clear();
  if (!report) return std::move(report).error();
  PHIQUANT_TRY(print(request.json ? compare_json(request, *report)
                                  : compare_text(*report, request.verbose)));
  return judge(request, *report);
}

}  // namespace phiquant::cli
