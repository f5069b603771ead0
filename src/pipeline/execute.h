// Runs a Plan: reads sources in chunks, quantizes them on all cores, writes each chunk to its
// place.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "core/atomic_output.h"
#include "format/plan.h"
#include "phiquant/error.h"
#include "phiquant/phiquant.h"

namespace phiquant {

struct ExecuteOptions {
  unsigned threads = 0;           // 0: all
  uint64_t max_memory_bytes = 0;  // bound on buffers
  bool measure_error = true;
};

struct NonFinite {
  uint32_t job;
  uint64_t flat_index;
  float value;
};  // first of its weight

struct ExecuteResult {
  std::vector<std::optional<TensorError>> errors;  // one per job; nullopt: not measured
  std::optional<double> total_sqnr_db;
  std::vector<NonFinite> non_finite;       // not empty: output is incomplete, must not be committed
  std::vector<NonFinite> cast_non_finite;  // NaN and infinities that casts passed on
};

// Buffers the plan needs with these options; io-free.
uint64_t planned_memory_bytes(const Plan& plan, const ExecuteOptions& options);

// Bytes do not depend on threads, chunk order or memory bound.
Result<ExecuteResult> execute(const Plan& plan, AtomicOutput& output, const ExecuteOptions& options,
                              const Progress& progress);

}  // namespace phiquant
