// What is known about a model's weights beside their headers. All of it optional.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "wire/imatrix.h"

namespace phiquant {

struct Evidence {
  // Weights found to hold NaN or infinity while streaming, by Slot::tensor: no encoding holds
  // those.
  std::set<std::string> non_finite;
  // Of Recipe::imatrix, read before anything is planned; null: none.
  std::shared_ptr<const Imatrix> imatrix = nullptr;
};

}  // namespace phiquant
