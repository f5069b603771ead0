#include "pipeline/execute.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <mutex>

#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>

#include "core/overload.h"
#include "pipeline/chunks.h"
#include "pipeline/run_job.h"
#include "pipeline/tensor_error.h"

namespace phiquant {
namespace {

// The first error of any worker; stops the feeding of chunks.
class FirstError {
 public:
  void set(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    failed_.store(true, std::memory_order_release);
  }
  bool failed() const { return failed_.load(std::memory_order_acquire); }
  Result<void> result() const {
    if (error_) return *error_;
    return {};
  }

 private:
  std::mutex mutex_;
  std::optional<Error> error_;
  std::atomic<bool> failed_{false};
};

struct Run {
  RunContext context;
  std::deque<JobState> states;
  tbb::enumerable_thread_specific<Workspace> workspaces;
  FirstError error;
  std::atomic<uint64_t> done_bytes{0};
  uint64_t total_bytes = 0;
};

Result<void> run_stage(Run& run, const Stage& stage, std::vector<ChunkOutcome>& outcomes,
                       const Progress& progress) {
  std::atomic<size_t> next{0};
  // The feeder is serial: it may call the user back, and it bounds the chunks in flight.
  const auto feed = [&](tbb::flow_control& control) -> size_t {
    const bool stop = progress.update && !progress.update(run.done_bytes.load(), run.total_bytes);
    if (stop || progress.cancel.requested())
      run.error.set({Errc::cancelled, "interrupted; the output was not touched"});
    if (run.error.failed() || next == stage.chunks.size()) {
      control.stop();
      return 0;
    }
    return next++;
  };
  const auto work = [&](size_t index) {
    if (run.error.failed()) return;
    const Chunk& chunk = stage.chunks[index];
    const SlotHold slot(run.context.slots);
    auto result = run_chunk(run.context, chunk, run.states[chunk.job], run.workspaces.local(),
                            outcomes[index]);
    if (!result) run.error.set(std::move(result).error());
    run.done_bytes += chunk.source_bytes;
  };
  tbb::parallel_pipeline(run.context.limits.in_flight,
                         tbb::make_filter<void, size_t>(tbb::filter_mode::serial_in_order, feed) &
                             tbb::make_filter<size_t, void>(tbb::filter_mode::parallel, work));
  return run.error.result();
}

Result<void> write_literals(const Plan& plan, AtomicOutput& output) {
  for (uint32_t f = 0; f < plan.files.size(); ++f)
    for (const Literal& literal : plan.files[f].literals)
      PHIQUANT_TRY(output.write_at(f, literal.offset, std::as_bytes(std::span(literal.bytes))));
  return {};
}

void add(ChunkOutcome& to, const ChunkOutcome& from) {
  to.error.add(from.error);
  to.cast.add(from.cast);
}

// Whether the report says of a job what its casts lost even where that is nothing.
bool always_counts_casts(const Job& job) {
  return std::visit(
      Overload{[](const CopyJob&) { return false; }, [](const CastJob&) { return true; },
               [](const DecodeJob&) { return false; }, [](const BlockJob&) { return false; },
               [](const Int8Job&) { return false; }, [](const RowJob&) { return false; }},
      job);
}

void collect(const Plan& plan, const std::vector<ChunkOutcome>& per_job, Run& run,
             ExecuteResult& result) {
  ChunkOutcome total;
  for (uint32_t j = 0; j < plan.jobs.size(); ++j) {
    const quant::CastStats& cast = per_job[j].cast;
    // A weight that is turned over while it is cast (DecodeJob) loses values as any other.
    const bool counts =
        always_counts_casts(plan.jobs[j]) || cast.overflowed + cast.underflowed + cast.nan > 0;
    const bool measured = per_job[j].error.n > 0;
    std::optional<TensorError>& error = result.errors.emplace_back();
    if (measured || counts) error = tensor_error(per_job[j].error, per_job[j].cast);
    if (measured) add(total, per_job[j]);
    if (run.states[j].non_finite) result.non_finite.push_back(*run.states[j].non_finite);
    if (run.states[j].cast_non_finite)
      result.cast_non_finite.push_back(*run.states[j].cast_non_finite);
  }
  if (total.error.n > 0) result.total_sqnr_db = tensor_error(total.error).sqnr_db;
}

}  // namespace

uint64_t planned_memory_bytes(const Plan& plan, const ExecuteOptions& options) {
  const ChunkLimits limits = chunk_limits(options);
  uint64_t largest = 0;
  for (const Stage& stage : make_stages(plan, limits))
    for (const Chunk& chunk : stage.chunks)
      largest = std::max(largest, chunk_memory_bytes(plan, chunk, limits));
  return largest * limits.in_flight;
}

Result<ExecuteResult> execute(const Plan& plan, AtomicOutput& output, const ExecuteOptions& options,
                              const Progress& progress) {
  PHIQUANT_TRY(write_literals(plan, output));
  const ChunkLimits limits = chunk_limits(options);
  const std::vector<Stage> stages = make_stages(plan, limits);
  ComputeSlots slots(limits.workers);
  Run run{{plan, output, limits, options.measure_error, &slots}, {}, {}, {}, {}, 0};
  const RunContext between_stages{plan, output, limits, options.measure_error, nullptr};
  for (size_t j = 0; j < plan.jobs.size(); ++j) run.states.emplace_back();
  for (const Stage& stage : stages)
    for (const Chunk& chunk : stage.chunks) run.total_bytes += chunk.source_bytes;

  std::vector<ChunkOutcome> per_job(plan.jobs.size());
  const tbb::global_control threads(tbb::global_control::max_allowed_parallelism, limits.in_flight);
  tbb::task_arena arena(static_cast<int>(limits.in_flight));
  for (size_t s = 0; s < stages.size(); ++s) {
    std::vector<ChunkOutcome> outcomes(stages[s].chunks.size());
    PHIQUANT_TRY(arena.execute([&] { return run_stage(run, stages[s], outcomes, progress); }));
    for (size_t c = 0; c < outcomes.size(); ++c) add(per_job[stages[s].chunks[c].job], outcomes[c]);
    // A stage ends with the reduction of at most one job.
    if (stages[s].chunks.empty() || !stages[s].chunks.back().reduce) continue;
    const uint32_t job = stages[s].chunks.back().job;
    PHIQUANT_TRY(
        finish_reduction(between_stages, job, stages[s].chunks, outcomes, run.states[job]));
  }
  if (progress.update) progress.update(run.total_bytes, run.total_bytes);
  ExecuteResult result;
  collect(plan, per_job, run, result);
  return result;
}

}  // namespace phiquant
