#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "core/atomic_output.h"
#include "core/overload.h"
#include "decide/decide.h"
#include "format/formats.h"
#include "format/legality.h"
#include "format/side_files.h"
#include "model/gguf/checkpoint.h"
#include "model/readers.h"
#include "model/tokenizer/tokenizer_maker.h"
#include "phiquant/phiquant.h"
#include "pipeline/execute.h"
#include "pipeline/keep_codes.h"

namespace phiquant {
namespace {

namespace fs = std::filesystem;

// Replacing a folder that holds the input, or the input file itself, would destroy the user's
// model.
Result<void> refuse_input_as_output(const std::vector<fs::path>& files, const fs::path& output) {
  // The folder too: a link to the input inside the output would be lost.
  for (const fs::path& file : files)
    if (path_is_within(file, output) || path_is_within(fs::absolute(file).parent_path(), output))
      return Error{Errc::usage,
                   fmt::format("{}: the output would replace the input file {} (choose another -o)",
                               output.string(), file.string())};
  return {};
}

// The format that a GGUF model becomes: the one asked for, else GGUF again.
const Format& gguf_format(const OutputSpec& output) {
  return format_info(output.format == OutputFormat::automatic ? OutputFormat::gguf : output.format);
}

Result<Plan> plan_model(Checkpoint& checkpoint, const Format& format, const Request& request,
                        const Evidence& evidence) {
  MadeTokenizer made;
  if (format.has_tokenizer) {
    PHIQUANT_ASSIGN(made, make_tokenizer(checkpoint));
  }
  std::erase_if(checkpoint.sidecars, [&](const fs::path& sidecar) {
    return std::any_of(made.files.begin(), made.files.end(),
                       [&](const TokenizerFile& file) { return sidecar.filename() == file.name; });
  });
  PHIQUANT_TRY(check_legality(request, Input::checkpoint, format.format));
  PHIQUANT_ASSIGN(Plan plan, plan_draft(format.from_checkpoint(checkpoint, request, evidence),
                                        request, evidence));
  keep_stored_codes(plan);
  for (const TokenizerFile& file : made.files) format::add_text_file(plan, file.name, file.text);
  if (!made.warning.empty()) plan.warnings.push_back(made.warning);
  return plan;
}

// A format that does not keep the structure of GGUF files takes their weights as a checkpoint's.
Result<Plan> plan_model(const GgufModel& model, const Format& format, const Request& request,
                        const Evidence& evidence) {
  if (format.from_gguf)
    return plan_draft(format.from_gguf(model, request, evidence), request, evidence);
  PHIQUANT_ASSIGN(Checkpoint checkpoint, gguf_checkpoint(model));
  return plan_model(checkpoint, format, request, evidence);
}

Result<void> read_evidence(const Recipe& recipe, Evidence& evidence) {
  if (recipe.imatrix.empty() || evidence.imatrix) return {};
  PHIQUANT_ASSIGN(Imatrix imatrix, read_imatrix(recipe.imatrix));
  evidence.imatrix = std::make_shared<const Imatrix>(std::move(imatrix));
  return {};
}

Result<Plan> plan_of(const Request& request, Evidence& evidence) {
  const Reader& reader = reader_of(request.source.path);
  const OutputSpec& output = request.output;
  if (reader.kind == ModelKind::onnx)
    PHIQUANT_TRY(check_legality(request, Input::onnx, output.format));
  PHIQUANT_ASSIGN(Model model, reader.open(request.source));
  PHIQUANT_TRY(refuse_input_as_output(files_of(model), output.path));
  const Result<void> read = read_evidence(request.recipe, evidence);
  Result<Plan> plan = std::visit(
      Overload{[&](Checkpoint& m) {
                 return plan_model(m, checkpoint_format(output), request, evidence);
               },
               [&](GgufModel& m) { return plan_model(m, gguf_format(output), request, evidence); },
               [&](OnnxModel& m) {
                 const Format& format = format_info(OutputFormat::onnx);
                 return plan_draft(format.from_onnx(std::move(m), request, evidence), request,
                                   evidence);
               }},
      model);
  // What the model cannot become is said before what is wrong with a file beside it.
  if (plan && !read) return read.error();
  return plan;
}

const std::string& source_name(const Job& job) {
  return std::visit([](const auto& j) -> const std::string& { return j.source.name; }, job);
}

ReportRow report_row(const PlanRow& row) {
  return {row.tensor, row.node,         row.role,        std::string(dtype_name(row.from)),
          row.shape,  row.action,       row.bits,        row.block_size,
          row.reason, row.bytes_before, row.bytes_after, std::nullopt};
}

QuantizeReport start_report(const Plan& plan, const Request& options,
                            const ExecuteOptions& execution) {
  QuantizeReport report;
  for (const PlanRow& row : plan.rows) report.rows.push_back(report_row(row));
  report.warnings = plan.warnings;
  for (const OutFile& file : plan.files) {
    report.files.push_back({file.path, file.size_bytes});
    report.output_bytes += file.size_bytes;
  }
  report.input_bytes = plan.input_bytes;
  report.peak_memory_bytes = planned_memory_bytes(plan, execution);
  report.free_disk_bytes = free_disk_bytes(options.output.path);
  report.dry_run = options.run.dry_run;
  return report;
}

const char* kind_of(const NonFinite& bad) { return std::isnan(bad.value) ? "NaN" : "infinity"; }

Error refuse_non_finite(const Plan& plan, const NonFinite& bad, const Request& options) {
  return {Errc::verify,
          fmt::format("{}: tensor '{}': {} at element {} (leave out --strict to keep it)",
                      options.source.path.string(), source_name(plan.jobs[bad.job]), kind_of(bad),
                      bad.flat_index)};
}

// Weights that cannot be quantized for NaN or infinities: an error under --strict, otherwise they
// stay floats.
Result<void> judge_non_finite(const Plan& plan, const ExecuteResult& result, const Request& options,
                              Evidence& evidence, std::vector<std::string>& warnings) {
  for (const NonFinite& bad : result.non_finite) {
    if (options.run.strict) return refuse_non_finite(plan, bad, options);
    const std::string& name = source_name(plan.jobs[bad.job]);
    evidence.non_finite.insert(name);
    warnings.push_back(fmt::format("tensor '{}' holds {} at element {} and stays float", name,
                                   kind_of(bad), bad.flat_index));
  }
  return {};
}

// Values that a 16-bit float could not hold, and those that were no numbers before: reported, and
// an error under --strict.
Result<void> judge_casts(const Plan& plan, const ExecuteResult& result, const Request& options,
                         std::vector<std::string>& warnings) {
  for (const NonFinite& bad : result.cast_non_finite) {
    if (options.run.strict) return refuse_non_finite(plan, bad, options);
    warnings.push_back(fmt::format("tensor '{}' holds {} at element {}",
                                   source_name(plan.jobs[bad.job]), kind_of(bad), bad.flat_index));
  }
  for (size_t j = 0; j < plan.jobs.size(); ++j) {
    const auto& error = result.errors[j];
    if (!error || error->overflowed + error->underflowed == 0) continue;
    const std::string what =
        fmt::format("tensor '{}': {} values overflow and {} underflow in {}",
                    source_name(plan.jobs[j]), error->overflowed, error->underflowed,
                    kPrecisionNames[static_cast<size_t>(options.recipe.precision)]);
    if (options.run.strict)
      return Error{
          Errc::verify,
          fmt::format("{}: {} (try --precision bf16, or leave the tensor out with --exclude)",
                      options.source.path.string(), what)};
    if (error->overflowed > 0) warnings.push_back(what);
  }
  return {};
}

struct Attempt {
  Plan plan;
  std::unique_ptr<AtomicOutput> output;
  ExecuteResult result;
};

Result<Attempt> attempt(const Request& options, Plan plan, const ExecuteOptions& execution,
                        const Progress& progress) {
  std::vector<OutputFileSpec> files;
  for (const OutFile& file : plan.files) files.push_back({file.path, file.size_bytes});
  PHIQUANT_ASSIGN(auto output, AtomicOutput::create(options.output.path, files,
                                                    {plan.is_directory, options.run.force, true}));
  if (progress.step) progress.step("quantizing");
  PHIQUANT_ASSIGN(ExecuteResult result, execute(plan, *output, execution, progress));
  return Attempt{std::move(plan), std::move(output), std::move(result)};
}

}  // namespace

Result<QuantizeReport> quantize(const Request& request, const Progress& progress) {
  PHIQUANT_ASSIGN(const Request options, settle(request));
  const auto start = std::chrono::steady_clock::now();
  const ExecuteOptions execution{options.run.threads, options.run.max_memory_bytes,
                                 options.run.measure_error};
  Evidence evidence;
  std::vector<std::string> warnings;
  if (progress.step) progress.step("planning");
  PHIQUANT_ASSIGN(Plan plan, plan_of(options, evidence));
  if (options.run.dry_run) {
    std::error_code ec;
    if (!options.run.force && fs::exists(options.output.path, ec))
      plan.warnings.push_back(
          fmt::format("{} exists: the run will need --force", options.output.path.string()));
    return start_report(plan, options, execution);
  }

  PHIQUANT_ASSIGN(Attempt done, attempt(options, std::move(plan), execution, progress));
  // Rare: found only while streaming, so the plan is made again without these weights. Experts of
  // one tensor come apart at the first repetition, and the bad one is left out at the second.
  constexpr int kMaxRepetitions = 2;
  for (int n = 0; !done.result.non_finite.empty(); ++n) {
    if (n == kMaxRepetitions)
      return refuse_non_finite(done.plan, done.result.non_finite.front(), options);
    PHIQUANT_TRY(judge_non_finite(done.plan, done.result, options, evidence, warnings));
    done.output.reset();
    PHIQUANT_ASSIGN(Plan again, plan_of(options, evidence));
    PHIQUANT_ASSIGN(done, attempt(options, std::move(again), execution, progress));
  }
  PHIQUANT_TRY(judge_casts(done.plan, done.result, options, warnings));
  if (progress.step) progress.step("committing");
  QuantizeReport report = start_report(done.plan, options, execution);
  if (progress.cancel.requested())
    return Error{Errc::cancelled, "interrupted; the output was not touched"};
  PHIQUANT_TRY(done.output->commit());

  report.warnings.insert(report.warnings.end(), warnings.begin(), warnings.end());
  for (size_t i = 0; i < report.rows.size(); ++i)
    if (const auto job = done.plan.rows[i].job) report.rows[i].error = done.result.errors[*job];
  report.total_sqnr_db = done.result.total_sqnr_db;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace phiquant
