#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/quantize_text.h"
#include "cli/report_json.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "core/atomic_output.h"

namespace phiquant::cli {
namespace {

namespace fs = std::filesystem;

fs::path real_path(const fs::path& path) {
  std::error_code ec;
  fs::path real = fs::weakly_canonical(fs::absolute(path, ec), ec);
  if (!real.has_filename()) real = real.parent_path();
  return ec ? path : real;
}

// Before any work: a report that could not be written, or that would destroy something, is refused.
Result<void> check_report(const Invocation& request) {
  if (request.report.empty()) return {};
  const Request& o = request.quantize;
  const fs::path report = real_path(request.report), output = real_path(o.output.path);
  std::error_code ec;
  const auto refuse = [&](Errc code, std::string_view why) {
    return Error{code, fmt::format("--report {}: {}", request.report.string(), why)};
  };
  if (report == real_path(o.source.path))
    return refuse(Errc::usage, "would replace the input (choose another name)");
  if (report == output) return refuse(Errc::usage, "is the output too (choose another name)");
  if (report.extension() != ".json")
    return refuse(Errc::usage,
                  "wanted a name ending in .json, so that a mistyped name replaces no model");
  if (fs::is_directory(report, ec)) return refuse(Errc::usage, "is a folder (give a file name)");
  if (fs::exists(report, ec) && !o.run.force)
    return refuse(Errc::usage, "exists (replace it with --force)");
  if (report.parent_path() != output && !fs::is_directory(report.parent_path(), ec))
    return refuse(Errc::io, "its folder does not exist (make it first)");
  return {};
}

Result<void> write_report(const Invocation& request, const std::string& json) {
  PHIQUANT_ASSIGN(const auto output, AtomicOutput::create(request.report, {{"", json.size()}},
                                                          {.is_directory = false,
                                                           .force = request.quantize.run.force,
                                                           .direct_io = false}));
  PHIQUANT_TRY(output->write_at(0, 0, std::as_bytes(std::span(json))));
  return output->commit();
}

}  // namespace

Result<void> run_quantize(const Invocation& request) {
  PHIQUANT_TRY(check_report(request));
  ProgressBar bar(!request.quiet && request.progress.value_or(stderr_is_terminal()));
  Result<QuantizeReport> report = quantize(request.quantize, bar.callbacks());
  bar.clear();
  if (!report) return std::move(report).error();
  for (const std::string& warning : report->warnings) spdlog::warn("{}", terminal_text(warning));
  const std::string json =
      request.json || !request.report.empty() ? quantize_json(request, *report) : "";
  if (!request.report.empty()) PHIQUANT_TRY(write_report(request, json));
  if (request.json) return print(json);
  if (request.quiet && !report->dry_run) return {};
  return print(quantize_text(request, *report));
}

}  // namespace phiquant::cli
