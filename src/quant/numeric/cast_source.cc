#include <algorithm>
#include <cassert>
#include <cstring>
#include <utility>
#include <vector>

#include "core/sources.h"
#include "quant/kernels.h"
#include "quant/numeric/cast_source.h"

namespace phiquant {
namespace {

constexpr size_t kRun = 16384;  // elements cast at a time

class Cast final : public ByteSource {
 public:
  Cast(SourceTensor tensor, DType to)
      : tensor_(std::move(tensor)),
        to_(to),
        from_bytes_(dtype_bits(tensor_.dtype) / 8),
        to_bytes_(dtype_bits(to) / 8) {}
  uint64_t size_bytes() const override {
    return tensor_.bytes->size_bytes() / from_bytes_ * to_bytes_;
  }

  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    std::vector<std::byte> in, edge;
    while (!out.empty()) {
      // Whole elements; of the first and the last one perhaps a part was asked for.
      const uint64_t first = offset / to_bytes_, skip = offset % to_bytes_;
      const auto n = static_cast<size_t>(
          std::min<uint64_t>(kRun, (skip + out.size() + to_bytes_ - 1) / to_bytes_));
      in.resize(n * from_bytes_);
      PHIQUANT_TRY(tensor_.bytes->read(first * from_bytes_, in));
      quant::CastStats ignored;
      const auto taken = static_cast<size_t>(std::min<uint64_t>(out.size(), n * to_bytes_ - skip));
      if (taken == n * to_bytes_) {
        quant::cast(in.data(), tensor_.dtype, n, out.data(), to_, CastRule::ieee, ignored);
      } else {
        edge.resize(n * to_bytes_);
        quant::cast(in.data(), tensor_.dtype, n, edge.data(), to_, CastRule::ieee, ignored);
        std::memcpy(out.data(), edge.data() + skip, taken);
      }
      out = out.subspan(taken);
      offset += taken;
    }
    return {};
  }

 private:
  SourceTensor tensor_;
  DType to_;
  uint64_t from_bytes_, to_bytes_;
};

}  // namespace

SourceTensor cast_source(const SourceTensor& tensor, DType to) {
  assert(is_weight_float(tensor.dtype) && is_weight_float(to));
  if (tensor.dtype == to) return tensor;
  return {tensor.name, to, tensor.shape, std::make_shared<Cast>(tensor, to)};
}

}  // namespace phiquant
