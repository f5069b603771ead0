// Runs a check once for every instruction set that this machine and build offer.
#pragma once

#include <string>
#include <string_view>

#include "quant/kernels.h"

namespace phiquant::test {

// Calls check(name) with each level in force, then goes back to the one in force before.
template <class Check>
void for_each_simd(const Check& check) {
  const std::string before(quant::active_simd());
  for (const std::string_view simd : quant::available_simd()) {
    if (quant::force_simd(simd)) check(std::string(simd));
  }
  quant::force_simd(before);
}

}  // namespace phiquant::test
