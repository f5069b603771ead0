#include "pipeline/chunks.h"

#include <algorithm>
#include <thread>

#include "core/overload.h"

namespace phiquant {
namespace {

constexpr uint64_t kDefaultMemory = 400'000'000;
constexpr uint64_t kMinChunk = 256 << 10, kMaxChunk = 8 << 20, kMaxTurn = 52 << 20;
constexpr uint64_t kHeldBytes = 1 << 20;  // stored bytes of columns that a reader holds: likewise
constexpr unsigned kWaiting = 1;  // chunks that may wait for the disk while all cores compute
constexpr uint64_t kTileBytes = 512
                                << 10;  // floats of one tile: half of a common second-level cache

uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
uint64_t round_up(uint64_t a, uint64_t b) { return ceil_div(a, b) * b; }

// Cuts 0..total into nearly equal parts of at most about `aim`, starts being multiples of `step`.
template <class Emit>
void split(uint64_t total, uint64_t aim, uint64_t step, Emit emit) {
  const uint64_t parts = std::max<uint64_t>(1, ceil_div(total, std::max<uint64_t>(1, aim)));
  const uint64_t size = round_up(ceil_div(total, parts), step);
  for (uint64_t at = 0; at < total; at += size) emit(at, std::min(total, at + size));
}

uint64_t source_value_bytes(const WeightSource& w, uint64_t values) {
  if (const auto* dense = std::get_if<DenseStorage>(&w.storage))
    return values * dtype_bits(dense->data.dtype) / 8;
  return values * std::get<BlockStorage>(w.storage).bits / 8;
}

Chunk weight_chunk(const WeightSource& w, uint32_t job, Region region) {
  Chunk chunk{job, false, region, 0};
  chunk.source_bytes = source_value_bytes(w, uint64_t{region.rows()} * region.cols());
  return chunk;
}

struct Cutter {
  const Plan& plan;
  const ChunkLimits& limits;
  uint32_t job;
  std::vector<Chunk>& out;

  void operator()(const CopyJob& j) const {
    split(j.source.bytes->size_bytes(), limits.chunk_bytes, 4096, [&](uint64_t a, uint64_t b) {
      out.push_back({job, false, {0, 1, a, b}, b - a});
    });
  }
  void operator()(const CastJob& j) const {
    const uint64_t size = std::max(1u, dtype_bits(j.source.dtype) / 8);
    split(j.source.bytes->size_bytes() / size, limits.chunk_bytes / 4, 4096,
          [&](uint64_t a, uint64_t b) {
            out.push_back({job, false, {0, 1, a, b}, (b - a) * size});
          });
  }
  void operator()(const DecodeJob& j) const {
    const WeightSource& w = j.source;
    const uint64_t aim = turns_over(j)
                             ? limits.turn_bytes / (dtype_bits(plan.tensors[j.out].dtype) / 8)
                             : limits.chunk_bytes / sizeof(float);
    if (j.out_orientation == Orientation::kn)
      split(w.k, std::max<uint64_t>(1, aim / w.n), 64, [&](uint64_t a, uint64_t b) {
        out.push_back(weight_chunk(w, job, {a, b, 0, w.n}));
      });
    else
      split(w.n, std::max<uint64_t>(1, aim / w.k), 8, [&](uint64_t a, uint64_t b) {
        out.push_back(weight_chunk(w, job, {0, w.k, a, b}));
      });
  }
  void operator()(const BlockJob& j) const {
    const WeightSource& w = j.source;
    const uint64_t block = j.params.block_size;
    if (j.scheme->packing == Packing::k_major) {
      // Two blocks at least, four of 2 bits: zero points of neighbouring blocks share bytes when N
      // is odd.
      const uint64_t step = block * (8 / j.params.bits);
      split(w.k, std::max<uint64_t>(1, limits.chunk_bytes / 2 / w.n), step,
            [&](uint64_t a, uint64_t b) {
              out.push_back(weight_chunk(w, job, {a, b, 0, w.n}));
            });
      return;
    }
    const uint64_t row_bytes =
        j.scheme->packing == Packing::n_major ? w.k : ceil_div(w.k * j.params.bits, 8);
    // Columns with K innermost are read some at a time, so that a chunk may have many of them.
    const uint64_t held = TileReader::held_bytes_per_column(w, w.k);
    const uint64_t cols =
        std::min(held ? std::max<uint64_t>(64, limits.chunk_bytes / 2 / held)
                      : tile_columns(w, w.k, block, limits.chunk_bytes),
                 std::max<uint64_t>(64, 2 * limits.chunk_bytes / std::max<uint64_t>(1, row_bytes)));
    split(w.n, cols, 64, [&](uint64_t a, uint64_t b) {
      out.push_back(weight_chunk(w, job, {0, w.k, a, b}));
    });
  }
  void operator()(const RowJob& j) const {
    const uint64_t k = j.source.shape.back(), rows = element_count(j.source.shape).value_or(0) / k;
    split(rows, std::max<uint64_t>(1, limits.chunk_bytes / 2 / sizeof(float) / k), 8,
          [&](uint64_t a, uint64_t b) {
            out.push_back({job, false, {0, k, a, b}, (b - a) * k * dtype_bits(j.source.dtype) / 8});
          });
  }
  void operator()(const Int8Job& j) const {
    const WeightSource& w = j.source;
    const uint64_t values = limits.chunk_bytes / 2 / sizeof(float);
    if (orientation_of(j) == Orientation::kn)
      split(w.k, std::max<uint64_t>(1, values / w.n), 8, [&](uint64_t a, uint64_t b) {
        out.push_back(weight_chunk(w, job, {a, b, 0, w.n}));
      });
    else
      split(w.n, std::max<uint64_t>(1, values / w.k), 8, [&](uint64_t a, uint64_t b) {
        out.push_back(weight_chunk(w, job, {0, w.k, a, b}));
      });
  }
};

// Bytes that a worker holds while it runs a chunk, beside what goes to the output.
struct Buffers {
  const Plan& plan;
  const Chunk& chunk;
  const ChunkLimits& limits;

