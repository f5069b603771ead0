// A GGUF header as data, and both ways between it and bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "phiquant/error.h"
#include "wire/gguf.h"

namespace phiquant {

// Caps of the reader. Names: ggml's GGML_MAX_NAME with its terminating zero. Elements: over all
// arrays together, so that a small element type cannot make a file's worth of memory many times
// larger; ten times the largest vocabulary with its merges.
constexpr size_t kGgufMaxTensors = 1'000'000;
constexpr size_t kGgufMaxKeys = 65'536;
constexpr size_t kGgufMaxKeyBytes = 65'535;
constexpr size_t kGgufMaxNameBytes = 63;
constexpr size_t kGgufMaxStringBytes = 64'000'000;
constexpr size_t kGgufMaxElements = 8'000'000;
constexpr size_t kGgufMaxDims = 4;

struct GgufTensorInfo {
  std::string name;
  Shape shape;  // outermost first; the file has it the other way round
  uint32_t type_id = 0;
  uint64_t offset = 0;  // from the first byte behind the header
  uint64_t size_bytes = 0;
};

struct GgufHeader {
  uint32_t version = kGgufVersion;
  uint64_t alignment = kGgufAlignment;  // of the data's begin and of every tensor in it
  std::vector<GgufKeyValue> metadata;
  std::vector<GgufTensorInfo> tensors;
  uint64_t data_begin = 0;  // byte of the file
};

// Whether these first bytes of a file say GGUF.
bool looks_like_gguf(std::span<const std::byte> begin);

// `where`: the file's name, for messages. `file`: all of it, mapped; only the header's bytes are
// read. Returns keys and tensors in file order, unique; each tensor is aligned, inside the file, of
// the bytes that type and shape need, its rows whole blocks, and overlaps no other. Errors: corrupt
// (names what and where), unsupported (versions other than 2 and 3, big-endian files, unknown
// element types, nested arrays, more than the caps above).
Result<GgufHeader> parse_gguf_header(std::string_view where, std::span<const std::byte> file);

// Offsets and sizes of tensors in their order, each aligned as `header` says; the bytes of all of
// them, the last one padded like the others.
uint64_t place_gguf_tensors(GgufHeader& header);

// The header's bytes, padded to where data begins; `version` is written as it is.
std::string serialize_gguf_header(const GgufHeader& header);

// The value of a key; nullptr where there is none.
const GgufValue* find_gguf_key(std::span<const GgufKeyValue> metadata, std::string_view key);
// A non-negative integer of any width (or a boolean), a float of either, a string; nullopt where
// the key is missing or has another type.
std::optional<uint64_t> gguf_unsigned(std::span<const GgufKeyValue> metadata, std::string_view key);
std::optional<double> gguf_number(std::span<const GgufKeyValue> metadata, std::string_view key);
const std::string* gguf_string(std::span<const GgufKeyValue> metadata, std::string_view key);
// As llama.cpp sets a key: an old value goes, the new one comes last.
void set_gguf_key(std::vector<GgufKeyValue>& metadata, std::string key, GgufValue value);
void remove_gguf_key(std::vector<GgufKeyValue>& metadata, std::string_view key);

}  // namespace phiquant
