// GGUF files made byte by byte, so that they can also be wrong.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace phiquant::test {

template <class T>
std::string raw(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

inline std::string gguf_text(std::string_view text) {
  return raw<uint64_t>(text.size()) + std::string(text);
}

inline std::string gguf_key(std::string_view name, uint32_t type, const std::string& value) {
  return gguf_text(name) + raw(type) + value;
}

// `ne`: as the file has it, innermost dimension first.
inline std::string gguf_tensor(std::string_view name, const std::vector<uint64_t>& ne,
                               uint32_t type, uint64_t offset) {
  std::string out = gguf_text(name) + raw<uint32_t>(static_cast<uint32_t>(ne.size()));
  for (const uint64_t n : ne) out += raw(n);
  return out + raw(type) + raw(offset);
}

struct GgufBytes {
  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::string> keys = {};
  std::vector<std::string> tensors = {};
  std::string data = {};
  uint64_t more_tensors = 0, more_keys = 0;  // added to the counts
  size_t alignment = 32;

  std::string bytes() const {
    std::string out = magic + raw(version) + raw<uint64_t>(tensors.size() + more_tensors) +
                      raw<uint64_t>(keys.size() + more_keys);
    for (const std::string& k : keys) out += k;
    for (const std::string& t : tensors) out += t;
    while (out.size() % alignment != 0) out += '\0';
    return out + data;
  }
};

inline std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace phiquant::test
