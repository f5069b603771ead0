#include "pipeline/keep_codes.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "core/half.h"
#include "quant/stored_rows.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

constexpr uint64_t kBlock = 32, kScaleBytes = 2;
constexpr uint64_t kRun = 256;  // blocks read at a time

using Source = std::shared_ptr<const ByteSource>;

// Blocks of q4_0 or q8_0, from one of them on.
struct Blocks {
  Source bytes;
  uint64_t first = 0, count = 0;
  unsigned bits = 4;
  uint64_t block_bytes() const { return kScaleBytes + code_bytes(); }
  uint64_t code_bytes() const { return kBlock * bits / 8; }
};

// q4_0: byte j holds values j and j + 16; MatMulNBits: 2j and 2j + 1. q8_0: signed; MatMulNBits:
// unsigned with the zero point 128.
void turn(const std::byte* in, unsigned bits, std::byte* out) {
  if (bits == 8) {
    for (uint64_t i = 0; i < kBlock; ++i) out[i] = in[i] ^ std::byte{0x80};
    return;
  }
  constexpr uint64_t kHalf = kBlock / 2;
  for (uint64_t j = 0; j < kHalf / 2; ++j) {
    const std::byte a = in[2 * j], b = in[2 * j + 1];
    out[j] = (a & std::byte{0x0f}) | (b << 4);
    out[j + kHalf / 2] = (a >> 4) | (b & std::byte{0xf0});
  }
}

// Codes, or scales as float32, of stored blocks, taken apart as they are read.
class BlockPart final : public ByteSource {
 public:
  BlockPart(Blocks blocks, bool scales) : blocks_(std::move(blocks)), scales_(scales) {}
  uint64_t size_bytes() const override { return blocks_.count * unit(); }

  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    std::vector<std::byte> stored(kRun * blocks_.block_bytes()), made(kRun * unit());
    while (!out.empty()) {
      const uint64_t first = offset / unit(), skip = offset % unit();
      const uint64_t n = std::min(kRun, (skip + out.size() + unit() - 1) / unit());
      PHIQUANT_TRY(blocks_.bytes->read((blocks_.first + first) * blocks_.block_bytes(),
                                       std::span(stored).first(n * blocks_.block_bytes())));
      for (uint64_t b = 0; b < n; ++b)
        make(stored.data() + b * blocks_.block_bytes(), made.data() + b * unit());
      const size_t taken = std::min<size_t>(out.size(), n * unit() - skip);
      std::memcpy(out.data(), made.data() + skip, taken);
      out = out.subspan(taken);
      offset += taken;
    }
    return {};
  }

 private:
  uint64_t unit() const { return scales_ ? sizeof(float) : blocks_.code_bytes(); }
  void make(const std::byte* block, std::byte* out) const {
    if (!scales_) return turn(block + kScaleBytes, blocks_.bits, out);
    uint16_t half = 0;
    std::memcpy(&half, block, sizeof half);
    const float scale = f32_from_f16(half);
    std::memcpy(out, &scale, sizeof scale);
  }

  Blocks blocks_;
  bool scales_;
};

// The floats of a dense weight, where they are decoded from codes in the order in which they are
// stored.
const SourceTensor* decoded_of(const WeightSource& weight) {
  const auto* dense = std::get_if<DenseStorage>(&weight.storage);
  return dense && dense->data.stored ? &dense->data : nullptr;
}

// The blocks that a weight is decoded from, where they are q4_0 or q8_0 and begin and end with it.
std::optional<Blocks> blocks_of(const WeightSource& weight) {
  const SourceTensor* floats = decoded_of(weight);
  if (!floats || std::get<DenseStorage>(weight.storage).orientation != Orientation::nk ||
      floats->stored->scheme->family != RowFamily::gguf)
    return std::nullopt;
  const uint32_t type = floats->stored->scheme->type_id;
  if ((type != kGgmlQ4_0 && type != kGgmlQ8_0) || floats->first_stored % kBlock != 0 ||
      weight.k % kBlock != 0)
    return std::nullopt;
  return Blocks{floats->stored->planes[0], floats->first_stored / kBlock,
                weight.n * (weight.k / kBlock), type == kGgmlQ4_0 ? 4u : 8u};
}

bool has_the_grid(const BlockJob& job, const Plan& plan, const Blocks& blocks) {
  const DType scales = plan.tensors[job.scales].dtype;
  return job.scheme->packing == Packing::nbits && job.params.symmetric &&
         job.params.block_size == kBlock && job.params.bits == blocks.bits &&
         job.zero_points == kNoTensor && (scales == DType::f32 || scales == DType::f16);
}

}  // namespace

void keep_stored_codes(Plan& plan) {
  const size_t n_jobs = plan.jobs.size();
  for (size_t j = 0; j < n_jobs; ++j) {
    const auto* found = std::get_if<BlockJob>(&plan.jobs[j]);
    const auto blocks = found ? blocks_of(found->source) : std::nullopt;
    if (!blocks || !has_the_grid(*found, plan, *blocks)) continue;
    const BlockJob job = *found;
    const OutTensor &codes = plan.tensors[job.codes], &scales = plan.tensors[job.scales];
    const std::string& name = job.source.name;
    plan.jobs[j] = CopyJob{
        {name, codes.dtype, codes.shape, std::make_shared<BlockPart>(*blocks, false)}, job.codes};
    SourceTensor from{name, DType::f32, scales.shape, std::make_shared<BlockPart>(*blocks, true)};
    if (scales.dtype == DType::f32)
      plan.jobs.emplace_back(CopyJob{std::move(from), job.scales});
    else
      plan.jobs.emplace_back(CastJob{std::move(from), CastRule::ieee, job.scales});
    for (PlanRow& row : plan.rows) {
      if (row.job != j) continue;
      row.job = std::nullopt;
      row.reason = fmt::format("codes of {} kept", blocks->bits == 4 ? "q4_0" : "q8_0");
    }
  }
  for (PlanRow& row : plan.rows) {
    if (!row.job || !row.reason.empty()) continue;
    const auto* job = std::get_if<BlockJob>(&plan.jobs[*row.job]);
    const SourceTensor* floats = job ? decoded_of(job->source) : nullptr;
    if (floats) row.reason = fmt::format("decoded from {}", floats->stored->scheme->name);
  }
}

}  // namespace phiquant
