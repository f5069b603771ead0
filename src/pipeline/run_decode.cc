// A weight as floats of another dtype, in the orientation that the output wants.
#include <algorithm>

#include "pipeline/run_job.h"

namespace phiquant {
namespace {

// Values of K in a tile of kTurnRows rows: it stays in the first-level cache with its transpose.
constexpr size_t kTurn = 64;

// What a tile of values, rows k0.. and columns n0.. of `part`, is written as. `values` are floats,
// contiguous in rows of N; the result lies in `values` or in `scratch`.
const std::byte* cast_tile(const RunContext& context, const DecodeJob& job, const Chunk& part,
                           std::span<const float> values, std::byte* scratch, JobState& state,
                           Workspace& work, ChunkOutcome& outcome) {
  const DType to = context.plan.tensors[job.out].dtype;
  const auto* in = reinterpret_cast<const std::byte*>(values.data());
  // A float stays as it is; only what is no number is counted, and its NaN quieted.
  if (to == DType::f32 && quant::first_non_finite(values.data(), values.size()) == values.size())
    return in;
  quant::CastStats found;
  quant::cast(in, DType::f32, values.size(), scratch, to, job.rule, found);
  outcome.cast.add(found);
  if (found.nan + found.inf > 0) note_cast_non_finite(job.source, part, values, state);
  if (context.measure && to != DType::f32)
    measure_cast(in, DType::f32, scratch, to, values.size(), work, outcome.error);
  return scratch;
}

// Values r.k0.. of `width` rows of the weight from row n on, one row after the other.
Result<void> read_rows(const WeightSource& w, const DenseStorage& dense, const Region& r,
                       uint64_t n, size_t width, std::byte* out) {
  const size_t size = dtype_bits(dense.data.dtype) / 8, row_bytes = r.rows() * size;
  if (r.rows() == w.k) return dense.data.bytes->read(n * row_bytes, {out, width * row_bytes});
  for (size_t c = 0; c < width; ++c)
    PHIQUANT_TRY(
        dense.data.bytes->read(((n + c) * w.k + r.k0) * size, {out + c * row_bytes, row_bytes}));
  return {};
}

// Stored [N, K], written [K, N]: all of N for some of K, so that the output is one run. A few rows
// of the weight are read at a time and turned over while they are in the caches.
Result<void> run_turn(const RunContext& context, const DecodeJob& job, const DenseStorage& dense,
                      const Chunk& chunk, JobState& state, Workspace& work, ChunkOutcome& outcome) {
  constexpr size_t kTile = kTurnRows * kTurn;
  const Region& r = chunk.region;
  const DType from = dense.data.dtype, to = context.plan.tensors[job.out].dtype;
  const size_t from_size = dtype_bits(from) / 8, to_size = dtype_bits(to) / 8, depth = r.rows();
  const size_t row_bytes = r.cols() * to_size;
  std::byte* out = buffer_for(context, work.codes, job.out, r.k0 * row_bytes, depth * row_bytes);
  work.raw.resize(std::max(work.raw.size(), std::min(kTurnRows, r.cols()) * depth * from_size));
  work.x.resize(std::max(work.x.size(), 2 * kTile));
  float* const rows = work.x.data();
  float* const turned = rows + kTile;
  std::byte* const scratch = work.plane.resize(kTile * sizeof(float));
  for (uint64_t n = r.n0; n < r.n1; n += kTurnRows) {
    const size_t width = std::min<uint64_t>(kTurnRows, r.n1 - n);
    PHIQUANT_TRY(read_rows(job.source, dense, r, n, width, work.raw.data()));
    for (size_t k = 0; k < depth; k += kTurn) {
      const size_t height = std::min(kTurn, depth - k);
      quant::turn_to_f32(work.raw.data() + k * from_size, depth * from_size, from, width, height,
                         rows, turned);
      const Chunk part{chunk.job, false, {r.k0 + k, r.k0 + k + height, n, n + width}, 0};
      const std::byte* tile =
          cast_tile(context, job, part, {turned, width * height}, scratch, state, work, outcome);
      quant::copy_rows(tile, width * to_size, width * to_size, height,
                       out + k * row_bytes + (n - r.n0) * to_size, row_bytes);
    }
  }
  return write_tensor(context, job.out, r.k0 * row_bytes, {out, depth * row_bytes});
}

}  // namespace

Result<void> run_decode(const RunContext& context, const DecodeJob& job, const Chunk& chunk,
                        JobState& state, Workspace& work, ChunkOutcome& outcome) {
  const WeightSource& w = job.source;
  const Region& r = chunk.region;
  if (turns_over(job))
    return run_turn(context, job, std::get<DenseStorage>(w.storage), chunk, state, work, outcome);
  const size_t count = r.rows() * r.cols();
  work.x.resize(std::max(work.x.size(), count));
  PHIQUANT_TRY(work.reader.begin(w, r));
  PHIQUANT_TRY(work.reader.tile(r.k0, r.k1, work.x.data()));
  const float* values = work.x.data();
  uint64_t first = r.k0 * w.n + r.n0;  // kn chunks hold whole rows
  if (job.out_orientation == Orientation::nk) {
    work.y.resize(std::max(work.y.size(), count));
    quant::transpose(values, r.cols(), r.rows(), r.cols(), work.y.data(), r.rows());
    values = work.y.data();
    first = r.n0 * w.k;
  }
  const DType to = context.plan.tensors[job.out].dtype;
  const size_t size = dtype_bits(to) / 8;
  std::byte* out = buffer_for(context, work.codes, job.out, first * size, count * size);
  quant::CastStats found;
  quant::cast(reinterpret_cast<const std::byte*>(values), DType::f32, count, out, to, job.rule,
              found);
  outcome.cast.add(found);
  if (found.nan + found.inf > 0) note_cast_non_finite(w, chunk, {work.x.data(), count}, state);
  if (context.measure && to != DType::f32)
    measure_cast(reinterpret_cast<const std::byte*>(values), DType::f32, out, to, count, work,
                 outcome.error);
  return write_tensor(context, job.out, first * size, {out, count * size});
}

}  // namespace phiquant
