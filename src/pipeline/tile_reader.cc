#include "pipeline/tile_reader.h"

#include <algorithm>
#include <cassert>

#include "quant/kernels.h"

namespace phiquant {
namespace {

uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
size_t element_bytes(DType t) { return dtype_bits(t) / 8; }

// Bytes of one column's codes in nbits packing.
uint64_t nbits_row_bytes(const BlockStorage& b, uint64_t k) {
  return ceil_div(k, b.block_size) * (b.block_size * b.bits / 8);
}

}  // namespace

uint64_t TileReader::held_bytes_per_column(const WeightSource& weight, uint64_t rows) {
  if (const auto* dense = std::get_if<DenseStorage>(&weight.storage))
    return dense->orientation == Orientation::nk ? rows * element_bytes(dense->data.dtype) : 0;
  const auto& blocks = std::get<BlockStorage>(weight.storage);
  const uint64_t parameters = 2 * sizeof(float) * (rows / blocks.block_size + 2);
  return parameters +
         (blocks.packing == Packing::k_major ? 0 : rows * blocks.bits / 8 + blocks.block_size);
}

Result<void> TileReader::begin(const WeightSource& weight, const Region& region) {
  assert(region.k1 <= weight.k && region.n1 <= weight.n && region.k0 < region.k1 &&
         region.n0 < region.n1);
  weight_ = &weight;
  region_ = region;
  decoded_block_ = UINT64_MAX;
  if (const auto* dense = std::get_if<DenseStorage>(&weight.storage)) return begin_dense(*dense);
  return begin_blocks(std::get<BlockStorage>(weight.storage));
}

Result<void> TileReader::tile(uint64_t k0, uint64_t k1, float* out) {
  assert(k0 >= region_.k0 && k1 <= region_.k1 && k0 < k1);
  if (const auto* dense = std::get_if<DenseStorage>(&weight_->storage))
    return tile_dense(*dense, k0, k1, out);
  return tile_blocks(std::get<BlockStorage>(weight_->storage), k0, k1, out);
}

// ---- Dense
// ---------------------------------------------------------------------------------------------

Result<void> TileReader::begin_dense(const DenseStorage& dense) {
  if (dense.orientation == Orientation::kn) return {};
  const size_t size = element_bytes(dense.data.dtype);
  const size_t row_bytes = region_.rows() * size;
  held_.resize(region_.cols() * row_bytes);
  if (region_.rows() == weight_->k) return dense.data.bytes->read(region_.n0 * row_bytes, held_);
  for (uint64_t n = region_.n0; n < region_.n1; ++n) {
    const std::span<std::byte> row(held_.data() + (n - region_.n0) * row_bytes, row_bytes);
    PHIQUANT_TRY(dense.data.bytes->read((n * weight_->k + region_.k0) * size, row));
  }
  return {};
}

Result<void> TileReader::tile_dense(const DenseStorage& dense, uint64_t k0, uint64_t k1,
                                    float* out) {
  const DType dtype = dense.data.dtype;
  const size_t size = element_bytes(dtype), cols = region_.cols(),
               rows = static_cast<size_t>(k1 - k0);
  if (dense.orientation == Orientation::nk) {
    rows_.resize(cols * rows);
    const std::byte* first = held_.data() + (k0 - region_.k0) * size;
    const size_t row_bytes = region_.rows() * size;
    quant::turn_to_f32(first, row_bytes, dtype, cols, rows, rows_.data(), out);
    return {};
  }
  std::byte* target = reinterpret_cast<std::byte*>(out);
  if (dtype != DType::f32) {
    raw_.resize(rows * cols * size);
    target = raw_.data();
  }
  if (cols == weight_->n) {
    PHIQUANT_TRY(dense.data.bytes->read(k0 * cols * size, {target, rows * cols * size}));
  } else {
    for (uint64_t k = k0; k < k1; ++k)
      PHIQUANT_TRY(dense.data.bytes->read((k * weight_->n + region_.n0) * size,
                                          {target + (k - k0) * cols * size, cols * size}));
  }
  if (dtype != DType::f32) quant::to_f32(target, dtype, rows * cols, out);
  return {};
}

// ---- Blocks
// --------------------------------------------------------------------------------------------

Result<void> TileReader::read_floats(const SourceTensor& tensor, uint64_t first, size_t n,
                                     float* out) {
  const size_t size = element_bytes(tensor.dtype);
  raw_.resize(n * size);
  PHIQUANT_TRY(tensor.bytes->read(first * size, raw_));
  quant::to_f32(raw_.data(), tensor.dtype, n, out);
  return {};
}

Result<void> TileReader::begin_blocks(const BlockStorage& blocks) {
  const uint64_t total_blocks = ceil_div(weight_->k, blocks.block_size);
  first_block_ = region_.k0 / blocks.block_size;
  block_count_ = ceil_div(region_.k1, blocks.block_size) - first_block_;
  const size_t cols = region_.cols(), count = static_cast<size_t>(block_count_);
  // Scales to [block][column], whatever their order in the file.
  scales_.resize(count * cols);
  const bool grouped = blocks.column_group > 1;
  if (grouped) {
    std::vector<float> per_block(count);
    PHIQUANT_TRY(read_floats(blocks.scales, first_block_, count, per_block.data()));
    for (size_t b = 0; b < count; ++b)
      std::fill_n(scales_.begin() + static_cast<ptrdiff_t>(b * cols), cols, per_block[b]);
  } else if (blocks.packing == Packing::k_major) {
    for (size_t b = 0; b < count; ++b)
      PHIQUANT_TRY(read_floats(blocks.scales, (first_block_ + b) * weight_->n + region_.n0, cols,
                               &scales_[b * cols]));
  } else {
    rows_.resize(cols * count);
    for (size_t c = 0; c < cols; ++c)
      PHIQUANT_TRY(read_floats(blocks.scales, (region_.n0 + c) * total_blocks + first_block_, count,
                               &rows_[c * count]));
    quant::transpose(rows_.data(), count, cols, count, scales_.data(), cols);
  }
  has_zeros_ = blocks.zero_points.has_value();
  if (has_zeros_) PHIQUANT_TRY(read_zero_points(blocks, total_blocks));
  if (blocks.packing == Packing::nbits) {
    const uint64_t row = nbits_row_bytes(blocks, weight_->k),
                   blob = blocks.block_size * blocks.bits / 8;
    const size_t part = static_cast<size_t>(block_count_ * blob);
    held_.resize(cols * part);
    if (part == row) return blocks.codes.bytes->read(region_.n0 * row, held_);
    for (size_t c = 0; c < cols; ++c)
      PHIQUANT_TRY(blocks.codes.bytes->read((region_.n0 + c) * row + first_block_ * blob,
                                            {held_.data() + c * part, part}));
  }
  return {};
}

// Zero points to zeros_[block][column].
Result<void> TileReader::read_zero_points(const BlockStorage& blocks, uint64_t total_blocks) {
  const SourceTensor& zp = *blocks.zero_points;
  const size_t cols = region_.cols(), count = static_cast<size_t>(block_count_);
  const bool grouped = blocks.column_group > 1, is_float = is_weight_float(zp.dtype);
  const unsigned bits = blocks.bits;
  const auto is_signed = blocks.is_signed;
  zeros_.resize(count * cols);
  std::vector<float> values;
  std::vector<uint8_t> codes;
  // `n` zero points from flat element `first` of a stream that starts at byte `base`.
  const auto read_run = [&](uint64_t base, uint64_t first, size_t n) -> Result<void> {
    values.resize(n);
    if (is_float) return read_floats(zp, first, n, values.data());
    const uint64_t begin = first * bits / 8, end = ceil_div((first + n) * bits, 8);
    raw_.resize(static_cast<size_t>(end - begin));
    PHIQUANT_TRY(zp.bytes->read(base + begin, raw_));
    codes.resize(n);
    quant::unpack_flat(raw_.data(), static_cast<size_t>(first - begin * 8 / bits), n, bits,
                       is_signed, codes.data());
    for (size_t i = 0; i < n; ++i)
      values[i] = is_signed ? static_cast<float>(static_cast<int8_t>(codes[i]))
                            : static_cast<float>(codes[i]);
    return {};
  };
  if (grouped) {
    PHIQUANT_TRY(read_run(0, first_block_, count));
    for (size_t b = 0; b < count; ++b)
      std::fill_n(zeros_.begin() + static_cast<ptrdiff_t>(b * cols), cols, values[b]);
  } else if (blocks.packing == Packing::k_major) {
    for (size_t b = 0; b < count; ++b) {
      PHIQUANT_TRY(read_run(0, (first_block_ + b) * weight_->n + region_.n0, cols));
      std::copy(values.begin(), values.end(), zeros_.begin() + static_cast<ptrdiff_t>(b * cols));
    }
  } else {
    // nbits packs each column's zero points into whole bytes; the typed tensors of n_major are
    // flat.
    const bool padded_rows = blocks.packing == Packing::nbits && !is_float;
    const uint64_t row_bytes = ceil_div(total_blocks * bits, 8);
    for (size_t c = 0; c < cols; ++c) {
      const uint64_t n = region_.n0 + c;
      PHIQUANT_TRY(padded_rows ? read_run(n * row_bytes, first_block_, count)
                               : read_run(0, n * total_blocks + first_block_, count));
      for (size_t b = 0; b < count; ++b) zeros_[b * cols + c] = values[b];
    }
  }
  return {};
}

void TileReader::gather_parameters(const BlockStorage& blocks, uint64_t block) {
  const size_t cols = region_.cols();
  const auto at = static_cast<ptrdiff_t>((block - first_block_) * cols);
  scale_row_.assign(scales_.begin() + at, scales_.begin() + at + static_cast<ptrdiff_t>(cols));
  if (has_zeros_)
    zero_row_.assign(zeros_.begin() + at, zeros_.begin() + at + static_cast<ptrdiff_t>(cols));
  else
    zero_row_.assign(cols, static_cast<float>(blocks.default_zero_point));
}

// Codes of rows k0..k1 to unpacked_[k][column], one byte each.
Result<void> TileReader::unpack_rows(const BlockStorage& blocks, uint64_t k0, uint64_t k1) {
  const size_t cols = region_.cols(), rows = static_cast<size_t>(k1 - k0);
  const unsigned bits = blocks.bits;
  unpacked_.resize(rows * cols);
  const auto run = [&](uint64_t first, size_t n, uint8_t* out) -> Result<void> {
    const uint64_t begin = first * bits / 8, end = ceil_div((first + n) * bits, 8);
    raw_.resize(static_cast<size_t>(end - begin));
    PHIQUANT_TRY(blocks.codes.bytes->read(begin, raw_));
    quant::unpack_flat(raw_.data(), static_cast<size_t>(first - begin * 8 / bits), n, bits,
                       blocks.is_signed, out);
    return {};
  };
  if (blocks.packing == Packing::k_major) {
    for (size_t r = 0; r < rows; ++r)
      PHIQUANT_TRY(run((k0 + r) * weight_->n + region_.n0, cols, &unpacked_[r * cols]));
    return {};
  }
  std::vector<uint8_t> column(rows);
  for (size_t c = 0; c < cols; ++c) {
    PHIQUANT_TRY(run((region_.n0 + c) * weight_->k + k0, rows, column.data()));
    for (size_t r = 0; r < rows; ++r) unpacked_[r * cols + c] = column[r];
  }
  return {};
}

Result<void> TileReader::tile_blocks(const BlockStorage& blocks, uint64_t k0, uint64_t k1,
                                     float* out) {
  const size_t cols = region_.cols();
  for (uint64_t k = k0; k < k1;) {
    const uint64_t block = k / blocks.block_size;
    const uint64_t block_begin = block * blocks.block_size;
    const uint64_t block_end = std::min(block_begin + blocks.block_size, weight_->k);
    const uint64_t end = std::min(k1, block_end);
    float* target = out + (k - k0) * cols;
    if (blocks.packing == Packing::nbits) {
      const size_t rows = static_cast<size_t>(block_end - block_begin);
      if (decoded_block_ != block) {
        gather_parameters(blocks, block);
        decoded_.resize(rows * cols);
        const size_t blob = blocks.block_size * blocks.bits / 8;
        const BlockView view{held_.data() + (block - first_block_) * blob,
                             static_cast<size_t>(block_count_) * blob, scale_row_.data(),
                             zero_row_.data()};
        quant::decode_block(blocks.packing, blocks.bits, blocks.is_signed, view, rows, cols,
                            decoded_.data(), cols);
        decoded_block_ = block;
      }
      std::copy_n(decoded_.data() + (k - block_begin) * cols, (end - k) * cols, target);
    } else {
      gather_parameters(blocks, block);
      PHIQUANT_TRY(unpack_rows(blocks, k, end));
      const BlockView view{reinterpret_cast<const std::byte*>(unpacked_.data()), cols,
                           scale_row_.data(), zero_row_.data()};
      quant::decode_block(blocks.packing, blocks.bits, blocks.is_signed, view,
                          static_cast<size_t>(end - k), cols, target, cols);
    }
    k = end;
  }
  return {};
}

}  // namespace phiquant
