#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/core.h>

#include "core/checked_math.h"
#include "core/text.h"
#include "model/checkpoint/json_reader.h"
#include "model/checkpoint/not_weights.h"
#include "wire/safetensors.h"

namespace phiquant {
namespace {

std::string known_dtypes() {
  std::string names;
  for (const SafetensorsDType& row : kSafetensorsDTypes)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", row.name);
  return names;
}

// {"<name>": {"dtype": "F32", "shape": [..], "data_offsets": [b, e]}, "__metadata__": {"..": ".."}}
class HeaderHandler final : public JsonHandler {
 public:
  explicit HeaderHandler(std::string_view where)
      : JsonHandler(where, {.max_depth = 3, .max_values = kSafetensorsMaxTensors * 12}) {}
  std::vector<SafetensorsEntry> entries;  // begin and end as in the header

 protected:
  bool on_key(std::string& name) override {
    if (depth() == 1) {
      in_metadata_ = name == kSafetensorsMetadataKey;
      if (in_metadata_ && std::exchange(had_metadata_, true))
        return fail(Errc::corrupt, "header: '__metadata__' occurs twice");
      name_ = std::move(name);
      return true;
    }
    if (in_metadata_) return true;
    field_ = name == "dtype"          ? Field::dtype
             : name == "shape"        ? Field::shape
             : name == "data_offsets" ? Field::offsets
                                      : Field::none;
    if (field_ == Field::none) return bad(fmt::format("unknown field '{}'", printable(name)));
    bool& seen = seen_[static_cast<size_t>(field_)];
    if (seen) return bad(fmt::format("field '{}' occurs twice", printable(name)));
    return seen = true;
  }
  bool on_open(bool is_object) override;
  bool on_close(bool is_object) override;
  bool on_scalar(nlohmann::json value) override;

 private:
  enum class Field : uint8_t { dtype, shape, offsets, none };

  bool bad(const std::string& what, Errc code = Errc::corrupt) {
    return fail(code, fmt::format("tensor '{}': {}", printable(name_), what));
  }

  std::string name_;
  bool in_metadata_ = false, had_metadata_ = false;
  Field field_ = Field::none;
  bool seen_[3] = {};
  std::vector<uint64_t> offsets_;
};

bool HeaderHandler::on_open(bool is_object) {
  if (depth() == 1) return is_object || fail(Errc::corrupt, "header is not a JSON object");
  if (depth() == 2) {
    if (!is_object)
      return bad("header entry is a list, wanted an object with dtype, shape and data_offsets");
    if (in_metadata_) return true;
    if (entries.size() == kSafetensorsMaxTensors)
      return fail(Errc::unsupported, fmt::format("more than {} tensors", kSafetensorsMaxTensors));
    entries.emplace_back().name = name_;
    std::fill(std::begin(seen_), std::end(seen_), false);
    offsets_.clear();
    field_ = Field::none;
    return true;
  }
  if (in_metadata_) return fail(Errc::corrupt, "header: '__metadata__' holds more than texts");
  if (is_object || field_ == Field::dtype) return bad("header entry has a value of a wrong kind");
  return true;
}

bool HeaderHandler::on_close(bool is_object) {
  if (depth() != 2 || !is_object || in_metadata_) return true;
  constexpr const char* kNames[] = {"dtype", "shape", "data_offsets"};
  for (size_t i = 0; i < 3; ++i)
    if (!seen_[i]) return bad(fmt::format("header entry has no '{}'", kNames[i]));
  if (offsets_.size() != 2)
    return bad(fmt::format("data_offsets has {} numbers, wanted 2", offsets_.size()));
  entries.back().begin = offsets_[0];
  entries.back().end = offsets_[1];
  return true;
}

bool HeaderHandler::on_scalar(nlohmann::json value) {
  if (depth() < 2)
    return depth() == 1 ? bad("header entry is not an object")
                        : fail(Errc::corrupt, "header is not a JSON object");
  if (in_metadata_)
    return value.is_string() || fail(Errc::corrupt, "header: '__metadata__' holds more than texts");
  if (depth() == 2) {
    if (field_ != Field::dtype || !value.is_string())
      return bad("header entry has a value of a wrong kind");
    const std::string& text = value.get_ref<const std::string&>();
    entries.back().dtype = dtype_from_safetensors(text);
    return entries.back().dtype != DType::undefined ||
           bad(fmt::format("unknown dtype '{}' (known: {})", printable(text), known_dtypes()),
               Errc::unsupported);
  }
  if (!value.is_number_unsigned())
    return bad(fmt::format(
        "{} holds {}, wanted whole numbers from 0",
        field_ == Field::shape ? "shape" : "data_offsets",
        printable(value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace))));
  auto& list = field_ == Field::shape ? entries.back().shape : offsets_;
  if (list.size() == kSafetensorsMaxDims)
    return bad(fmt::format("more than {} dimensions", kSafetensorsMaxDims), Errc::unsupported);
  list.push_back(value.get<uint64_t>());
  return true;
}

Error tensor_error(std::string_view where, const SafetensorsEntry& e, const std::string& what) {
  return {Errc::corrupt, fmt::format("{}: tensor '{}': {}", where, printable(e.name), what)};
}

Result<void> check_unique(std::string_view where, const std::vector<SafetensorsEntry>& entries) {
  std::vector<const SafetensorsEntry*> by_name;
  by_name.reserve(entries.size());
  for (const SafetensorsEntry& e : entries) by_name.push_back(&e);
  std::sort(by_name.begin(), by_name.end(), [](auto* a, auto* b) { return a->name < b->name; });
  const auto twice = std::adjacent_find(by_name.begin(), by_name.end(),
                                        [](auto* a, auto* b) { return a->name == b->name; });
  if (twice != by_name.end()) return tensor_error(where, **twice, "occurs twice in the header");
  return {};
}

}  // namespace

