// What a fuzzer does where an invariant is broken.
#pragma once

#include <cstdlib>

#include <fmt/core.h>

namespace phiquant {

inline void require(bool ok, const char* what) {
  if (ok) return;
  fmt::print(stderr, "invariant broken: {}\n", what);
  std::abort();
}

}  // namespace phiquant
