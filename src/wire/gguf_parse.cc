// Bytes to a GGUF header; the file is taken to be hostile.
#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include <fmt/core.h>

#include "core/checked_math.h"
#include "core/text.h"
#include "wire/gguf_header.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

class Parser {
 public:
  Parser(std::string_view where, std::span<const std::byte> file) : where_(where), file_(file) {}
  Result<GgufHeader> run();

 private:
  Error corrupt(const std::string& what) const {
    return {Errc::corrupt, fmt::format("{}: {}", where_, what)};
  }
  Error unsupported(const std::string& what) const {
    return {Errc::unsupported, fmt::format("{}: {}", where_, what)};
  }
  uint64_t left() const { return file_.size() - at_; }

  template <class T>
  Result<T> number(const char* what) {
    if (left() < sizeof(T))
      return corrupt(fmt::format("{} ends at byte {}, file has {} (incomplete download?)", what,
                                 at_ + sizeof(T), file_.size()));
    T value;
    std::memcpy(&value, file_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }
  Result<std::string> string(const char* what, size_t longest);
  Result<GgufValue> scalar(GgufType type, const std::string& key);
  Result<GgufValue> value(GgufType type, const std::string& key);
  Result<GgufValue> array(const std::string& key);
  Result<GgufType> type(const std::string& key);
  Result<void> preamble(GgufHeader& header, uint64_t& n_tensors, uint64_t& n_keys);
  Result<void> metadata(GgufHeader& header, uint64_t n_keys);
  Result<void> alignment(GgufHeader& header);
  Result<void> tensor(GgufHeader& header);
  Result<void> tensor_bytes(GgufTensorInfo& tensor);
  Result<void> places(GgufHeader& header);

  std::string_view where_;
  std::span<const std::byte> file_;
  uint64_t at_ = 0;
  uint64_t elements_ = 0;
};

Result<std::string> Parser::string(const char* what, size_t longest) {
  PHIQUANT_ASSIGN(const uint64_t size, number<uint64_t>(what));
  if (size > left())
    return corrupt(
        fmt::format("{} at byte {}: {} bytes long, file has {} left", what, at_, size, left()));
  if (size > longest)
    return unsupported(
        fmt::format("{} at byte {}: {} bytes long, at most {} are read", what, at_, size, longest));
  std::string text(reinterpret_cast<const char*>(file_.data()) + at_, static_cast<size_t>(size));
  at_ += size;
  return text;
}

Result<GgufType> Parser::type(const std::string& key) {
  PHIQUANT_ASSIGN(const uint32_t id, number<uint32_t>("value type"));
  if (id > static_cast<uint32_t>(GgufType::f64))
    return corrupt(fmt::format("key '{}': unknown value type {}, wanted 0 to 12", key, id));
  return static_cast<GgufType>(id);
}

Result<GgufValue> Parser::scalar(GgufType type, const std::string& key) {
  const auto as = [this]<class T>(T) -> Result<GgufValue> {
    PHIQUANT_ASSIGN(const T x, number<T>("value"));
    return GgufValue(std::in_place_type<T>, x);
  };
  switch (type) {
    case GgufType::u8:
      return as(uint8_t{});
    case GgufType::i8:
      return as(int8_t{});
    case GgufType::u16:
      return as(uint16_t{});
    case GgufType::i16:
      return as(int16_t{});
    case GgufType::u32:
      return as(uint32_t{});
    case GgufType::i32:
      return as(int32_t{});
    case GgufType::u64:
      return as(uint64_t{});
    case GgufType::i64:
      return as(int64_t{});
    case GgufType::f32:
      return as(float{});
    case GgufType::f64:
      return as(double{});
    case GgufType::boolean: {
      PHIQUANT_ASSIGN(const uint8_t b, number<uint8_t>("value"));
      if (b > 1)
        return corrupt(fmt::format("key '{}': boolean of value {}, wanted 0 or 1", key, b));
      return GgufValue(b == 1);
    }
    default: {
      PHIQUANT_ASSIGN(std::string text, string("text", kGgufMaxStringBytes));
      return GgufValue(std::move(text));
    }
  }
}

Result<GgufValue> Parser::array(const std::string& key) {
  GgufArray out;
  PHIQUANT_ASSIGN(out.type, type(key));
  PHIQUANT_ASSIGN(const uint64_t n, number<uint64_t>("array length"));
  if (out.type == GgufType::array)
    return unsupported(fmt::format("key '{}': an array of arrays, which llama.cpp has not", key));
  // Every element takes a byte or more.
  if (n > left())
    return corrupt(
        fmt::format("key '{}': array of {} elements, file has {} bytes left", key, n, left()));
  elements_ += n;
  if (elements_ > kGgufMaxElements)
    return unsupported(
        fmt::format("key '{}': more than {} array elements in all", key, kGgufMaxElements));
  out.values.reserve(static_cast<size_t>(n));
  for (uint64_t i = 0; i < n; ++i) {
    PHIQUANT_ASSIGN(GgufValue element, scalar(out.type, key));
    out.values.push_back(std::move(element));
  }
  return GgufValue(std::move(out));
}

Result<GgufValue> Parser::value(GgufType type, const std::string& key) {
  return type == GgufType::array ? array(key) : scalar(type, key);
}

Result<void> Parser::preamble(GgufHeader& header, uint64_t& n_tensors, uint64_t& n_keys) {
  PHIQUANT_ASSIGN(const uint32_t magic, number<uint32_t>("magic number"));
  if (magic != kGgufMagic)
    return corrupt(fmt::format("begins with 0x{:08x}, wanted \"GGUF\"", magic));
  PHIQUANT_ASSIGN(header.version, number<uint32_t>("version"));
  // A version of this century, its bytes turned round.
  if ((header.version & 0xffff) == 0 && header.version != 0)
    return unsupported(
        "a big-endian GGUF file (make a little-endian one with gguf_convert_endian)");
  if (header.version != 2 && header.version != kGgufVersion)
    return unsupported(fmt::format("GGUF version {}, wanted 2 or {} (convert the model again)",
                                   header.version, kGgufVersion));
  PHIQUANT_ASSIGN(n_tensors, number<uint64_t>("tensor count"));
  PHIQUANT_ASSIGN(n_keys, number<uint64_t>("key count"));
  constexpr uint64_t kLeastTensor = 8 + 4 + 4 + 8, kLeastKey = 8 + 4 + 1;
  if (n_tensors > left() / kLeastTensor)
    return corrupt(fmt::format("{} tensors, file has {} bytes", n_tensors, file_.size()));
  if (n_keys > left() / kLeastKey)
    return corrupt(fmt::format("{} keys, file has {} bytes", n_keys, file_.size()));
  if (n_tensors > kGgufMaxTensors)
    return unsupported(fmt::format("{} tensors, at most {} are read", n_tensors, kGgufMaxTensors));
  if (n_keys > kGgufMaxKeys)
    return unsupported(fmt::format("{} keys, at most {} are read", n_keys, kGgufMaxKeys));
  return {};
}

Result<void> Parser::metadata(GgufHeader& header, uint64_t n_keys) {
  std::unordered_set<std::string> seen;
  for (uint64_t i = 0; i < n_keys; ++i) {
    PHIQUANT_ASSIGN(std::string key, string("key", kGgufMaxKeyBytes));
    if (key.empty()) return corrupt(fmt::format("key {}: has no name", i));
    if (!seen.insert(key).second)
      return corrupt(fmt::format("key '{}' occurs twice", printable(key)));
    const std::string name = printable(key);
    PHIQUANT_ASSIGN(const GgufType t, type(name));
    PHIQUANT_ASSIGN(GgufValue v, value(t, name));
    header.metadata.push_back({std::move(key), std::move(v)});
  }
  return {};
}

Result<void> Parser::alignment(GgufHeader& header) {
  constexpr std::string_view kKey = "general.alignment";
  const GgufValue* value = find_gguf_key(header.metadata, kKey);
  if (!value) return {};
  const auto* n = std::get_if<uint32_t>(value);
  constexpr uint32_t kLargest = 1u << 20;
  if (!n || !std::has_single_bit(*n) || *n > kLargest)
    return corrupt(fmt::format("key '{}': {}, wanted a power of two up to {} as uint32", kKey,
                               n ? std::to_string(*n) : "of another type", kLargest));
  header.alignment = *n;
  return {};
}

Result<void> Parser::tensor_bytes(GgufTensorInfo& t) {
  const GgmlTypeInfo* type = find_ggml_type(t.type_id);
  if (!type)
    return unsupported(fmt::format("tensor '{}': unknown element type {} (of a newer llama.cpp?)",
                                   t.name, t.type_id));
  const auto n = element_count(t.shape);
  if (!n || *n > (uint64_t{1} << 62))
    return corrupt(
        fmt::format("tensor '{}': shape {} is too large", t.name, shape_string(t.shape)));
  const uint64_t row = t.shape.empty() ? 1 : t.shape.back();
  if (row % type->block_size != 0)
    return corrupt(fmt::format("tensor '{}': rows of {} values, wanted a multiple of {} for {}",
                               t.name, row, type->block_size, type->name));
  const auto size = checked_mul(*n / type->block_size, type->block_bytes);
  if (!size)
    return corrupt(
        fmt::format("tensor '{}': shape {} is too large", t.name, shape_string(t.shape)));
  t.size_bytes = *size;
  return {};
}

Result<void> Parser::tensor(GgufHeader& header) {
  GgufTensorInfo t;
  PHIQUANT_ASSIGN(t.name, string("tensor name", kGgufMaxNameBytes));
  // Names go into messages, reports and other formats.
  if (t.name.empty() || printable(t.name) != t.name)
    return corrupt(
        fmt::format("tensor name '{}' at byte {}: wanted printable text", printable(t.name), at_));
  PHIQUANT_ASSIGN(const uint32_t n_dims, number<uint32_t>("dimension count"));
  if (n_dims > kGgufMaxDims)
    return corrupt(
        fmt::format("tensor '{}': {} dimensions, wanted at most {}", t.name, n_dims, kGgufMaxDims));
  for (uint32_t d = 0; d < n_dims; ++d) {
    PHIQUANT_ASSIGN(const uint64_t size, number<uint64_t>("dimension"));
    if (size == 0) return corrupt(fmt::format("tensor '{}': a dimension of 0", t.name));
    t.shape.insert(t.shape.begin(), size);
  }
  PHIQUANT_ASSIGN(t.type_id, number<uint32_t>("element type"));
  PHIQUANT_ASSIGN(t.offset, number<uint64_t>("tensor offset"));
  PHIQUANT_TRY(tensor_bytes(t));
  header.tensors.push_back(std::move(t));
  return {};
}

// Every tensor inside the file, aligned, and apart from the others.
Result<void> Parser::places(GgufHeader& header) {
  const auto begin = checked_round_up(at_, header.alignment);
  header.data_begin = header.tensors.empty() ? std::min<uint64_t>(*begin, file_.size()) : *begin;
  std::unordered_set<std::string_view> names;
  std::vector<const GgufTensorInfo*> by_place;
  for (const GgufTensorInfo& t : header.tensors) {
    if (!names.insert(t.name).second)
      return corrupt(fmt::format("tensor '{}' occurs twice", t.name));
    if (t.offset % header.alignment != 0)
      return corrupt(fmt::format("tensor '{}': offset {}, wanted a multiple of {}", t.name,
                                 t.offset, header.alignment));
    const uint64_t data = file_.size() - std::min<uint64_t>(header.data_begin, file_.size());
    if (!range_inside(t.offset, t.size_bytes, data))
      return corrupt(
          fmt::format("tensor '{}': {} bytes at offset {}, file has {} bytes of tensors "
                      "(incomplete download?)",
                      t.name, t.size_bytes, t.offset, data));
    by_place.push_back(&t);
  }
  std::sort(by_place.begin(), by_place.end(),
            [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < by_place.size(); ++i)
    if (by_place[i]->offset - by_place[i - 1]->offset < by_place[i - 1]->size_bytes)
      return corrupt(
          fmt::format("tensors '{}' and '{}' overlap", by_place[i - 1]->name, by_place[i]->name));
  return {};
}

Result<GgufHeader> Parser::run() {
  GgufHeader header;
  uint64_t n_tensors = 0, n_keys = 0;
  PHIQUANT_TRY(preamble(header, n_tensors, n_keys));
  PHIQUANT_TRY(metadata(header, n_keys));
  PHIQUANT_TRY(alignment(header));
  for (uint64_t i = 0; i < n_tensors; ++i) PHIQUANT_TRY(tensor(header));
  PHIQUANT_TRY(places(header));
  return header;
}

}  // namespace

bool looks_like_gguf(std::span<const std::byte> begin) {
  uint32_t magic = 0;
  if (begin.size() < sizeof(magic)) return false;
  std::memcpy(&magic, begin.data(), sizeof(magic));
  return magic == kGgufMagic;
}

Result<GgufHeader> parse_gguf_header(std::string_view where, std::span<const std::byte> file) {
  return Parser(where, file).run();
}

}  // namespace phiquant
