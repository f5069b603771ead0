// Any bytes as a GGUF file: refused, or tensors that lie apart inside it, that decode, and a header
// that can be written again. Then its metadata as a checkpoint's.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>
#include <string>

#include "core/checked_math.h"
#include "fuzz/require.h"
#include "model/gguf/checkpoint.h"
#include "quant/ggml/gguf_floats.h"
#include "wire/gguf_header.h"

namespace {

using namespace phiquant;

class Bytes final : public ByteSource {
 public:
  explicit Bytes(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t size_bytes() const override { return bytes_.size(); }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    require(range_inside(offset, out.size(), bytes_.size()), "reads stay inside the tensor");
    if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
    return {};
  }

 private:
  std::span<const std::byte> bytes_;
};

void check_places(const GgufHeader& header, std::span<const std::byte> file) {
  std::set<std::string> names;
  std::set<std::pair<uint64_t, uint64_t>> ranges;
  for (const GgufTensorInfo& t : header.tensors) {
    require(names.insert(t.name).second, "names are unique");
    require(t.offset % header.alignment == 0, "tensors are aligned");
    require(header.data_begin <= file.size() &&
                range_inside(t.offset, t.size_bytes, file.size() - header.data_begin),
            "tensors are inside the file");
    ranges.emplace(t.offset, t.offset + t.size_bytes);
  }
  require(ranges.size() == header.tensors.size(), "tensors differ in place");
  uint64_t end = 0;
  for (const auto& [from, to] : ranges) {
    require(from >= end, "tensors do not overlap");
    end = to;
  }
}

// What is written from a header is read as the same header.
void check_round_trip(const GgufHeader& header, std::span<const std::byte> file) {
  std::string written = serialize_gguf_header(header);
  const size_t header_bytes = written.size();
  if (!header.tensors.empty())
    written.append(reinterpret_cast<const char*>(file.data()) + header.data_begin,
                   file.size() - header.data_begin);
  const auto again = parse_gguf_header("again", std::as_bytes(std::span(written)));
  require(again.has_value(), "what is written can be read");
  require(again->data_begin == header_bytes, "data begins behind the written header");
  require(serialize_gguf_header(*again) == written.substr(0, header_bytes),
          "it is written as before");
}

// The last value alone, and all of them, are the same.
void check_decoding(const SourceTensor& t) {
  const uint64_t n = element_count(t.shape).value_or(0);
  constexpr uint64_t kMost = 100'000;
  if (!t.bytes || t.dtype != DType::f32 || n == 0 || n > kMost) return;
  std::vector<float> all(n);
  require(t.bytes->size_bytes() == n * sizeof(float), "decoded size");
  require(t.bytes->read(0, std::as_writable_bytes(std::span(all))).has_value(), "decodes");
  float last = 0;
  require(t.bytes->read((n - 1) * sizeof(float), std::as_writable_bytes(std::span<float>(&last, 1)))
              .has_value(),
          "decodes in part");
  require(std::memcmp(&last, &all.back(), sizeof last) == 0, "parts equal the whole");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  auto header = parse_gguf_header("f", file);
  if (!header) {
    require(!header.error().message.empty(), "errors say something");
    return 0;
  }
  check_places(*header, file);
  check_round_trip(*header, file);
  GgufModel model;
  model.path = "f";
  model.metadata = std::move(header->metadata);
  for (const GgufTensorInfo& info : header->tensors) {
    GgufTensor t{info.name, info.shape, info.type_id, nullptr, {}, 0};
    t.bytes =
        std::make_shared<Bytes>(file.subspan(header->data_begin + info.offset, info.size_bytes));
    t.floats = gguf_floats(t);
    check_decoding(t.floats);
    model.tensors.push_back(std::move(t));
  }
  const auto checkpoint = gguf_checkpoint(model);
  if (!checkpoint) require(!checkpoint.error().message.empty(), "errors say something");
  return 0;
}
