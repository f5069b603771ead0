#include "core/sources.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "core/checked_math.h"

namespace phiquant {
namespace {

using Source = std::shared_ptr<const ByteSource>;

class Slice final : public ByteSource {
 public:
  Slice(Source source, uint64_t offset, uint64_t size_bytes)
      : source_(std::move(source)), offset_(offset), size_bytes_(size_bytes) {
    assert(range_inside(offset_, size_bytes_, source_->size_bytes()));
  }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    assert(range_inside(offset, out.size(), size_bytes_));
    return source_->read(offset_ + offset, out);
  }

 private:
  Source source_;
  uint64_t offset_, size_bytes_;
};

class Concat final : public ByteSource {
 public:
  explicit Concat(std::vector<Source> parts) : parts_(std::move(parts)) {
    for (const Source& part : parts_) {
      starts_.push_back(size_bytes_);
      size_bytes_ += part->size_bytes();
    }
  }
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    assert(range_inside(offset, out.size(), size_bytes_));
    auto i = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), offset) -
                                 starts_.begin());
    i -= i > 0 ? 1 : 0;
    for (; !out.empty(); ++i) {
      const uint64_t at = offset - starts_[i];
      const auto n =
          static_cast<size_t>(std::min<uint64_t>(out.size(), parts_[i]->size_bytes() - at));
      if (n > 0) PHIQUANT_TRY(parts_[i]->read(at, out.first(n)));
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }

 private:
  std::vector<Source> parts_;
  std::vector<uint64_t> starts_;
  uint64_t size_bytes_ = 0;
};

class Interleave final : public ByteSource {
 public:
  Interleave(Source a, Source b, uint64_t row_bytes)
      : sources_{std::move(a), std::move(b)}, row_bytes_(row_bytes) {
    assert(row_bytes_ > 0 && sources_[0]->size_bytes() == sources_[1]->size_bytes());
    assert(sources_[0]->size_bytes() % row_bytes_ == 0);
  }
  uint64_t size_bytes() const override { return 2 * sources_[0]->size_bytes(); }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    assert(range_inside(offset, out.size(), size_bytes()));
    while (!out.empty()) {
      const uint64_t row = offset / row_bytes_, at = offset % row_bytes_;
      const auto n = static_cast<size_t>(std::min<uint64_t>(out.size(), row_bytes_ - at));
      PHIQUANT_TRY(sources_[row % 2]->read(row / 2 * row_bytes_ + at, out.first(n)));
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }

 private:
  Source sources_[2];
  uint64_t row_bytes_;
};

class Computed final : public ByteSource {
 public:
  Computed(uint64_t n_values, FillFloats fill) : n_values_(n_values), fill_(std::move(fill)) {}
  uint64_t size_bytes() const override { return n_values_ * sizeof(float); }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    assert(range_inside(offset, out.size(), size_bytes()));
    if (out.empty()) return {};
    const uint64_t first = offset / sizeof(float),
                   last = (offset + out.size() - 1) / sizeof(float) + 1;
    std::vector<float> values(static_cast<size_t>(last - first));
    fill_(first, values);
    std::memcpy(out.data(), std::as_bytes(std::span(values)).data() + offset % sizeof(float),
                out.size());
    return {};
  }

 private:
  uint64_t n_values_;
  FillFloats fill_;
};

uint64_t row_values(const SourceTensor& tensor) {
  uint64_t values = 1;
  for (size_t d = 1; d < tensor.shape.size(); ++d) values *= tensor.shape[d];
  return values;
}

uint64_t row_bytes(const SourceTensor& tensor) {
  return row_values(tensor) * dtype_bits(tensor.dtype) / 8;
}

}  // namespace

std::shared_ptr<const ByteSource> slice_source(Source source, uint64_t offset,
                                               uint64_t size_bytes) {
  return std::make_shared<Slice>(std::move(source), offset, size_bytes);
}

std::shared_ptr<const ByteSource> concat_source(std::vector<Source> parts) {
  return std::make_shared<Concat>(std::move(parts));
}

std::shared_ptr<const ByteSource> computed_source(uint64_t n_values, FillFloats fill) {
  return std::make_shared<Computed>(n_values, std::move(fill));
}

SourceTensor slice_rows(const SourceTensor& tensor, uint64_t first, uint64_t count) {
  assert(!tensor.shape.empty() && range_inside(first, count, tensor.shape[0]));
  SourceTensor part = tensor;
  part.shape[0] = count;
  part.bytes = slice_source(tensor.bytes, first * row_bytes(tensor), count * row_bytes(tensor));
  if (part.stored) part.first_stored += first * row_values(tensor);
  return part;
}

SourceTensor interleave_rows(const SourceTensor& a, const SourceTensor& b) {
  assert(a.dtype == b.dtype && a.shape == b.shape && !a.shape.empty());
  SourceTensor both{a.name, a.dtype, a.shape,
                    std::make_shared<Interleave>(a.bytes, b.bytes, row_bytes(a))};
  both.shape[0] *= 2;
  return both;
}

SourceTensor concat_rows(std::string name, const std::vector<SourceTensor>& tensors) {
  assert(!tensors.empty());
  SourceTensor all{std::move(name), tensors[0].dtype, tensors[0].shape, nullptr};
  all.shape[0] = 0;
  std::vector<Source> parts;
  for (const SourceTensor& tensor : tensors) {
    assert(tensor.dtype == all.dtype && row_bytes(tensor) == row_bytes(tensors[0]));
    all.shape[0] += tensor.shape[0];
    parts.push_back(tensor.bytes);
  }
  all.bytes = concat_source(std::move(parts));
  return all;
}

}  // namespace phiquant
