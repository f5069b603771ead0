// What is known about a model's weights beside their headers. All of it optional.
#pragma once

#include <set>
#include <string>

namespace phiquant {

struct Evidence {
  // Weights found to hold NaN or infinity while streaming, by Slot::tensor: no encoding holds
  // those.
  std::set<std::string> non_finite;
};

}  // namespace phiquant
