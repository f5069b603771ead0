// The two ways to narrow a float.
#pragma once

#include <cstdint>

namespace phiquant {

// What a cast to a narrower float does with what it cannot hold.
enum class CastRule : uint8_t {
  ieee,      // round half to even, overflow to infinity
  ort_fp16,  // ONNX Runtime's float16 converter: 0 < |x| < 5.96e-8 -> 5.96e-8, finite |x| > 65504
             // -> 65504 (signs kept)
};

}  // namespace phiquant
