// One serialized TensorProto: its header apart from its payload, and all checks of one against the
// other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <onnx/onnx_pb.h>

#include "core/tensor.h"
#include "phiquant/error.h"
#include "wire/onnx_strip_context.h"
#include "wire/protobuf_wire.h"

namespace phiquant {

// Field numbers of TensorProto that hold elements.
struct TensorField {
  static constexpr uint32_t kFloat = 4, kInt32 = 5, kString = 6, kInt64 = 7, kRaw = 9, kDouble = 10,
                            kUint64 = 11;
};

// Consecutive fields of one number, packed or not.
struct TypedRun {
  uint32_t number = 0;
  Bytes fields;
};

struct TensorParts {
  onnx::TensorProto header;          // everything but the elements
  const std::byte* where = nullptr;  // first byte, for messages
  std::optional<Bytes> raw;
  std::vector<TypedRun> typed;
  uint64_t n_strings = 0;
};

// `parts`: the occurrences of one message, which protobuf merges. Charges the context for the
// memory.
Result<TensorParts> split_tensor(const std::vector<Bytes>& parts, StripContext& context);

// What a tensor holds, once checked.
struct CheckedTensor {
  DType dtype = DType::undefined;
  Shape shape;
  uint64_t size_bytes = 0;
  bool is_external = false;
  Bytes stored;  // elements as they lie in the file, little-endian; empty if decoded
  std::optional<std::string> decoded;
};
Result<CheckedTensor> check_tensor(const TensorParts& parts, StripContext& context);

// location, offset, length of an external tensor. Numbers are decimal; unknown keys and checksums
// are ignored.
struct ExternalPlace {
  std::string location;
  uint64_t offset = 0;
  std::optional<uint64_t> length;
};
Result<ExternalPlace> external_place(const TensorParts& parts, const StripContext& context);

}  // namespace phiquant
