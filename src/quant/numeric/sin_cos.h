// Sines and cosines of many angles, for tables of rotary embeddings.
#pragma once

#include <cstddef>

namespace phiquant {

// n angles in radians -> the nearest floats to their sine or cosine, whatever the instruction set:
// what std::sin(double) gives rounded to float, many at a time. `out` may be `angles`.
void nearest_sin(const float* angles, size_t n, float* out);
void nearest_cos(const float* angles, size_t n, float* out);

}  // namespace phiquant
