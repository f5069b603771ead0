// The blocks behind a tensor that is decoded as it is read.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/tensor.h"
#include "quant/row_scheme.h"

namespace phiquant {

struct StoredRows {
  const RowScheme* scheme = nullptr;
  std::vector<std::shared_ptr<const ByteSource>> planes;
};

// nullopt where `source` is not of decoded_rows().
std::optional<StoredRows> stored_rows(const ByteSource& source);

}  // namespace phiquant
