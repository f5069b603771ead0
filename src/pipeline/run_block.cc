// BlockJob: float tiles to codes, scales and zero points.
#include <algorithm>
#include <cassert>
#include <cmath>

#include "core/aligned_buffer.h"
#include "pipeline/run_job.h"

namespace phiquant {
namespace {

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

// One chunk's constants.
struct Shape2 {
  size_t rows, cols, blocks;  // of the region
  size_t blob, row_bytes;     // nbits: bytes of one block and of one column's codes
};

Shape2 shape_of(const BlockJob& job, const Region& r) {
  const size_t blocks = ceil_div(r.rows(), job.params.block_size);
  const size_t blob = job.params.block_size * job.params.bits / 8;
  return {r.rows(), r.cols(), blocks, blob, blocks * blob};
}

bool has_zeros(const BlockJob& job) { return job.zero_points != kNoTensor; }

// Scales as the file will hold them, for an honest error.
void round_scales(DType to, float* scales, size_t n) {
  if (to == DType::f32) return;
  std::byte rounded[2 * kSubColumns];
  quant::CastStats ignored;
  for (size_t at = 0; at < n; at += kSubColumns) {
    const size_t count = std::min(kSubColumns, n - at);
    quant::cast(reinterpret_cast<const std::byte*>(scales + at), DType::f32, count, rounded, to,
                CastRule::ieee, ignored);
    quant::to_f32(rounded, to, count, scales + at);
  }
}

// Columns of a strip of `rows` values each that stays in the first-level cache beside its codes.
size_t strip_columns(size_t rows) {
  constexpr size_t kValues = kSubColumns * 32;
  return std::clamp<size_t>(kValues / rows / 16 * 16, 16, kSubColumns);
}

// Where the codes, scales and zero points of a strip go; `codes_stride` as in BlockCodes.
struct StripTarget {
  std::byte* codes;
  size_t codes_stride;
  float *scales, *zeros;
};

// Encodes one block of a strip of columns, and measures it. A strip of a wider tile is copied to
// `buffer` first: its rows are often a multiple of 4096 bytes apart and then displace each other
// from the first-level cache. False, with nothing to be used, where a value is not finite.
bool encode_strip(const BlockJob& job, DType scale_dtype, bool measure, const BlockTile& x,
                  const StripTarget& to, float* buffer, quant::ErrorSums& sums) {
  const size_t rows = x.n_rows, n = x.n_cols;
  const float* values = x.x;
  if (x.stride != n) {
    for (size_t k = 0; k < rows; ++k) std::copy_n(x.x + k * x.stride, n, buffer + k * n);
    values = buffer;
  }
  if (quant::first_non_finite(values, rows * n) < rows * n) return false;
  job.scheme->encode({values, n, rows, n}, job.params,
                     {to.codes, to.codes_stride, to.scales, to.zeros});
  round_scales(scale_dtype, to.scales, n);
  if (!measure) return true;
  const BlockView view{to.codes, to.codes_stride, to.scales, has_zeros(job) ? to.zeros : nullptr};
  quant::block_error_sums(job.scheme->packing, job.params.bits,
                          has_signed_codes(*job.scheme, job.params), view, values, n, rows, n,
                          sums);
  return true;
}

// Reads and encodes some columns of the chunk block by block; `place(block)` gives codes and stride
// of the block's first column, `done(block)` is told when all of it is encoded.
template <class Place, class Done>
Result<bool> encode_part(const RunContext& context, const BlockJob& job, const Chunk& chunk,
                         const Region& region, Place place, Done done, JobState& state,
                         Workspace& work, ChunkOutcome& outcome) {
  const size_t block = job.params.block_size, cols = region.cols(), width = strip_columns(block);
  const size_t parameter_stride = chunk.region.cols(), parameter_at = region.n0 - chunk.region.n0;
  const bool nbits = job.scheme->packing == Packing::nbits;
  const DType scale_dtype = context.plan.tensors[job.scales].dtype;
  work.x.resize(std::max(work.x.size(), block * cols));
  work.y.resize(std::max(work.y.size(), block * width));
  PHIQUANT_TRY(work.reader.begin(job.source, region));
  size_t index = 0;
  for (uint64_t k = region.k0; k < region.k1; k += block, ++index) {
    const uint64_t end = std::min(k + block, region.k1);
    const size_t rows = static_cast<size_t>(end - k);
    PHIQUANT_TRY(work.reader.tile(k, end, work.x.data()));
    const auto [codes, stride] = place(index);
    for (size_t c = 0; c < cols; c += width) {
      const size_t at = index * parameter_stride + parameter_at + c;
      const BlockTile x{work.x.data() + c, cols, rows, std::min(width, cols - c)};
      if (encode_strip(job, scale_dtype, context.measure, x,
                       {codes + c * (nbits ? stride : 1), stride, work.scales.data() + at,
                        work.zeros.data() + at},
                       work.y.data(), outcome.error))
        continue;
      note_non_finite(job.source, chunk, k, region.n0, {work.x.data(), rows * cols}, cols, state);
      return false;
    }
    done(index);
  }
  return true;
}

// Calls encode(columns) for as many columns of the chunk at a time as the reader should take. False
// where a value was not finite.
template <class Encode>
Result<bool> encode_in_parts(const RunContext& context, const BlockJob& job, const Chunk& chunk,
                             Encode encode) {
  const Region& r = chunk.region;
  const uint64_t part =
      tile_columns(job.source, r.rows(), job.params.block_size, context.limits.chunk_bytes);
  for (uint64_t n = r.n0; n < r.n1; n += part) {
    PHIQUANT_ASSIGN(const bool finite, encode({r.k0, r.k1, n, std::min(n + part, r.n1)}));
    if (!finite) return false;
  }
  return true;
}

// Codes a byte each, rows of N, for the whole chunk.
Result<bool> encode_unpacked(const RunContext& context, const BlockJob& job, const Chunk& chunk,
                             JobState& state, Workspace& work, ChunkOutcome& outcome) {
  const Region& r = chunk.region;
  work.unpacked.resize(std::max(work.unpacked.size(), r.rows() * r.cols()));
  auto* const codes = reinterpret_cast<std::byte*>(work.unpacked.data());
  return encode_in_parts(context, job, chunk, [&](const Region& part) {
    const auto place = [&](size_t block) -> std::pair<std::byte*, size_t> {
      return {codes + block * job.params.block_size * r.cols() + (part.n0 - r.n0), r.cols()};
    };
    return encode_part(
        context, job, chunk, part, place, [](size_t) {}, state, work, outcome);
  });
}

// Codes of some blocks of K of all columns, until there is a cache line of each column. Columns of
// the output are too far apart for it to stay in the second-level cache from one block to the next;
// whole lines can go past the caches.
class CodeLines {
 public:
  CodeLines(const Shape2& shape, std::byte* codes, AlignedBuffer& buffer)
      : shape_(shape),
        codes_(codes),
        per_line_(std::clamp<size_t>(kCodeLine / shape.blob, 1, shape.blocks)),
        stride_(per_line_ * shape.blob),
        lines_(buffer.resize(shape.cols * stride_)) {}

