// The codes behind a tensor that is decoded as it is read (SourceTensor::stored).
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"
#include "quant/row_scheme.h"

namespace phiquant {

struct StoredRows {
  const RowScheme* scheme = nullptr;
  RowParams params;
  // One source for each plane of the scheme's layout, in order: the blocks of all values.
  std::vector<std::shared_ptr<const ByteSource>> planes;
};

}  // namespace phiquant
