#include "model/checkpoint/lora_source.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>
#include <vector>

#include "core/half.h"

namespace phiquant {
namespace {

// Elements [first, first + out.size()) of a float tensor, as float32.
Result<void> read_floats(const SourceTensor& tensor, uint64_t first, std::span<float> out,
                         std::vector<std::byte>& scratch) {
  if (tensor.dtype == DType::f32) return tensor.bytes->read(first * 4, std::as_writable_bytes(out));
  scratch.resize(out.size() * 2);
  PHIQUANT_TRY(tensor.bytes->read(first * 2, scratch));
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, scratch.data() + 2 * i, 2);
    out[i] = tensor.dtype == DType::f16 ? f32_from_f16(bits) : f32_from_bf16(bits);
  }
  return {};
}

class MergedLora final : public ByteSource {
 public:
  MergedLora(SourceTensor base, SourceTensor a, SourceTensor b, float scale)
      : base_(std::move(base)),
        a_(std::move(a)),
        b_(std::move(b)),
        scale_(scale),
        n_in_(base_.shape[1]),
        rank_(a_.shape[0]),
        n_values_(base_.shape[0] * n_in_) {
    assert(a_.shape[1] == n_in_ && b_.shape[0] == base_.shape[0] && b_.shape[1] == rank_);
  }
  uint64_t size_bytes() const override { return n_values_ * 4; }

  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    while (!out.empty()) {
      // Whole elements of some rows; then the bytes of them that were asked for.
      const uint64_t first = offset / 4, skip = offset % 4;
      const uint64_t last =
          std::min({n_values_, (offset + out.size() + 3) / 4, (first / n_in_ + kLoraRows) * n_in_});
      std::vector<float> values(last - first);
      PHIQUANT_TRY(merge(first, values));
      const size_t n = std::min<uint64_t>(out.size(), values.size() * 4 - skip);
      std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values.data()) + skip, n);
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }

 private:
  // Elements [first, first + values.size()), of at most kLoraRows rows.
  Result<void> merge(uint64_t first, std::span<float> values) const {
    const uint64_t last = first + values.size(), row0 = first / n_in_,
                   row1 = (last - 1) / n_in_ + 1;
    // Columns that no row wants are not read of A.
    const uint64_t col0 = row1 - row0 == 1 ? first % n_in_ : 0,
                   col1 = row1 - row0 == 1 ? (last - 1) % n_in_ + 1 : n_in_;
    std::vector<std::byte> scratch;
    std::vector<float> b((row1 - row0) * rank_), a(col1 - col0), sums(values.size(), 0.0f);
    PHIQUANT_TRY(read_floats(b_, row0 * rank_, b, scratch));
    for (uint64_t j = 0; j < rank_; ++j) {
      PHIQUANT_TRY(read_floats(a_, j * n_in_ + col0, a, scratch));
      for (uint64_t row = row0; row < row1; ++row) {
        const uint64_t begin = std::max(first, row * n_in_),
                       end = std::min(last, (row + 1) * n_in_);
        const float factor = b[(row - row0) * rank_ + j];
        const float* from = a.data() + (begin - row * n_in_ - col0);
        float* to = sums.data() + (begin - first);
        for (uint64_t i = 0; i < end - begin; ++i) to[i] += factor * from[i];
      }
    }
    PHIQUANT_TRY(read_floats(base_, first, values, scratch));
    for (size_t i = 0; i < values.size(); ++i) values[i] += scale_ * sums[i];
    return {};
  }

  SourceTensor base_, a_, b_;
  float scale_;
  uint64_t n_in_, rank_, n_values_;
};

}  // namespace

SourceTensor merge_lora(const SourceTensor& base, const SourceTensor& a, const SourceTensor& b,
                        float scale) {
  return {base.name, DType::f32, base.shape, std::make_shared<MergedLora>(base, a, b, scale)};
}

}  // namespace phiquant
