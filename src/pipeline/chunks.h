// Cuts the jobs of a plan into chunks that one thread can run on its own with bounded memory.
#pragma once

#include <cstdint>
#include <vector>

#include "format/plan.h"
#include "pipeline/execute.h"
#include "pipeline/tile_reader.h"

namespace phiquant {

// Part of a job. For weights `region` is a rectangle of K x N; for CopyJob it is bytes n0..n1, for
// CastJob elements n0..n1 (k unused).
struct Chunk {
  uint32_t job = 0;
  bool reduce = false;  // first pass of a job that needs a range over the whole weight
  Region region;
  uint64_t source_bytes = 0;  // for progress
};

// Chunks of one stage are independent; a stage starts when the one before it has ended. Only jobs
// with a reduction need a second stage: the encoding of one shares a stage with the reduction of
// the next.
struct Stage {
  std::vector<Chunk> chunks;
};

struct ChunkLimits {
  unsigned workers = 1;      // chunks that compute at a time
  unsigned in_flight = 1;    // these, and chunks that wait for the disk
  uint64_t chunk_bytes = 0;  // aim for tile and output of one chunk
  uint64_t turn_bytes = 0;   // aim for the output of a chunk that holds little else
};
ChunkLimits chunk_limits(const ExecuteOptions& options);

// Whether a job looks at its whole weight before it writes the first code.
bool needs_reduction(const Job& job);

// Whether the floats of a job are stored [N, K] and written [K, N]. Such a chunk reads part of
// every row of the weight: the more it holds of its output, the longer are the pieces that it
// reads.
bool turns_over(const DecodeJob& job);
// Rows of N that are read and turned over together.
constexpr size_t kTurnRows = 64;

std::vector<Stage> make_stages(const Plan& plan, const ChunkLimits& limits);

// Columns of a tile that are encoded, decoded and measured together, so that they stay in the
// first-level cache.
constexpr size_t kSubColumns = 128;

// Bytes of a column's packed codes that are gathered before they go to the output: a cache line.
constexpr size_t kCodeLine = 64;

// Columns that a reader should take at a time from `weight` when it walks along K in steps of
// `step` rows, out of a region with `rows` rows.
uint64_t tile_columns(const WeightSource& weight, uint64_t rows, uint64_t step,
                      uint64_t chunk_bytes);

// Values of a RowJob that are read at a time: whole rows, at least one, and not more than stay in
// the second-level cache. They are encoded and measured in smaller pieces.
constexpr uint64_t row_tile_values(uint64_t k) {
  constexpr uint64_t kValues = 32768;
  return k < kValues ? kValues / k * k : k;
}

// Upper bound of the buffers that a worker holds while it runs `chunk`.
uint64_t chunk_memory_bytes(const Plan& plan, const Chunk& chunk, const ChunkLimits& limits);

}  // namespace phiquant
