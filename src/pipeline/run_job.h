// Runs one chunk of one job: read, convert, write, measure.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/atomic_output.h"
#include "format/plan.h"
#include "phiquant/error.h"
#include "pipeline/chunks.h"
#include "pipeline/compute_slots.h"
#include "pipeline/execute.h"
#include "pipeline/tile_reader.h"
#include "quant/kernels.h"

namespace phiquant {

// Buffers of one worker, reused for all its chunks: fresh memory costs a second of CPU per
// gigabyte.
struct Workspace {
  TileReader reader;
  std::vector<float> x, y;           // a tile and its dequantized twin
  std::vector<float> scales, zeros;  // [block][column]
  std::vector<float> turned;         // [column][block]
  std::vector<uint8_t> unpacked;     // one byte a code
  std::vector<std::byte> raw;
  AlignedBuffer codes, plane, third;
  AlignedBuffer lines;  // codes of a few blocks of each column, until a cache line is full
};

// What the chunks of one job share.
struct JobState {
  std::mutex mutex;
  std::vector<float> lo, hi;                 // Int8Job: per channel (one for per-tensor)
  std::vector<quant::Int8Params> int8;       // made from them by finish_reduction
  unsigned iterations = 0;                   // BlockJob with a stopping rule: the steps to take
  std::optional<NonFinite> non_finite;       // the smallest index seen
  std::optional<NonFinite> cast_non_finite;  // likewise, in a job that passes such values on
};

// What one chunk found; added up in the order of the chunks, so that sums do not depend on threads.
struct ChunkOutcome {
  quant::ErrorSums error;
  quant::CastStats cast;
  std::vector<double> step_errors;  // reduction of an iterative scheme
};

struct RunContext {
  const Plan& plan;
  AtomicOutput& output;
  const ChunkLimits& limits;
  bool measure;
  ComputeSlots* slots;  // held by who runs a chunk; null: the caller holds none
};

Result<void> run_chunk(const RunContext& context, const Chunk& chunk, JobState& state,
                       Workspace& work, ChunkOutcome& outcome);

// Between the two passes of a job: scales and offsets from the ranges, written to their tensors; or
// the number of steps from the errors of the first pass, added up in the order of the chunks.
Result<void> finish_reduction(const RunContext& context, uint32_t job,
                              std::span<const Chunk> chunks, std::span<const ChunkOutcome> outcomes,
                              JobState& state);

// ---- Shared by the run_*.cc files ----

Result<void> run_block(const RunContext&, const BlockJob&, const Chunk&, JobState&, Workspace&,
                       ChunkOutcome&);
Result<void> finish_block_reduction(const BlockJob&, uint32_t index, std::span<const Chunk>,
                                    std::span<const ChunkOutcome>, JobState&);
Result<void> finish_int8_reduction(const RunContext&, const Int8Job&, JobState&);
Result<void> run_decode(const RunContext&, const DecodeJob&, const Chunk&, JobState&, Workspace&,
                        ChunkOutcome&);
Result<void> run_rows(const RunContext&, const RowJob&, const Chunk&, JobState&, Workspace&,
                      ChunkOutcome&);
Result<void> run_int8(const RunContext&, const Int8Job&, const Chunk&, JobState&, Workspace&,
                      ChunkOutcome&);

// Writes `bytes` at byte `offset` of a tensor.
Result<void> write_tensor(const RunContext& context, TensorId id, uint64_t offset,
                          std::span<const std::byte> bytes);
// Prepares a buffer whose address suits a write to that place without a copy.
std::byte* buffer_for(const RunContext& context, AlignedBuffer& buffer, TensorId id,
                      uint64_t offset, size_t size);
// Writes n floats as elements of the tensor's dtype, from element `first`.
Result<void> write_floats(const RunContext& context, Workspace& work, TensorId id, uint64_t first,
                          std::span<const float> values);
// Notes the first NaN or infinity of a tile (rows k.., columns n.. of the weight). True if there is
// one.
bool note_non_finite(const WeightSource& weight, const Chunk& chunk, uint64_t k, uint64_t n,
                     std::span<const float> x, size_t cols, JobState& state);
// Adds what a cast of n values cost, original and result as floats, in runs that fit the cache.
void measure_cast(const std::byte* in, DType from, const std::byte* out, DType to, size_t n,
                  Workspace& work, quant::ErrorSums& sums);
// Notes the first NaN or infinity of a tile, rows k0.. and columns n0.. of the chunk's region, in a
// job that passes such values on.
void note_cast_non_finite(const WeightSource& weight, const Chunk& chunk, std::span<const float> x,
                          JobState& state);

}  // namespace phiquant
