// Byte sources made of other sources: parts, concatenations, casts and computed values. Nothing is
// held but what a read needs; the bytes do not depend on how they are read.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace phiquant {

// Bytes [offset, offset + size) of `source`; the range is inside it.
std::shared_ptr<const ByteSource> slice_source(std::shared_ptr<const ByteSource> source,
                                               uint64_t offset, uint64_t size_bytes);

// One after the other.
std::shared_ptr<const ByteSource> concat_source(
    std::vector<std::shared_ptr<const ByteSource>> parts);

// n_values float32 numbers; fill(first, out) computes out.size() of them from element `first` on.
// It is called from any thread.
using FillFloats = std::function<void(uint64_t first, std::span<float> out)>;
std::shared_ptr<const ByteSource> computed_source(uint64_t n_values, FillFloats fill);

// Rows [first, first + count) of a tensor (elements of a vector). What its values are decoded from
// is still known of the part.
SourceTensor slice_rows(const SourceTensor& tensor, uint64_t first, uint64_t count);

// Rows of two tensors of equal shape and type by turns, a0 b0 a1 b1 ..., under the name of the
// first.
SourceTensor interleave_rows(const SourceTensor& a, const SourceTensor& b);

// Tensors of equal row shape and type, one below the other.
SourceTensor concat_rows(std::string name, const std::vector<SourceTensor>& tensors);

}  // namespace phiquant
