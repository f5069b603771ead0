// What a byte source that is a part of another one is a part of.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace phiquant {

struct SourcePart {
  const ByteSource* whole = nullptr;
  uint64_t offset = 0;
};

// Looks through slice_source(), however often; a source that is no slice is its own whole. The
// pointer lives as long as `source`.
SourcePart part_of(const ByteSource& source);

}  // namespace phiquant
