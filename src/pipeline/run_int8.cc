// Int8Job: the range of each channel first, then 8-bit codes.
#include <algorithm>
#include <limits>

#include "pipeline/run_job.h"

namespace phiquant {
namespace {

// Merges a tile's ranges into the job's. Minimum and maximum do not depend on the order.
void merge_ranges(const Int8Job& job, uint64_t n0, size_t cols, const float* lo, const float* hi,
                  JobState& state) {
  const std::lock_guard lock(state.mutex);
  const size_t channels = job.per_channel ? static_cast<size_t>(job.source.n) : 1;
  if (state.lo.empty()) {
    state.lo.assign(channels, std::numeric_limits<float>::infinity());
    state.hi.assign(channels, -std::numeric_limits<float>::infinity());
  }
  for (size_t c = 0; c < cols; ++c) {
    const size_t channel = job.per_channel ? static_cast<size_t>(n0) + c : 0;
    state.lo[channel] = std::min(state.lo[channel], lo[c]);
    state.hi[channel] = std::max(state.hi[channel], hi[c]);
  }
}

// Parameters of the columns of a region.
struct Columns {
  std::vector<quant::Int8Params> params;
  std::vector<float> scales, zeros;
};

Columns columns_of(const Int8Job& job, const Region& r, const JobState& state) {
  Columns columns;
  for (size_t c = 0; c < r.cols(); ++c) {
    columns.params.push_back(state.int8[job.per_channel ? static_cast<size_t>(r.n0) + c : 0]);
    columns.scales.push_back(columns.params[c].scale);
    columns.zeros.push_back(static_cast<float>(columns.params[c].zero_point));
  }
  return columns;
}

// Rows of a region that are read and used at a time, so that they stay in the second-level cache.
size_t rows_at_a_time(const Region& r) {
  constexpr size_t kValues = 128 << 10;
  return std::clamp<size_t>(kValues / r.cols(), std::min<size_t>(8, r.rows()), r.rows());
}

// `rows` rows from row k of the region on to codes in their orientation; `out`: the region's first
// code.
void encode_rows(const Int8Job& job, const Region& r, size_t k, size_t rows, const Columns& columns,
                 bool measure, Workspace& work, std::byte* out, quant::ErrorSums& sums) {
  const size_t cols = r.cols();
  const bool kn = orientation_of(job) == Orientation::kn;
  std::byte* codes = out + k * cols;
  if (!kn) {
    work.unpacked.resize(std::max(work.unpacked.size(), rows * cols));
    codes = reinterpret_cast<std::byte*>(work.unpacked.data());
  }
  quant::int8_encode(work.x.data(), cols, rows, cols, columns.params.data(), job.is_signed, codes,
                     cols);
  if (measure) {
    const BlockView view{codes, cols, columns.scales.data(), columns.zeros.data()};
    quant::block_error_sums(Packing::k_major, 8, job.is_signed, view, work.x.data(), cols, rows,
                            cols, sums);
  }
  if (kn) return;
  for (size_t c = 0; c < cols; ++c)
    for (size_t i = 0; i < rows; ++i) out[c * r.rows() + k + i] = codes[i * cols + c];
}

// First pass: the range of each channel in the region.
Result<void> find_ranges(const Int8Job& job, const Chunk& chunk, JobState& state, Workspace& work) {
  const Region& r = chunk.region;
  const size_t cols = r.cols(), step = rows_at_a_time(r);
  std::vector<float> lo(cols, std::numeric_limits<float>::infinity()),
      hi(cols, -std::numeric_limits<float>::infinity());
  for (uint64_t k = r.k0; k < r.k1; k += step) {
    const uint64_t end = std::min<uint64_t>(k + step, r.k1);
    const size_t rows = static_cast<size_t>(end - k);
    PHIQUANT_TRY(work.reader.tile(k, end, work.x.data()));
    if (note_non_finite(job.source, chunk, k, r.n0, {work.x.data(), rows * cols}, cols, state))
      return {};
    quant::column_min_max(work.x.data(), cols, rows, cols, lo.data(), hi.data());
  }
  merge_ranges(job, r.n0, cols, lo.data(), hi.data(), state);
  return {};
}

}  // namespace

Result<void> run_int8(const RunContext& context, const Int8Job& job, const Chunk& chunk,
                      JobState& state, Workspace& work, ChunkOutcome& outcome) {
  const Region& r = chunk.region;
  const size_t cols = r.cols(), step = rows_at_a_time(r);
  work.x.resize(std::max(work.x.size(), step * cols));
  PHIQUANT_TRY(work.reader.begin(job.source, r));
  if (chunk.reduce) return find_ranges(job, chunk, state, work);
  if (state.int8.empty()) return {};  // the reduction met a NaN
  const uint64_t offset =
      orientation_of(job) == Orientation::kn ? r.k0 * job.source.n : r.n0 * job.source.k;
  std::byte* out = buffer_for(context, work.codes, job.codes, offset, r.rows() * cols);
  const Columns columns = columns_of(job, r, state);
  for (uint64_t k = r.k0; k < r.k1; k += step) {
    const uint64_t end = std::min<uint64_t>(k + step, r.k1);
    PHIQUANT_TRY(work.reader.tile(k, end, work.x.data()));
    encode_rows(job, r, static_cast<size_t>(k - r.k0), static_cast<size_t>(end - k), columns,
                context.measure, work, out, outcome.error);
  }
  return write_tensor(context, job.codes, offset, {out, r.rows() * cols});
}

Result<void> finish_int8_reduction(const RunContext& context, const Int8Job& job, JobState& state) {
  // Not the stored dtype: a bf16 weight behind a Cast to float gets float scales.
  const DType dtype = context.plan.tensors[job.scales].dtype;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;
  for (size_t c = 0; c < state.lo.size(); ++c) {
    state.int8.push_back(quant::int8_from_range(state.lo[c], state.hi[c], job.symmetric,
                                                job.is_signed, job.reduce_range, dtype));
    scales.push_back(state.int8.back().scale);
    zeros.push_back(static_cast<uint8_t>(state.int8.back().zero_point));
  }
  Workspace work;
  PHIQUANT_TRY(write_floats(context, work, job.scales, 0, scales));
  if (job.zero_points == kNoTensor) return {};
  return write_tensor(context, job.zero_points, 0, std::as_bytes(std::span(zeros)));
}

}  // namespace phiquant
