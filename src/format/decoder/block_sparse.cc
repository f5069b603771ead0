// Block-sparse attention: what com.microsoft::SparseAttention takes beside queries, keys and
// values.
// Sources: onnxruntime 1.31, contrib_ops/cpu/sparse/sparse_attention_helper.h (limits, shapes);
// onnxruntime-genai 0.18, builders/phi.py, Phi3SmallModel (names, -1 behind the shorter lists).
#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "core/input_file.h"
#include "core/sources.h"
#include "format/decoder/genai_inputs.h"
#include "format/decoder/onnx_parts.h"

namespace phiquant::format {
namespace {

constexpr uint64_t kMaxEntries = uint64_t{1} << 25;  // of all heads; those of 128k tokens: 2^23.2

uint64_t block_count(const Decoder& d) {
  return (d.context + d.block_sparse->block_size - 1) / d.block_sparse->block_size;
}

// Blocks of keys that block `query` sees: those nearby, and of the others every stride-th.
uint64_t seen_blocks(const BlockSparse& b, uint64_t query, uint64_t shift) {
  if (query < b.local_blocks) return query + 1;
  const uint64_t others = query + 1 - b.local_blocks;
  return b.local_blocks + (others + shift) / b.vertical_stride - shift / b.vertical_stride;
}

// int32 numbers one after the other.
class Table {
 public:
  explicit Table(uint64_t n) : bytes_(n * sizeof(int32_t), '\xFF') {}  // -1
  void put(uint64_t number) {
    const auto value = static_cast<int32_t>(number);
    std::memcpy(bytes_.data() + at_, &value, sizeof value);
    at_ += sizeof value;
  }
  void skip_to(uint64_t n) { at_ = n * sizeof(int32_t); }
  SourceTensor source(Shape shape) {
    return {"", DType::i32, std::move(shape), memory_source(std::move(bytes_))};
  }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

// The blocks that block `query` sees, in order.
void put_blocks(const BlockSparse& b, uint64_t query, uint64_t shift, Table& out) {
  const uint64_t nearby = query < b.local_blocks ? 0 : query + 1 - b.local_blocks,
                 stride = b.vertical_stride;
  for (uint64_t key = stride - 1 - shift % stride; key < nearby; key += stride) out.put(key);
  for (uint64_t key = nearby; key <= query; ++key) out.put(key);
}

}  // namespace

Result<void> check_block_sparse(const Decoder& d, const std::string& folder) {
  if (!d.block_sparse) return {};
  const BlockSparse& b = *d.block_sparse;
  const auto refuse = [&](const std::string& what) {
    return Error{Errc::unsupported,
                 fmt::format("{}: ONNX Runtime's SparseAttention {} (--format onnx writes standard "
                             "operators, which have no such limit)",
                             folder, what)};
  };
  if (b.block_size != 16 && b.block_size != 32 && b.block_size != 64 && b.block_size != 128)
    return refuse(
        fmt::format("has blocks of 16, 32, 64 or 128 tokens, config.json wants {}", b.block_size));
  if (d.head_size % 16 != 0)
    return refuse(fmt::format("wants heads of a multiple of 16, they are of {}", d.head_size));
  const uint64_t n_blocks = block_count(d);
  uint64_t entries = n_blocks * d.n_heads;
  for (uint32_t head = 0; head < d.n_heads && entries <= kMaxEntries; ++head) {
    const uint64_t shift = b.shift(head, d.n_heads);
    for (uint64_t i = 0; i < n_blocks; ++i) entries += seen_blocks(b, i, shift);
  }
  if (entries > kMaxEntries)
    return refuse(fmt::format("lists every block that a head sees: more than {} for {} tokens",
                              kMaxEntries, d.context));
  return {};
}

void write_block_mask(GraphWriter& w, SharedInputs& shared) {
  const Decoder& d = w.decoder;
  const BlockSparse& b = *d.block_sparse;
  const uint64_t n_blocks = block_count(d);
  Table rows(d.n_heads * (n_blocks + 1));
  uint64_t width = 0;
  for (uint32_t head = 0; head < d.n_heads; ++head) {
    uint64_t n = 0;
    for (uint64_t i = 0; i < n_blocks; ++i) {
      rows.put(n);
      n += seen_blocks(b, i, b.shift(head, d.n_heads));
    }
    rows.put(n);
    width = std::max(width, n);
  }
  Table columns(d.n_heads * width);
  for (uint32_t head = 0; head < d.n_heads; ++head) {
    columns.skip_to(head * width);
    for (uint64_t i = 0; i < n_blocks; ++i) put_blocks(b, i, b.shift(head, d.n_heads), columns);
  }
  shared.block_rows = w.table("block_row_indices", rows.source({d.n_heads, n_blocks + 1}));
  shared.block_columns = w.table("block_col_indices", columns.source({d.n_heads, width}));
}

}  // namespace phiquant::format
