#include <algorithm>
#include <map>
#include <string>

#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/report_json.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "core/tensor.h"
#include "phiquant/phiquant.h"

namespace phiquant::cli {
namespace {

constexpr size_t kTensorsShown = 20;  // without -v

std::string totals(const InspectReport& report) {
  struct Sum {
    uint64_t tensors = 0, bytes = 0;
  };
  std::map<std::string, Sum> sums;
  for (const InspectTensor& t : report.tensors) {
    Sum& sum = sums[t.type];
    ++sum.tensors;
    sum.bytes += t.size_bytes;
  }
  Table table("lrr");
  for (const auto& [dtype, sum] : sums)
    table.row({dtype, counted(sum.tensors, "tensor"), human_bytes(sum.bytes)});
  return table.text(2);
}

std::string tensors(const InspectReport& report, bool all) {
  const size_t shown = all ? report.tensors.size() : std::min(report.tensors.size(), kTensorsShown);
  Table table("lllrlll");
  table.row({"name", "dtype", "shape", "bytes", "where", "used by", "can become"});
  for (size_t i = 0; i < shown; ++i) {
    const InspectTensor& t = report.tensors[i];
    table.row({t.name, t.type, shape_string(t.shape), with_commas(t.size_bytes), t.location,
               t.used_by, t.quantizable.empty() ? "-" : t.quantizable});
  }
  std::string text = table.text(2);
  if (shown < report.tensors.size())
    text += fmt::format("  and {} more (-v shows all)\n", report.tensors.size() - shown);
  return text;
}

std::string inspect_text(const InspectReport& report, bool verbose) {
  std::string text = terminal_text(fmt::format("{}: {}, {}", report.path, report.format,
                                               human_bytes(report.size_bytes))) +
                     "\n";
  Table properties("ll"), io("lll"), ops("rl");
  for (const auto& [name, value] : report.properties) properties.row({name, value});
  for (const auto& value : report.io)
    io.row({value.is_input ? "input" : "output", value.name, value.type});
  for (const auto& [op, count] : report.ops) ops.row({with_commas(count), op});
  text += "\nProperties\n" + properties.text(2);
  if (!report.io.empty()) text += "\nInputs and outputs\n" + io.text(2);
  if (!report.ops.empty()) text += "\nOperators\n" + ops.text(2);
  text += "\nTensors\n" + tensors(report, verbose) + "\nTotals\n" + totals(report);
  if (!report.warnings.empty()) text += "\nWarnings\n";
  for (const std::string& warning : report.warnings) text += "  " + terminal_text(warning) + "\n";
  return text;
}

}  // namespace

Result<void> run_inspect(const Invocation& request) {
  PHIQUANT_ASSIGN(const InspectReport report,
                  inspect(request.operands[0], request.quantize.source.follow_symlinks));
  return print(request.json ? inspect_json(report) : inspect_text(report, request.verbose));
}

}  // namespace phiquant::cli
