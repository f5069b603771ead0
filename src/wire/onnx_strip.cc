// Serialized ModelProto -> the same without the elements of its large tensors.
#include <array>
#include <utility>

#include <fmt/core.h>

#include "wire/onnx_payload.h"
#include "wire/onnx_strip_context.h"
#include "wire/onnx_tensor.h"

namespace phiquant {
namespace {

// What protobuf allocates for a message, its pointer and its share of a growing array, at most.
constexpr uint64_t kMessageCost = 512;
static_assert(sizeof(onnx::NodeProto) <= 384 && sizeof(onnx::AttributeProto) <= 384 &&
              sizeof(onnx::TensorProto) <= 384 && sizeof(onnx::FunctionProto) <= 384 &&
              sizeof(onnx::GraphProto) <= 384 && sizeof(onnx::ModelProto) <= 384);
constexpr uint64_t kStringCost = 64;
constexpr uint64_t kNumberCost = 16;

// Walks down to every tensor and writes a reduced copy of the model.
class Stripper {
 public:
  Stripper(std::shared_ptr<const InputFile> file, Bytes bytes, std::string name)
      : file_(std::move(file)), bytes_(bytes), context_(std::move(name), bytes) {}

  Result<StrippedModel> run();

 private:
  // `parts`: the occurrences of one message, which protobuf merges. Appends the reduced message to
  // reduced_.
  Result<void> message(OnnxKind kind, const std::vector<Bytes>& parts);
  Result<void> child(const OnnxField& field, uint32_t index, const std::vector<Bytes>& parts);
  Result<void> tensor(const std::vector<Bytes>& parts);
  // A message that can hold no tensor: counted, not copied.
  Result<void> measure(OnnxKind kind, Bytes bytes);
  Result<void> charge(const OnnxField* field, const WireField& f);
  void add_payload(CheckedTensor tensor, std::string name);