  uint64_t values() const { return uint64_t{chunk.region.rows()} * chunk.region.cols(); }
  // Stored bytes of `cols` columns, where a reader holds them.
  uint64_t held(const WeightSource& w, uint64_t cols) const {
    return cols * TileReader::held_bytes_per_column(w, chunk.region.rows());
  }

  uint64_t operator()(const CopyJob&) const { return chunk.source_bytes; }
  uint64_t operator()(const CastJob&) const { return chunk.source_bytes + 8 * values(); }
  uint64_t operator()(const DecodeJob& j) const {
    if (turns_over(j))
      return values() * (dtype_bits(plan.tensors[j.out].dtype) / 8) +
             held(j.source, std::min<uint64_t>(kTurnRows, chunk.region.cols()));
    return 16 * values() + held(j.source, chunk.region.cols());
  }
  uint64_t operator()(const Int8Job& j) const {
    return 16 * values() + held(j.source, chunk.region.cols());
  }
  // Stored bytes, codes that are no larger, and two tiles of floats.
  uint64_t operator()(const RowJob&) const {
    return 2 * chunk.source_bytes + 2 * sizeof(float) * row_tile_values(chunk.region.rows());
  }
  uint64_t operator()(const BlockJob& j) const {
    const uint64_t block = j.params.block_size,
                   cols = std::min<uint64_t>(
                       chunk.region.cols(),
                       tile_columns(j.source, chunk.region.rows(), block, limits.chunk_bytes));
    const uint64_t tile = 3 * sizeof(float) * cols * block;
    // nbits: a cache line of codes a column, until it goes to the output.
    const uint64_t unpacked = j.scheme->packing == Packing::nbits
                                  ? cols * std::max<uint64_t>(kCodeLine, block * j.params.bits / 8)
                                  : values();
    const uint64_t parameters = 16 * chunk.region.cols() * ceil_div(chunk.region.rows(), block);
    return tile + held(j.source, cols) + unpacked + values() * j.params.bits / 8 + parameters;
  }
};

}  // namespace

ChunkLimits chunk_limits(const ExecuteOptions& options) {
  ChunkLimits limits;
  limits.workers =
      options.threads ? options.threads : std::max(1u, std::thread::hardware_concurrency());
  const uint64_t memory = options.max_memory_bytes ? options.max_memory_bytes : kDefaultMemory;
  // A worker holds a tile, its decoded twin, codes and staging: about four times a chunk's aim.
  limits.in_flight = limits.workers + std::min(limits.workers, kWaiting);
  limits.chunk_bytes = std::clamp<uint64_t>(memory / (limits.in_flight * 6), kMinChunk, kMaxChunk);
  limits.turn_bytes =
      std::clamp<uint64_t>(memory / (limits.in_flight * 2), limits.chunk_bytes, kMaxTurn);
  return limits;
}

bool turns_over(const DecodeJob& job) {
  const auto* dense = std::get_if<DenseStorage>(&job.source.storage);
  return dense && dense->orientation == Orientation::nk && job.out_orientation == Orientation::kn;
}

uint64_t tile_columns(const WeightSource& weight, uint64_t rows, uint64_t step,
                      uint64_t chunk_bytes) {
  const uint64_t tile = std::min(kTileBytes, chunk_bytes);
  uint64_t cols = tile / (sizeof(float) * std::max<uint64_t>(1, std::min(step, rows)));
  if (const uint64_t held = TileReader::held_bytes_per_column(weight, rows))
    cols = std::min(cols, std::min(chunk_bytes / 2, kHeldBytes) / held);
  return std::max<uint64_t>(64, cols / 64 * 64);
}

bool needs_reduction(const Job& job) {
  return std::visit(
      Overload{[](const CopyJob&) { return false; }, [](const CastJob&) { return false; },
               [](const DecodeJob&) { return false; },
               [](const BlockJob& block) {
                 return block.scheme->step_errors && block.params.iterations == 0;
               },
               [](const Int8Job&) { return true; }, [](const RowJob&) { return false; }},
      job);
}

std::vector<Stage> make_stages(const Plan& plan, const ChunkLimits& limits) {
  std::vector<Stage> stages(1);
  for (uint32_t i = 0; i < plan.jobs.size(); ++i) {
    std::vector<Chunk> chunks;
    std::visit(Cutter{plan, limits, i, chunks}, plan.jobs[i]);
    if (needs_reduction(plan.jobs[i])) {
      for (Chunk chunk : chunks) {
        chunk.reduce = true;
        stages.back().chunks.push_back(chunk);
      }
      stages.emplace_back();
    }
    stages.back().chunks.insert(stages.back().chunks.end(), chunks.begin(), chunks.end());
  }
  return stages;
}

uint64_t chunk_memory_bytes(const Plan& plan, const Chunk& chunk, const ChunkLimits& limits) {
  const uint64_t staging = 4 << 20;
  return staging + std::visit(Buffers{plan, chunk, limits}, plan.jobs[chunk.job]);
}

}  // namespace phiquant