  std::pair<std::byte*, size_t> place(size_t block) const {
    return {lines_ + block % per_line_ * shape_.blob, stride_};
  }
  void done(size_t block) const {
    const size_t count = block % per_line_ + 1;
    if (count < per_line_ && block + 1 < shape_.blocks) return;
    quant::copy_rows(lines_, stride_, count * shape_.blob, shape_.cols,
                     codes_ + (block + 1 - count) * shape_.blob, shape_.row_bytes);
  }

 private:
  const Shape2& shape_;
  std::byte* codes_;
  size_t per_line_, stride_;
  std::byte* lines_;
};

// Packing::nbits, to `codes`.
Result<bool> encode_packed(const RunContext& context, const BlockJob& job, const Chunk& chunk,
                           std::byte* codes, JobState& state, Workspace& work,
                           ChunkOutcome& outcome) {
  return encode_in_parts(context, job, chunk, [&](const Region& part) {
    const Shape2 shape = shape_of(job, part);
    const CodeLines lines(shape, codes + (part.n0 - chunk.region.n0) * shape.row_bytes, work.lines);
    return encode_part(
        context, job, chunk, part, [&](size_t block) { return lines.place(block); },
        [&](size_t block) { lines.done(block); }, state, work, outcome);
  });
}

// Integer zero points, flat, in the bits of the codes.
Result<void> write_flat_zeros(const RunContext& context, const BlockJob& job, const float* zeros,
                              size_t n, uint64_t first, Workspace& work) {
  std::vector<uint8_t> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = static_cast<uint8_t>(static_cast<int>(zeros[i]));
  const unsigned bits = job.params.bits;
  assert(first * bits % 8 == 0);
  const size_t bytes = ceil_div(n * bits, 8);
  std::byte* out = buffer_for(context, work.plane, job.zero_points, first * bits / 8, bytes);
  quant::pack_flat(values.data(), n, bits, out);
  return write_tensor(context, job.zero_points, first * bits / 8, {out, bytes});
}

// nbits: every column's zero points start on a byte; unused slots hold the middle value.
Result<void> write_nbits_zeros(const RunContext& context, const BlockJob& job, const Shape2& s,
                               uint64_t n0, Workspace& work) {
  const unsigned bits = job.params.bits;
  const size_t per_byte = 8 / bits, row = ceil_div(s.blocks, per_byte);
  const uint8_t middle = static_cast<uint8_t>(1u << (bits - 1));
  std::vector<uint8_t> values(row * per_byte);
  std::byte* out = buffer_for(context, work.plane, job.zero_points, n0 * row, s.cols * row);
  for (size_t c = 0; c < s.cols; ++c) {
    for (size_t b = 0; b < values.size(); ++b)
      values[b] = b < s.blocks
                      ? static_cast<uint8_t>(static_cast<int>(work.turned[c * s.blocks + b]))
                      : middle;
    quant::pack_flat(values.data(), values.size(), bits, out + c * row);
  }
  return write_tensor(context, job.zero_points, n0 * row, {out, s.cols * row});
}

// Codes with K innermost (nbits, n_major): the region spans K, its columns are contiguous in every
// plane.
Result<void> run_columns(const RunContext& context, const BlockJob& job, const Chunk& chunk,
                         JobState& state, Workspace& work, ChunkOutcome& outcome) {
  const Region& r = chunk.region;
  const Shape2 s = shape_of(job, r);
  const bool nbits = job.scheme->packing == Packing::nbits;
  work.scales.resize(std::max(work.scales.size(), s.blocks * s.cols));
  work.zeros.resize(std::max(work.zeros.size(), s.blocks * s.cols));
  std::byte* codes = nullptr;
  if (nbits)
    codes = buffer_for(context, work.codes, job.codes, r.n0 * s.row_bytes, s.cols * s.row_bytes);
  PHIQUANT_ASSIGN(const bool finite,
                  nbits ? encode_packed(context, job, chunk, codes, state, work, outcome)
                        : encode_unpacked(context, job, chunk, state, work, outcome));
  if (!finite) return {};

  size_t code_bytes = s.cols * s.row_bytes;
  uint64_t code_offset = r.n0 * s.row_bytes;
  if (!nbits) {
    std::vector<uint8_t> turned(s.rows * s.cols);
    for (size_t c = 0; c < s.cols; ++c)
      for (size_t k = 0; k < s.rows; ++k) turned[c * s.rows + k] = work.unpacked[k * s.cols + c];
    assert(r.n0 * s.rows * job.params.bits % 8 == 0);
    code_offset = r.n0 * s.rows * job.params.bits / 8;
    code_bytes = ceil_div(turned.size() * job.params.bits, 8);
    codes = buffer_for(context, work.codes, job.codes, code_offset, code_bytes);
    quant::pack_flat(turned.data(), turned.size(), job.params.bits, codes);
  }
  PHIQUANT_TRY(write_tensor(context, job.codes, code_offset, {codes, code_bytes}));
  work.turned.resize(std::max(work.turned.size(), s.blocks * s.cols));
  const std::span<const float> turned(work.turned.data(), s.blocks * s.cols);
  quant::transpose(work.scales.data(), s.cols, s.blocks, s.cols, work.turned.data(), s.blocks);
  PHIQUANT_TRY(write_floats(context, work, job.scales, r.n0 * s.blocks, turned));
  if (!has_zeros(job)) return {};
  quant::transpose(work.zeros.data(), s.cols, s.blocks, s.cols, work.turned.data(), s.blocks);
  if (job.scheme->float_zero_points)
    return write_floats(context, work, job.zero_points, r.n0 * s.blocks, turned);
  if (nbits) return write_nbits_zeros(context, job, s, r.n0, work);
  return write_flat_zeros(context, job, turned.data(), turned.size(), r.n0 * s.blocks, work);
}

// Codes with N innermost (k_major): the region is whole rows, cut into column parts for reading.
Result<void> run_k_major(const RunContext& context, const BlockJob& job, const Chunk& chunk,
                         JobState& state, Workspace& work, ChunkOutcome& outcome) {
  const Region& r = chunk.region;
  const Shape2 s = shape_of(job, r);
  work.scales.resize(std::max(work.scales.size(), s.blocks * s.cols));
  work.zeros.resize(std::max(work.zeros.size(), s.blocks * s.cols));
  PHIQUANT_ASSIGN(const bool finite, encode_unpacked(context, job, chunk, state, work, outcome));
  if (!finite) return {};
  const size_t values = s.rows * s.cols, bytes = ceil_div(values * job.params.bits, 8);
  const uint64_t offset = r.k0 * s.cols * job.params.bits / 8;
  std::byte* codes = buffer_for(context, work.codes, job.codes, offset, bytes);
  quant::pack_flat(work.unpacked.data(), values, job.params.bits, codes);
  PHIQUANT_TRY(write_tensor(context, job.codes, offset, {codes, bytes}));
  const uint64_t first = r.k0 / job.params.block_size * s.cols;
  PHIQUANT_TRY(
      write_floats(context, work, job.scales, first, {work.scales.data(), s.blocks * s.cols}));
  if (!has_zeros(job)) return {};
  return write_flat_zeros(context, job, work.zeros.data(), s.blocks * s.cols, first, work);
}

// First pass of a scheme with a stopping rule: the region's error after each step.
Result<void> add_step_errors(const BlockJob& job, const Chunk& chunk, JobState& state,
                             Workspace& work, ChunkOutcome& outcome) {
  const Region& r = chunk.region;
  const size_t block = job.params.block_size, cols = r.cols();
  outcome.step_errors.assign(job.scheme->max_steps, 0);
  work.x.resize(std::max(work.x.size(), block * cols));
  PHIQUANT_TRY(work.reader.begin(job.source, r));
  for (uint64_t k = r.k0; k < r.k1; k += block) {
    const uint64_t end = std::min(k + block, r.k1);
    const size_t rows = static_cast<size_t>(end - k);
    PHIQUANT_TRY(work.reader.tile(k, end, work.x.data()));
    if (note_non_finite(job.source, chunk, k, r.n0, {work.x.data(), rows * cols}, cols, state))
      return {};
    for (size_t c = 0; c < cols; c += kSubColumns)
      job.scheme->step_errors({work.x.data() + c, cols, rows, std::min(kSubColumns, cols - c)},
                              job.params, outcome.step_errors.data());
  }
  return {};
}

}  // namespace

Result<void> finish_block_reduction(const BlockJob& job, uint32_t index,
                                    std::span<const Chunk> chunks,
                                    std::span<const ChunkOutcome> outcomes, JobState& state) {
  const unsigned steps = job.scheme->max_steps;
  std::vector<double> sums(steps);
  for (size_t c = 0; c < chunks.size(); ++c)
    for (size_t i = 0; chunks[c].reduce && chunks[c].job == index && i < steps; ++i)
      sums[i] += outcomes[c].step_errors[i];
  const double blocks = static_cast<double>(ceil_div(job.source.k, job.params.block_size));
  state.iterations = job.scheme->steps_taken(
      sums.data(), steps, blocks * job.params.block_size * static_cast<double>(job.source.n));
  return {};
}

Result<void> run_block(const RunContext& context, const BlockJob& job, const Chunk& chunk,
                       JobState& state, Workspace& work, ChunkOutcome& outcome) {
  if (chunk.reduce) return add_step_errors(job, chunk, state, work, outcome);
  if (needs_reduction(context.plan.jobs[chunk.job])) {
    if (state.iterations == 0) return {};  // the reduction met a NaN; nothing will be committed
    BlockJob steps = job;
    steps.params.iterations = state.iterations;
    return run_columns(context, steps, chunk, state, work, outcome);
  }
  if (job.scheme->packing == Packing::k_major)
    return run_k_major(context, job, chunk, state, work, outcome);
  return run_columns(context, job, chunk, state, work, outcome);
}

}  // namespace phiquant
