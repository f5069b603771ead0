#include "pipeline/run_job.h"

#include <algorithm>
#include <cmath>

#include "core/aligned_buffer.h"
#include "core/overload.h"

namespace phiquant {

Result<void> write_tensor(const RunContext& context, TensorId id, uint64_t offset,
                          std::span<const std::byte> bytes) {
  constexpr size_t kShort = size_t{64} << 10;  // goes to the page cache, or is soon done
  const OutTensor& tensor = context.plan.tensors[id];
  const SlotPause pause(bytes.size() < kShort ? nullptr : context.slots);
  return context.output.write_at(tensor.file, tensor.offset + offset, bytes);
}

std::byte* buffer_for(const RunContext& context, AlignedBuffer& buffer, TensorId id,
                      uint64_t offset, size_t size) {
  return buffer.resize(size,
                       static_cast<size_t>((context.plan.tensors[id].offset + offset) % 4096));
}

Result<void> write_floats(const RunContext& context, Workspace& work, TensorId id, uint64_t first,
                          std::span<const float> values) {
  const DType to = context.plan.tensors[id].dtype;
  const size_t size = dtype_bits(to) / 8;
  if (to == DType::f32) return write_tensor(context, id, first * size, std::as_bytes(values));
  std::byte* out = buffer_for(context, work.plane, id, first * size, values.size() * size);
  quant::CastStats ignored;
  quant::cast(reinterpret_cast<const std::byte*>(values.data()), DType::f32, values.size(), out, to,
              CastRule::ieee, ignored);
  return write_tensor(context, id, first * size, {out, values.size() * size});
}

bool note_non_finite(const WeightSource& weight, const Chunk& chunk, uint64_t k, uint64_t n,
                     std::span<const float> x, size_t cols, JobState& state) {
  const size_t at = quant::first_non_finite(x.data(), x.size());
  if (at == x.size()) return false;
  const uint64_t row = k + at / cols, column = n + at % cols;
  const auto* dense = std::get_if<DenseStorage>(&weight.storage);
  const bool kn = !dense || dense->orientation == Orientation::kn;
  const uint64_t flat = kn ? row * weight.n + column : column * weight.k + row;
  const std::lock_guard lock(state.mutex);
  if (!state.non_finite || flat < state.non_finite->flat_index)
    state.non_finite = NonFinite{chunk.job, flat, x[at]};
  return true;
}

void measure_cast(const std::byte* in, DType from, const std::byte* out, DType to, size_t n,
                  Workspace& work, quant::ErrorSums& sums) {
  constexpr size_t kRun = 2048;
  if (!is_weight_float(from) || !is_weight_float(to)) return;
  work.x.resize(std::max(work.x.size(), kRun));
  work.y.resize(std::max(work.y.size(), kRun));
  for (size_t at = 0; at < n; at += kRun) {
    const size_t count = std::min(kRun, n - at);
    const float* x = reinterpret_cast<const float*>(in) + at;
    if (from != DType::f32) {
      quant::to_f32(in + at * dtype_bits(from) / 8, from, count, work.x.data());
      x = work.x.data();
    }
    quant::to_f32(out + at * dtype_bits(to) / 8, to, count, work.y.data());
    const size_t cols = count % 16 == 0 ? 16 : count;
    quant::error_sums(x, work.y.data(), cols, count / cols, cols, sums);
  }
}

namespace {

// A cast passes NaN and infinities on; the report names the first.
void note_cast_non_finite(const NonFinite& found, JobState& state) {
  const std::lock_guard lock(state.mutex);
  if (!state.cast_non_finite || found.flat_index < state.cast_non_finite->flat_index)
    state.cast_non_finite = found;
}

}  // namespace

void note_cast_non_finite(const WeightSource& weight, const Chunk& chunk, std::span<const float> x,
                          JobState& state) {
  const Region& r = chunk.region;
  const bool kn = orientation_of(weight) == Orientation::kn;
  for (size_t at = quant::first_non_finite(x.data(), x.size()); at < x.size(); ++at) {
    if (std::isfinite(x[at])) continue;
    const uint64_t row = r.k0 + at / r.cols(), column = r.n0 + at % r.cols();
    note_cast_non_finite({chunk.job, kn ? row * weight.n + column : column * weight.k + row, x[at]},
                         state);
  }
}

namespace {

Result<void> run_copy(const RunContext& context, const CopyJob& job, const Chunk& chunk,
                      Workspace& work) {
  const size_t size = chunk.region.cols();
  std::byte* buffer = buffer_for(context, work.codes, job.out, chunk.region.n0, size);
  PHIQUANT_TRY(job.source.bytes->read(chunk.region.n0, {buffer, size}));
  return write_tensor(context, job.out, chunk.region.n0, {buffer, size});
}

Result<void> run_cast(const RunContext& context, const CastJob& job, const Chunk& chunk,
                      JobState& state, Workspace& work, ChunkOutcome& outcome) {
  constexpr size_t kRun = 128 << 10;  // values that stay in the second-level cache
  const DType from = job.source.dtype, to = context.plan.tensors[job.out].dtype;
  const size_t from_size = dtype_bits(from) / 8, to_size = dtype_bits(to) / 8,
               n = chunk.region.cols();
  work.raw.resize(std::max(work.raw.size(), std::min(kRun, n) * from_size));
  std::byte* out = buffer_for(context, work.codes, job.out, chunk.region.n0 * to_size, n * to_size);
  for (size_t at = 0; at < n; at += kRun) {
    const size_t count = std::min(kRun, n - at);
    const uint64_t first = chunk.region.n0 + at;
    std::byte* target = out + at * to_size;
    PHIQUANT_TRY(job.source.bytes->read(first * from_size, {work.raw.data(), count * from_size}));
    quant::CastStats found;
    quant::cast(work.raw.data(), from, count, target, to, job.rule, found);
    outcome.cast.add(found);
    if (found.nan + found.inf > 0 && is_weight_float(from)) {
      work.x.resize(std::max(work.x.size(), count));
      quant::to_f32(work.raw.data(), from, count, work.x.data());
      const size_t bad = quant::first_non_finite(work.x.data(), count);
      if (bad < count) note_cast_non_finite({chunk.job, first + bad, work.x[bad]}, state);
    }
    if (context.measure)
      measure_cast(work.raw.data(), from, target, to, count, work, outcome.error);
  }
  return write_tensor(context, job.out, chunk.region.n0 * to_size, {out, n * to_size});
}

}  // namespace

Result<void> finish_reduction(const RunContext& context, uint32_t job,
                              std::span<const Chunk> chunks, std::span<const ChunkOutcome> outcomes,
                              JobState& state) {
  if (state.non_finite) return {};
  return std::visit(
      Overload{[](const CopyJob&) { return Result<void>(); },
               [](const CastJob&) { return Result<void>(); },
               [](const DecodeJob&) { return Result<void>(); },
               [&](const BlockJob& j) {
                 return finish_block_reduction(j, job, chunks, outcomes, state);
               },
               [&](const Int8Job& j) { return finish_int8_reduction(context, j, state); },
               [](const RowJob&) { return Result<void>(); }},
      context.plan.jobs[job]);
}

Result<void> run_chunk(const RunContext& context, const Chunk& chunk, JobState& state,
                       Workspace& work, ChunkOutcome& outcome) {
  return std::visit(
      Overload{
          [&](const CopyJob& j) { return run_copy(context, j, chunk, work); },
          [&](const CastJob& j) { return run_cast(context, j, chunk, state, work, outcome); },
          [&](const DecodeJob& j) { return run_decode(context, j, chunk, state, work, outcome); },
          [&](const BlockJob& j) { return run_block(context, j, chunk, state, work, outcome); },
          [&](const Int8Job& j) { return run_int8(context, j, chunk, state, work, outcome); },
          [&](const RowJob& j) { return run_rows(context, j, chunk, state, work, outcome); }},
      context.plan.jobs[chunk.job]);
}

}  // namespace phiquant
