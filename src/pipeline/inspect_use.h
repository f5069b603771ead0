// What a weight's use allows it to become.
#pragma once

#include <cstdint>
#include <string>

#include "core/tensor.h"

namespace phiquant {

// How a weight is used, in the order of what that allows.
enum class Use : uint8_t { none, other, conv, blocks, codes };

// The precisions that `phiquant quantize` can give the tensor, apart from the one it has.
std::string quantizable(DType dtype, Use use);

}  // namespace phiquant
