// Runs a check once for every instruction set that this machine and build offer.
#pragma once

#include <string>
#include <string_view>

#include "quant/kernels.h"

namespace phiquant::test {

// Calls check(name) with each target in force, then goes back to the one in force before.
template <class Check>
void for_each_target(const Check& check) {
  const std::string before(quant::active_target());
  for (const std::string_view target : quant::available_targets()) {
    if (quant::force_target(target)) check(std::string(target));
  }
  quant::force_target(before);
}

}  // namespace phiquant::test