  std::shared_ptr<const InputFile> file_;
  Bytes bytes_;
  StripContext context_;
  std::string reduced_;
  StrippedModel out_;
};

Result<void> Stripper::charge(const OnnxField* field, const WireField& f) {
  uint64_t cost = kNumberCost;
  if (f.type == Wire::length || f.type == Wire::group) {
    const bool integers = field && field->child == OnnxKind::integers;
    cost = field && !integers ? kMessageCost : kStringCost + f.whole.size() * (integers ? 8 : 1);
  }
  if (!context_.charge_structure(cost)) return context_.structure_too_big(f.whole.data());
  return {};
}

Result<void> Stripper::measure(OnnxKind kind, Bytes bytes) {
  std::array<uint32_t, kMaxOnnxFields> counts{};
  const auto fields = onnx_fields(kind);
  WireReader reader(bytes);
  WireField f;
  while (reader.next(f)) {
    const OnnxField* field = find_onnx_field(kind, f.number);
    PHIQUANT_TRY(charge(field, f));
    if (!field || f.type != Wire::length || field->child == OnnxKind::integers) continue;
    context_.enter(*field, counts[static_cast<size_t>(field - fields.data())]++);
    if (context_.nesting() > kMaxNesting)
      return context_.error(Errc::unsupported, f.whole.data(),
                            fmt::format("messages are nested deeper than {}", kMaxNesting));
    PHIQUANT_TRY(measure(field->child, f.content));
    context_.leave();
  }
  if (reader.failed()) return context_.error(Errc::corrupt, reader.where(), reader.problem());
  return {};
}

Result<void> Stripper::message(OnnxKind kind, const std::vector<Bytes>& parts) {
  std::array<uint32_t, kMaxOnnxFields> counts{};
  std::array<std::vector<Bytes>, kMaxOnnxFields> singular;
  const auto fields = onnx_fields(kind);
  for (const Bytes part : parts) {
    WireReader reader(part);
    WireField f;
    while (reader.next(f)) {
      const OnnxField* field = find_onnx_field(kind, f.number);
      PHIQUANT_TRY(charge(field, f));
      if (!field || f.type != Wire::length || field->child == OnnxKind::integers) {
        append_bytes(reduced_, f.whole);
        continue;
      }
      const auto slot = static_cast<size_t>(field - fields.data());
      if (field->child != OnnxKind::tensor && !can_hold_tensor(field->child)) {
        context_.enter(*field, counts[slot]++);
        PHIQUANT_TRY(measure(field->child, f.content));
        context_.leave();
        append_bytes(reduced_, f.whole);
      } else if (field->repeated) {
        PHIQUANT_TRY(child(*field, counts[slot]++, {f.content}));
      } else {
        singular[slot].push_back(f.content);
      }
    }
    if (reader.failed()) return context_.error(Errc::corrupt, reader.where(), reader.problem());
  }
  for (size_t slot = 0; slot < fields.size(); ++slot)
    if (!singular[slot].empty()) PHIQUANT_TRY(child(fields[slot], 0, singular[slot]));
  return {};
}

Result<void> Stripper::child(const OnnxField& field, uint32_t index,
                             const std::vector<Bytes>& parts) {
  context_.enter(field, index);
  if (context_.nesting() > kMaxNesting)
    return context_.error(Errc::unsupported, parts.front().data(),
                          fmt::format("messages are nested deeper than {}", kMaxNesting));
  append_varint(reduced_, wire_tag(field.number, Wire::length));
  // The length is known afterwards; a varint padded to five bytes leaves room for it and is legal.
  const size_t length_at = reduced_.size();
  reduced_.append(5, '\0');
  if (field.child == OnnxKind::tensor) {
    PHIQUANT_TRY(tensor(parts));
  } else {
    PHIQUANT_TRY(message(field.child, parts));
  }
  const uint64_t length = reduced_.size() - length_at - 5;
  for (unsigned i = 0; i < 5; ++i)
    reduced_[length_at + i] = static_cast<char>(((length >> (7 * i)) & 0x7f) | (i < 4 ? 0x80 : 0));
  context_.leave();
  return {};
}

Result<void> Stripper::tensor(const std::vector<Bytes>& parts) {
  PHIQUANT_ASSIGN(TensorParts split, split_tensor(parts, context_));
  PHIQUANT_ASSIGN(CheckedTensor checked, check_tensor(split, context_));
  const bool strip =
      checked.dtype != DType::string && (checked.is_external || checked.size_bytes >= kStripBytes);
  if (!strip) {
    for (const Bytes part : parts) append_bytes(reduced_, part);
    return {};
  }
  const auto index = static_cast<uint32_t>(out_.model.payloads.size());
  if (checked.is_external) {
    PHIQUANT_ASSIGN(ExternalPlace place, external_place(split, context_));
    out_.external.push_back({index, std::move(place.location), place.offset, place.length});
  }
  add_payload(std::move(checked),
              split.header.name().empty() ? context_.path() : split.header.name());
  set_payload_index(split.header, index);
  split.header.AppendPartialToString(&reduced_);
  return {};
}

void Stripper::add_payload(CheckedTensor tensor, std::string name) {
  Payload p;
  p.source.name = std::move(name);
  p.source.dtype = tensor.dtype;
  p.source.shape = std::move(tensor.shape);
  if (tensor.decoded) {
    p.source.bytes = memory_source(std::move(*tensor.decoded));
  } else if (!tensor.is_external && file_) {
    p.source.bytes = file_range(file_, static_cast<uint64_t>(tensor.stored.data() - bytes_.data()),
                                tensor.size_bytes);
    p.file = 0;
  } else if (!tensor.is_external) {
    p.source.bytes = memory_source(
        std::string(reinterpret_cast<const char*>(tensor.stored.data()), tensor.stored.size()));
  }
  out_.model.payloads.push_back(std::move(p));
}

Result<StrippedModel> Stripper::run() {
  PHIQUANT_TRY(message(OnnxKind::model, {bytes_}));
  if (!out_.model.proto.ParseFromString(reduced_))
    return context_.error(Errc::corrupt, bytes_.data(),
                          "protobuf cannot parse the model's structure");
  return std::move(out_);
}

}  // namespace

Result<StrippedModel> strip_payloads(std::shared_ptr<const InputFile> file,
                                     std::span<const std::byte> bytes) {
  Stripper stripper(file, bytes, file ? file->path().string() : "<memory>");
  PHIQUANT_ASSIGN(StrippedModel out, stripper.run());
  if (file) {
    out.model.path = file->path();
    out.model.files = {file->path()};
    out.model.input_bytes = file->size_bytes();
  } else {
    out.model.input_bytes = bytes.size();
  }
  return out;
}

}  // namespace phiquant
