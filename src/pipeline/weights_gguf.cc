// A GGUF model as weights.
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "core/sources.h"
#include "core/text.h"
#include "model/gguf/names.h"
#include "pipeline/weights.h"
#include "wire/gguf_header.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

// Floats of a type that cannot be decoded: they can be listed, not read.
class UnreadableSource final : public ByteSource {
 public:
  UnreadableSource(std::string what, uint64_t size_bytes)
      : what_(std::move(what)), size_bytes_(size_bytes) {}
  uint64_t size_bytes() const override { return size_bytes_; }
  Result<void> read(uint64_t, std::span<std::byte>) const override {
    return Error{Errc::unsupported, what_};
  }

 private:
  std::string what_;
  uint64_t size_bytes_;
};

std::string value_text(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, GgufArray>) {
          return fmt::format("{} {}", v.values.size(),
                             v.type == GgufType::string ? "texts" : "numbers");
        } else if constexpr (std::is_same_v<T, std::string>) {
          return printable(v);
        } else {
          return fmt::format("{}", v);
        }
      },
      value);
}

SourceTensor floats_of(const GgufTensor& t) {
  if (t.floats.bytes) return t.floats;
  const std::string_view type = find_ggml_type(t.type_id)->name;
  auto bytes = std::make_shared<UnreadableSource>(
      fmt::format("tensor '{}': type {} cannot be decoded here", t.name, type),
      tensor_bytes(DType::f32, t.shape).value_or(0));
  return {t.name, DType::f32, t.shape, std::move(bytes)};
}

void add_tensor(const GgufTensor& t, const std::string& file, bool gated, ModelWeights& out) {
  auto key = gguf_weight_key(t.name, gated);
  if (t.name == kGgufRopeLong || t.name == kGgufRopeShort) key = WeightKey{Role::ignored};
  const bool is_stack = key && key->expert == 0 && t.shape.size() == 3;
  const uint64_t n = is_stack ? t.shape[0] : 1;
  for (uint64_t i = 0; i < n; ++i) {
    SourceTensor floats = floats_of(t);
    if (is_stack) {
      floats = slice_rows(floats, i, 1);
      floats.shape.erase(floats.shape.begin());
      floats.name = fmt::format("{}[{}]", t.name, i);
      key->expert = static_cast<int32_t>(i);
    }
    NamedWeight weight = dense_weight(std::move(floats), key);
    weight.size_bytes = t.bytes->size_bytes() / n;
    const GgmlTypeInfo& type = *find_ggml_type(t.type_id);
    weight.description = type.dtype == DType::undefined ? type.name : dtype_name(type.dtype);
    weight.location = file;
    out.weights.push_back(std::move(weight));
  }
}

}  // namespace

Result<ModelWeights> weights_of(const GgufModel& model) {
  ModelWeights out;
  out.properties.emplace_back("GGUF version", std::to_string(model.version));
  for (const GgufKeyValue& kv : model.metadata)
    out.properties.emplace_back(printable(kv.key), value_text(kv.value));
  const std::string* architecture = gguf_string(model.metadata, "general.architecture");
  const bool gated = architecture && *architecture == "phi3";
  out.tied_embeddings = true;
  for (const GgufTensor& t : model.tensors) {
    add_tensor(t, model.files[t.file].filename().string(), gated, out);
    if (t.name == "output.weight") out.tied_embeddings = false;
  }
  out.files = model.files;
  out.size_bytes = model.input_bytes;
  return out;
}

}  // namespace phiquant
