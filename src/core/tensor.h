// Element types, shapes and where a tensor's bytes come from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "phiquant/error.h"

namespace phiquant {

enum class DType : uint8_t {
  undefined,
  f32,
  f16,
  bf16,
  f64,
  i8,
  u8,
  i16,
  u16,
  i32,
  u32,
  i64,
  u64,
  boolean,
  i4,
  u4,
  i2,
  u2,
  f8e4m3,
  f8e4m3fnuz,
  f8e5m2,
  f8e5m2fnuz,
  f8e8m0,
  f4e2m1,
  c64,
  c128,
  string,
};

// Bits per element; 0 for string and undefined. 4- and 2-bit elements are packed low bits first,
// the whole tensor flat.
constexpr unsigned dtype_bits(DType t) {
  switch (t) {
    case DType::undefined:
    case DType::string:
      return 0;
    case DType::f64:
    case DType::i64:
    case DType::u64:
    case DType::c64:
      return 64;
    case DType::c128:
      return 128;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 32;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16:
      return 16;
    case DType::i4:
    case DType::u4:
    case DType::f4e2m1:
      return 4;
    case DType::i2:
    case DType::u2:
      return 2;
    default:
      return 8;
  }
}

constexpr bool is_weight_float(DType t) {
  return t == DType::f32 || t == DType::f16 || t == DType::bf16;
}

// "float32", "float16", "bfloat16", "int4", "uint8", ...: the names that the command line and JSON
// use.
std::string_view dtype_name(DType t);

// Outermost dimension first, row-major. An empty shape is a scalar.
using Shape = std::vector<uint64_t>;

// Number of elements; nullopt where the product overflows 63 bits.
std::optional<uint64_t> element_count(const Shape& shape);
// Bytes of a dense tensor, sub-byte types rounded up to a whole byte; nullopt on overflow.
std::optional<uint64_t> tensor_bytes(DType t, const Shape& shape);
// "[3072, 8192]"
std::string shape_string(const Shape& shape);

// Random access to a run of bytes: a range of an input file, or memory. Immutable; safe from any
// thread.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size_bytes() const = 0;
  // Fills `out` from byte `offset`; offset + out.size() <= size_bytes() is the caller's duty.
  // Error io names file and offset.
  virtual Result<void> read(uint64_t offset, std::span<std::byte> out) const = 0;
};

struct StoredRows;  // quant/stored_rows.h; core only hands it on

// A tensor of an input model whose bytes were not loaded.
struct SourceTensor {
  std::string name;
  DType dtype = DType::undefined;
  Shape shape;
  std::shared_ptr<const ByteSource>
      bytes;  // size_bytes() == tensor_bytes(dtype, shape), checked by the reader
  // The codes that all of `bytes` are decoded from as they are read, and which of their values is
  // the first one here. Null: the values are stored, or made of several tensors. Whoever gives a
  // copy other bytes gives it no codes.
  std::shared_ptr<const StoredRows> stored = nullptr;
  uint64_t first_stored = 0;
};

}  // namespace phiquant
