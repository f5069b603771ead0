// One function for each alternative of a variant, for std::visit: an alternative that none takes
// does not compile.
#pragma once

namespace phiquant {

template <class... Functions>
struct Overload : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overload(Functions...) -> Overload<Functions...>;

}  // namespace phiquant
