// AffineJob: the range of each channel first, then 8-bit codes.
#include <algorithm>
#include <limits>

#include "pipeline/run_job.h"

namespace phiquant {
namespace {

// Merges a tile's ranges into the job's. Minimum and maximum do not depend on the order.
void merge_ranges(const AffineJob& job, uint64_t n0, size_t cols, const float* lo, const float* hi,
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

// One tile to codes in their orientation, at `out` (the chunk's first code).
void encode_tile(const AffineJob& job, const Region& r, const JobState& state, bool measure,
                 Workspace& work, std::byte* out, quant::ErrorSums& sums) {
  const size_t rows = r.rows(), cols = r.cols();
  std::vector<quant::Affine> affine(cols);
  std::vector<float> scales(cols), zeros(cols);
  for (size_t c = 0; c < cols; ++c) {
    affine[c] = state.affine[job.per_channel ? static_cast<size_t>(r.n0) + c : 0];
    scales[c] = affine[c].scale;
    zeros[c] = static_cast<float>(affine[c].zero_point);
  }
  const bool kn = orientation_of(job) == Orientation::kn;
  std::byte* codes = out;
  if (!kn) {
    work.unpacked.resize(std::max(work.unpacked.size(), rows * cols));
    codes = reinterpret_cast<std::byte*>(work.unpacked.data());
  }
  quant::affine_encode(work.x.data(), cols, rows, cols, affine.data(), job.is_signed, codes, cols);
  if (measure) {
    constexpr size_t kRows = 32;  // so that the decoded values stay in cache
    work.y.resize(std::max(work.y.size(), kRows * cols));
    for (size_t k = 0; k < rows; k += kRows) {
      const size_t n = std::min(kRows, rows - k);
      const BlockView view{codes + k * cols, cols, scales.data(), zeros.data()};
      quant::decode_block(Packing::k_major, 8, job.is_signed, view, n, cols, work.y.data(), cols);
      quant::error_sums(work.x.data() + k * cols, work.y.data(), cols, n, cols, sums);
    }
  }
  if (kn) return;
  for (size_t c = 0; c < cols; ++c)
    for (size_t k = 0; k < rows; ++k) out[c * rows + k] = codes[k * cols + c];
}

}  // namespace

Result<void> run_affine(const RunContext& context, const AffineJob& job, const Chunk& chunk,
                        JobState& state, Workspace& work, ChunkOutcome& outcome) {
  const Region& r = chunk.region;
  const size_t rows = r.rows(), cols = r.cols();
  work.x.resize(std::max(work.x.size(), rows * cols));
  PHIQUANT_TRY(work.reader.begin(job.source, r));
  PHIQUANT_TRY(work.reader.tile(r.k0, r.k1, work.x.data()));
  if (chunk.reduce) {
    if (note_non_finite(job.source, chunk, r.k0, r.n0, {work.x.data(), rows * cols}, cols, state))
      return {};
    std::vector<float> lo(cols, std::numeric_limits<float>::infinity()),
        hi(cols, -std::numeric_limits<float>::infinity());
    quant::column_min_max(work.x.data(), cols, rows, cols, lo.data(), hi.data());
    merge_ranges(job, r.n0, cols, lo.data(), hi.data(), state);
    return {};
  }
  if (state.affine.empty()) return {};  // the reduction met a NaN
  const uint64_t offset =
      orientation_of(job) == Orientation::kn ? r.k0 * job.source.n : r.n0 * job.source.k;
  std::byte* out = buffer_for(context, work.codes, job.codes, offset, rows * cols);
  encode_tile(job, r, state, context.measure, work, out, outcome.error);
  return write_tensor(context, job.codes, offset, {out, rows * cols});
}

Result<void> finish_affine_reduction(const RunContext& context, const AffineJob& job,
                                     JobState& state) {
  // Not the stored dtype: a bf16 weight behind a Cast to float gets float scales.
  const DType dtype = context.plan.tensors[job.scales].dtype;
  std::vector<float> scales;
  std::vector<uint8_t> zeros;
  for (size_t c = 0; c < state.lo.size(); ++c) {
    state.affine.push_back(quant::affine_from_range(state.lo[c], state.hi[c], job.symmetric,
                                                    job.is_signed, job.reduce_range, dtype));
    scales.push_back(state.affine.back().scale);
    zeros.push_back(static_cast<uint8_t>(state.affine.back().zero_point));
  }
  Workspace work;
  PHIQUANT_TRY(write_floats(context, work, job.scales, 0, scales));
  if (job.zero_points == kNoTensor) return {};
  return write_tensor(context, job.zero_points, 0, std::as_bytes(std::span(zeros)));
}

}  // namespace phiquant
