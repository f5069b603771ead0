// A GGUF header to bytes, and how its keys are found and set.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include <fmt/core.h>

#include "core/checked_math.h"
#include "wire/gguf_header.h"
#include "wire/gguf_model.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is written as it lies in memory");

class Writer {
 public:
  template <class T>
  void number(T value) {
    const char* bytes = reinterpret_cast<const char*>(&value);
    out.append(bytes, sizeof(value));
  }
  void string(std::string_view text) {
    number<uint64_t>(text.size());
    out += text;
  }
  void value(const GgufValue& v) {
    std::visit(
        [this](const auto& x) {
          using T = std::decay_t<decltype(x)>;
          if constexpr (std::is_same_v<T, std::string>) {
            string(x);
          } else if constexpr (std::is_same_v<T, GgufArray>) {
            number(static_cast<uint32_t>(x.type));
            number<uint64_t>(x.values.size());
            for (const GgufValue& element : x.values) value(element);
          } else if constexpr (std::is_same_v<T, bool>) {
            number<uint8_t>(x ? 1 : 0);
          } else {
            number(x);
          }
        },
        v);
  }
  std::string out;
};

}  // namespace

uint64_t place_gguf_tensors(GgufHeader& header) {
  uint64_t offset = 0;
  for (GgufTensorInfo& tensor : header.tensors) {
    tensor.offset = offset;
    const GgmlTypeInfo& type = *find_ggml_type(tensor.type_id);
    tensor.size_bytes =
        element_count(tensor.shape).value_or(0) / type.block_size * type.block_bytes;
    offset += checked_round_up(tensor.size_bytes, header.alignment).value_or(0);
  }
  return offset;
}

std::string serialize_gguf_header(const GgufHeader& header) {
  Writer w;
  w.number(kGgufMagic);
  w.number(header.version);
  w.number<uint64_t>(header.tensors.size());
  w.number<uint64_t>(header.metadata.size());
  for (const GgufKeyValue& kv : header.metadata) {
    w.string(kv.key);
    w.number(static_cast<uint32_t>(kv.value.index()));
    w.value(kv.value);
  }
  for (const GgufTensorInfo& tensor : header.tensors) {
    w.string(tensor.name);
    w.number(static_cast<uint32_t>(tensor.shape.size()));
    for (auto d = tensor.shape.rbegin(); d != tensor.shape.rend(); ++d) w.number<uint64_t>(*d);
    w.number(tensor.type_id);
    w.number(tensor.offset);
  }
  w.out.resize(*checked_round_up(w.out.size(), header.alignment), '\0');
  return std::move(w.out);
}

const GgufValue* find_gguf_key(std::span<const GgufKeyValue> metadata, std::string_view key) {
  for (const GgufKeyValue& kv : metadata)
    if (kv.key == key) return &kv.value;
  return nullptr;
}

std::optional<uint64_t> gguf_unsigned(std::span<const GgufKeyValue> metadata,
                                      std::string_view key) {
  const GgufValue* value = find_gguf_key(metadata, key);
  if (!value) return std::nullopt;
  return std::visit(
      [](const auto& x) -> std::optional<uint64_t> {
        if constexpr (std::is_integral_v<std::decay_t<decltype(x)>>) {
          if (std::cmp_less(static_cast<int64_t>(x), 0)) return std::nullopt;
          return static_cast<uint64_t>(x);
        } else {
          return std::nullopt;
        }
      },
      *value);
}

std::optional<double> gguf_number(std::span<const GgufKeyValue> metadata, std::string_view key) {
  const GgufValue* value = find_gguf_key(metadata, key);
  if (!value) return std::nullopt;
  if (const float* f = std::get_if<float>(value)) return *f;
  if (const double* d = std::get_if<double>(value)) return *d;
  if (const auto n = gguf_unsigned(metadata, key)) return static_cast<double>(*n);
  return std::nullopt;
}

const std::string* gguf_string(std::span<const GgufKeyValue> metadata, std::string_view key) {
  const GgufValue* value = find_gguf_key(metadata, key);
  return value ? std::get_if<std::string>(value) : nullptr;
}

void remove_gguf_key(std::vector<GgufKeyValue>& metadata, std::string_view key) {
  std::erase_if(metadata, [&](const GgufKeyValue& kv) { return kv.key == key; });
}

void set_gguf_key(std::vector<GgufKeyValue>& metadata, std::string key, GgufValue value) {
  remove_gguf_key(metadata, key);
  metadata.push_back({std::move(key), std::move(value)});
}

std::string gguf_split_name(std::string_view prefix, uint64_t no, uint64_t count) {
  return fmt::format("{}-{:05}-of-{:05}.gguf", prefix, no + 1, count);
}

}  // namespace phiquant