Result<std::vector<SafetensorsEntry>> parse_safetensors_header(std::string_view where,
                                                               std::string_view json,
                                                               uint64_t data_begin,
                                                               uint64_t file_bytes) {
  HeaderHandler handler(where);
  PHIQUANT_TRY(handler.run(json));
  auto& entries = handler.entries;
  PHIQUANT_TRY(check_unique(where, entries));
  for (const SafetensorsEntry& e : entries) {
    if (e.end < e.begin)
      return tensor_error(where, e,
                          fmt::format("data_offsets [{}, {}] run backwards", e.begin, e.end));
    const auto wanted = tensor_bytes(e.dtype, e.shape);
    if (!wanted || *wanted != e.end - e.begin)
      return tensor_error(where, e,
                          fmt::format("data_offsets hold {} bytes, {} of shape {} wants {}",
                                      e.end - e.begin, dtype_name(e.dtype), shape_string(e.shape),
                                      wanted ? std::to_string(*wanted) : "more than 2^63"));
  }
  std::stable_sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  const uint64_t data_bytes = file_bytes - data_begin;
  uint64_t at = 0;
  for (SafetensorsEntry& e : entries) {
    if (e.begin < at)
      return tensor_error(
          where, e,
          fmt::format(
              "data begins at byte {} of the data, inside the tensor before it, which ends at {}",
              e.begin, at));
    if (e.begin > at)
      return tensor_error(
          where, e,
          fmt::format(
              "data begins at byte {} of the data, wanted {}: no tensor owns the bytes between",
              e.begin, at));
    if (e.end > data_bytes)
      return tensor_error(
          where, e,
          fmt::format("data ends at byte {} of the file, which has {} (incomplete download?)",
                      e.end > UINT64_MAX - data_begin ? e.end : e.end + data_begin, file_bytes));
    at = e.end;
    e.begin += data_begin;
    e.end += data_begin;
  }
  if (at != data_bytes)
    return Error{Errc::corrupt, fmt::format("{}: {} bytes behind the last tensor belong to none",
                                            where, data_bytes - at)};
  return std::move(entries);
}

Result<std::vector<SafetensorsEntry>> read_safetensors_header(const InputFile& file) {
  const std::string where = file.path().string();
  const uint64_t size = file.size_bytes();
  std::string head(std::min<uint64_t>(size, 256), '\0');
  PHIQUANT_TRY(file.read(0, std::as_writable_bytes(std::span(head))));
  if (const auto because = not_weights_because(head))
    return Error{Errc::corrupt, fmt::format("{}: {}", where, *because)};
  if (size < kSafetensorsPrefixBytes)
    return Error{
        Errc::corrupt,
        fmt::format("{}: file has {} bytes, too few for safetensors (incomplete download?)", where,
                    size)};
  uint64_t n = 0;
  for (size_t i = 0; i < kSafetensorsPrefixBytes; ++i)
    n |= uint64_t{static_cast<uint8_t>(head[i])} << (8 * i);
  if (n > kSafetensorsMaxHeaderBytes)
    return Error{
        Errc::corrupt,
        fmt::format("{}: header of {} bytes, the format allows {} (not a safetensors file?)", where,
                    n, kSafetensorsMaxHeaderBytes)};
  if (n > size - kSafetensorsPrefixBytes)
    return Error{
        Errc::corrupt,
        fmt::format("{}: header of {} bytes, file has {} (incomplete download?)", where, n, size)};
  std::string json(n, '\0');
  PHIQUANT_TRY(file.read(kSafetensorsPrefixBytes, std::as_writable_bytes(std::span(json))));
  return parse_safetensors_header(where, json, kSafetensorsPrefixBytes + n, size);
}

}  // namespace phiquant
