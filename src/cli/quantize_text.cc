#include "cli/quantize_text.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "cli/text.h"
#include "core/tensor.h"

namespace phiquant::cli {
namespace {

constexpr size_t kWorstShown = 3;
constexpr size_t kLabelWidth = 9;

std::string labelled(std::string_view label, std::string_view text) {
  return fmt::format("  {:<{}}{}\n", label, kLabelWidth, text);
}

// "matmul_nbits, 4 bits, block 32", "keep"
std::string what_became(const ReportRow& row) {
  std::string text = row.action;
  if (row.bits > 0 && row.action != "keep") text += fmt::format(", {} bits", row.bits);
  if (row.block_size > 0) text += fmt::format(", block {}", row.block_size);
  return text;
}

std::string sizes(const QuantizeReport& report) {
  std::string text =
      fmt::format("{} -> {}", human_bytes(report.input_bytes), human_bytes(report.output_bytes));
  if (report.input_bytes == 0 || report.output_bytes == 0) return text;
  const double ratio =
      static_cast<double>(report.input_bytes) / static_cast<double>(report.output_bytes);
  return text + (ratio >= 1 ? fmt::format(" ({:.2f} times smaller)", ratio)
                            : fmt::format(" ({:.2f} times larger)", 1 / ratio));
}

// One line per kind of action, in the order of first appearance.
std::string actions(const QuantizeReport& report) {
  struct Group {
    std::string what;
    uint64_t count, before, after;
  };
  std::vector<Group> groups;
  for (const ReportRow& row : report.rows) {
    const std::string what = what_became(row);
    auto at =
        std::find_if(groups.begin(), groups.end(), [&](const Group& g) { return g.what == what; });
    if (at == groups.end()) at = groups.insert(groups.end(), Group{what, 0, 0, 0});
    ++at->count;
    at->before += row.bytes_before;
    at->after += row.bytes_after;
  }
  std::string text;
  Table table("rlrlr");
  for (const Group& g : groups)
    table.row({with_commas(g.count), g.what, human_bytes(g.before), "->", human_bytes(g.after)});
  std::string lines = table.text(2 + kLabelWidth);
  if (!lines.empty()) lines.replace(2, 7, "tensors");
  return lines;
}

std::string worst(const QuantizeReport& report) {
  std::vector<const ReportRow*> rows;
  for (const ReportRow& row : report.rows)
    if (row.error && !(std::isinf(row.error->sqnr_db) && row.error->sqnr_db > 0))
      rows.push_back(&row);
  std::stable_sort(rows.begin(), rows.end(), [](const ReportRow* a, const ReportRow* b) {
    const double x = a->error->sqnr_db, y = b->error->sqnr_db;
    return std::isnan(x) ? !std::isnan(y) : x < y;
  });
  rows.resize(std::min(rows.size(), kWorstShown));
  Table table("rl");
  for (const ReportRow* row : rows)
    table.row({human_db(row->error->sqnr_db),
               row->tensor + (row->node.empty() ? "" : " (" + row->node + ")")});
  std::string lines = table.text(2 + kLabelWidth);
  if (!lines.empty()) lines.replace(2, 5, "worst");
  return lines;
}

std::string files(const Invocation& request, const QuantizeReport& report) {
  Table table("lr");
  for (const auto& file : report.files)
    table.row({file.path.empty() ? request.quantize.output.path.string()
                                 : (request.quantize.output.path / file.path).string(),
               with_commas(file.size_bytes) + " bytes"});
  std::string lines = table.text(2 + kLabelWidth);
  if (!lines.empty()) lines.replace(2, 5, "files");
  return lines;
}

std::string tensor_table(const QuantizeReport& report) {
  Table table("lllllrrrrrl");
  table.row({"tensor", "role", "shape", "from", "to", "bytes before", "after", "SQNR dB", "cosine",
             "max error", "note"});
  for (const ReportRow& row : report.rows) {
    const auto error = [&](auto format) {
      return row.error ? format(*row.error) : std::string("-");
    };
    table.row({row.tensor, row.role, shape_string(row.shape), row.from, what_became(row),
               with_commas(row.bytes_before), with_commas(row.bytes_after),
               error([](const TensorError& e) {
                 return std::isinf(e.sqnr_db) && e.sqnr_db > 0 ? "exact"
                                                               : fmt::format("{:.2f}", e.sqnr_db);
               }),
               error([](const TensorError& e) { return fmt::format("{:.6f}", e.cosine); }),
               error([](const TensorError& e) { return fmt::format("{:.3g}", e.max_abs); }),
               row.reason});
  }
  return table.text();
}

}  // namespace

std::string quantize_text(const Invocation& request, const QuantizeReport& report) {
  const Request& o = request.quantize;
  std::string text;
  if (request.verbose || report.dry_run) text = tensor_table(report) + "\n";
  text +=
      terminal_text(fmt::format("{} -> {}: {}{}", o.source.path.string(), o.output.path.string(),
                                kPrecisionNames[static_cast<size_t>(o.recipe.precision)],
                                report.dry_run ? ", dry run, nothing was written" : "")) +
      "\n";
  text += labelled("size", sizes(report)) + actions(report);
  if (report.total_sqnr_db)
    text += labelled("SQNR", human_db(*report.total_sqnr_db) + " over all quantized weights") +
            worst(report);
  text += files(request, report);
  if (report.dry_run) {
    text += labelled("memory",
                     fmt::format("{} of buffers at most", human_bytes(report.peak_memory_bytes)));
    const auto& free = report.free_disk_bytes;
    return text +
           labelled("disk",
                    fmt::format("{} bytes needed, {} free{}", with_commas(report.output_bytes),
                                free ? human_bytes(*free) : "unknown",
                                free && *free < report.output_bytes ? ": not enough" : ""));
  }
  const double rate =
      report.seconds > 0 ? static_cast<double>(report.input_bytes) / report.seconds : 0;
  text += labelled("time", fmt::format("{:.2f} s ({}/s)", report.seconds,
                                       human_bytes(static_cast<uint64_t>(rate))));
  if (!report.warnings.empty())
    text += labelled("warnings", fmt::format("{} (above)", report.warnings.size()));
  if (!request.report.empty()) text += labelled("report", request.report.string());
  return text;
}

}  // namespace phiquant::cli
