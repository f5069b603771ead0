#include "core/tensor.h"

#include <limits>

#include "core/checked_math.h"

namespace phiquant {
namespace {

constexpr uint64_t kMaxCount = std::numeric_limits<int64_t>::max();

}  // namespace

std::string_view dtype_name(DType t) {
  switch (t) {
    case DType::undefined:
      return "undefined";
    case DType::f32:
      return "float32";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    case DType::f64:
      return "float64";
    case DType::i8:
      return "int8";
    case DType::u8:
      return "uint8";
    case DType::i16:
      return "int16";
    case DType::u16:
      return "uint16";
    case DType::i32:
      return "int32";
    case DType::u32:
      return "uint32";
    case DType::i64:
      return "int64";
    case DType::u64:
      return "uint64";
    case DType::boolean:
      return "bool";
    case DType::i4:
      return "int4";
    case DType::u4:
      return "uint4";
    case DType::i2:
      return "int2";
    case DType::u2:
      return "uint2";
    case DType::f8e4m3:
      return "float8e4m3fn";
    case DType::f8e4m3fnuz:
      return "float8e4m3fnuz";
    case DType::f8e5m2:
      return "float8e5m2";
    case DType::f8e5m2fnuz:
      return "float8e5m2fnuz";
    case DType::f8e8m0:
      return "float8e8m0";
    case DType::f4e2m1:
      return "float4e2m1";
    case DType::c64:
      return "complex64";
    case DType::c128:
      return "complex128";
    case DType::string:
      return "string";
  }
  return "undefined";
}

std::optional<uint64_t> element_count(const Shape& shape) {
  // A zero anywhere makes the product zero, however large the others are: do not call it overflow.
  for (const uint64_t dim : shape)
    if (dim == 0) return 0;
  uint64_t count = 1;
  for (const uint64_t dim : shape) {
    const auto product = checked_mul(count, dim);
    if (!product || *product > kMaxCount) return std::nullopt;
    count = *product;
  }
  return count;
}

std::optional<uint64_t> tensor_bytes(DType t, const Shape& shape) {
  const auto count = element_count(shape);
  if (!count) return std::nullopt;
  const uint64_t bits = dtype_bits(t);
  if (bits % 8 != 0) return *count / (8 / bits) + (*count % (8 / bits) != 0 ? 1 : 0);
  const auto bytes = checked_mul(*count, bits / 8);
  if (!bytes || *bytes > kMaxCount) return std::nullopt;
  return bytes;
}

std::string shape_string(const Shape& shape) {
  std::string text = "[";
  for (const uint64_t dim : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dim);
  }
  return text + "]";
}

}  // namespace phiquant
