// RowJob: whole rows to the blocks of a GGUF type or of an MLX mode.
#include <algorithm>

#include "core/aligned_buffer.h"
#include "pipeline/run_job.h"

namespace phiquant {
namespace {

// Values that are widened, encoded and measured together: whole rows, at least one, and otherwise
// not more than stay in the first-level cache.
constexpr size_t kNearValues = 4096;

// The first n values of `raw`, widened, through f16 where the job asks for it.
void widen(const RowJob& job, const std::byte* raw, size_t n, Workspace& work) {
  quant::to_f32(raw, job.source.dtype, n, work.x.data());
  if (!job.via_f16 || job.source.dtype == DType::f16) return;
  work.unpacked.resize(std::max(work.unpacked.size(), n * 2));
  auto* halves = reinterpret_cast<std::byte*>(work.unpacked.data());
  quant::CastStats ignored;
  quant::cast(reinterpret_cast<const std::byte*>(work.x.data()), DType::f32, n, halves, DType::f16,
              CastRule::ieee, ignored);
  quant::to_f32(halves, DType::f16, n, work.x.data());
}

bool note_row_non_finite(const Chunk& chunk, uint64_t first, std::span<const float> x,
                         JobState& state) {
  const size_t at = quant::first_non_finite(x.data(), x.size());
  if (at == x.size()) return false;
  const std::lock_guard lock(state.mutex);
  if (!state.non_finite || first + at < state.non_finite->flat_index)
    state.non_finite = NonFinite{chunk.job, first + at, x[at]};
  return true;
}

// The importance of a row's columns, and how many rows from it on share them.
struct Importance {
  const float* columns = nullptr;
  uint64_t rows = 0;
};

Importance importance_of(const RowJob& job, uint64_t row, uint64_t rows_in_all) {
  if (!job.importance || job.importance->empty()) return {nullptr, rows_in_all - row};
  const uint64_t k = job.source.shape.back(), stacks = job.importance->size() / k;
  const uint64_t stack_rows = rows_in_all / stacks, stack = row / stack_rows;
  return {job.importance->data() + stack * k, (stack + 1) * stack_rows - row};
}

// Encodes rows, and measures what that cost.
void encode_rows(const RunContext& context, const RowJob& job, const RowTile& tile,
                 const RowPlanes& out, Workspace& work, ChunkOutcome& outcome) {
  job.scheme->encode(tile, job.params, out);
  if (!context.measure) return;
  RowPlanesView view = {};
  for (size_t p = 0; p < kMaxRowPlanes; ++p) view[p] = out[p];
  job.scheme->decode(view, tile.n_rows, tile.k, job.params, work.y.data());
  const size_t n = tile.n_rows * tile.k;
  const size_t cols = tile.k % 16 == 0 ? 16 : tile.k;  // rows lie one after the other
  quant::error_sums(tile.x, work.y.data(), cols, n / cols, cols, outcome.error);
}

}  // namespace

Result<void> run_rows(const RunContext& context, const RowJob& job, const Chunk& chunk,
                      JobState& state, Workspace& work, ChunkOutcome& outcome) {
  const RowScheme& scheme = *job.scheme;
  const RowLayout layout = scheme.layout(job.params);
  const size_t k = chunk.region.rows(), rows = chunk.region.cols();
  const uint64_t row0 = chunk.region.n0;
  const uint64_t rows_in_all = element_count(job.source.shape).value_or(0) / k;
  const size_t value_bytes = dtype_bits(job.source.dtype) / 8;
  AlignedBuffer* const buffers[kMaxRowPlanes] = {&work.codes, &work.plane, &work.third};
  std::array<size_t, kMaxRowPlanes> row_bytes = {};
  RowPlanes planes = {};
  for (size_t p = 0; p < kMaxRowPlanes; ++p) {
    if (job.planes[p] == kNoTensor) continue;
    row_bytes[p] = k / layout.block_size * layout.block_bytes[p];
    planes[p] =
        buffer_for(context, *buffers[p], job.planes[p], row0 * row_bytes[p], rows * row_bytes[p]);
  }

  const size_t tile = static_cast<size_t>(row_tile_values(k));
  const size_t near_rows = std::max<size_t>(kNearValues / k, 1);
  work.raw.resize(std::max(work.raw.size(), tile * value_bytes));
  work.x.resize(std::max(work.x.size(), near_rows * k));
  work.y.resize(std::max(work.y.size(), near_rows * k));
  for (size_t first = 0; first < rows; first += tile / k) {
    const size_t in_tile = std::min(tile / k, rows - first);
    const std::span raw(work.raw.data(), in_tile * k * value_bytes);
    PHIQUANT_TRY(job.source.bytes->read((row0 + first) * k * value_bytes, raw));
    for (size_t row = first; row < first + in_tile;) {
      const Importance importance = importance_of(job, row0 + row, rows_in_all);
      const auto n = static_cast<size_t>(
          std::min<uint64_t>({near_rows, first + in_tile - row, importance.rows}));
      widen(job, raw.data() + (row - first) * k * value_bytes, n * k, work);
      if (note_row_non_finite(chunk, (row0 + row) * k, {work.x.data(), n * k}, state)) return {};
      RowPlanes at = {};
      for (size_t p = 0; p < kMaxRowPlanes; ++p)
        if (planes[p]) at[p] = planes[p] + row * row_bytes[p];
      encode_rows(context, job, {work.x.data(), n, k, importance.columns}, at, work, outcome);
      row += n;
    }
  }
  for (size_t p = 0; p < kMaxRowPlanes; ++p)
    if (planes[p])
      PHIQUANT_TRY(write_tensor(context, job.planes[p], row0 * row_bytes[p],
                                {planes[p], rows * row_bytes[p]}));
  return {};
}

}  // namespace phiquant
