// A model with markers -> serialized bytes with holes where the elements go.
#include <limits>
#include <utility>

#include <fmt/core.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "core/text.h"
#include "wire/onnx_fields.h"
#include "wire/onnx_payload.h"
#include "wire/onnx_tensor.h"
#include "wire/protobuf_wire.h"

namespace phiquant {
namespace {

bool serialize(const google::protobuf::MessageLite& message, std::string& out) {
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  return message.SerializeToCodedStream(&coded);
}

// The serialized tensor that replaces one with a marker; its hole, if any, lies between `before`
// and `after`.
struct SplicedTensor {
  std::string before, after;
  std::optional<uint32_t> payload;
  uint64_t hole_bytes = 0;
  uint64_t size_bytes() const { return before.size() + hole_bytes + after.size(); }
};

// Two passes over the serialized model with markers: the first finds every message's new length,
// children before parents; the second writes.
class Splicer {
 public:
  explicit Splicer(const std::vector<PayloadPlace>& places) : places_(places) {}
  Result<SplicedModel> run(const onnx::ModelProto& proto);

 private:
  Result<uint64_t> measure(OnnxKind kind, Bytes bytes);
  Result<uint64_t> measure_tensor(Bytes bytes);
  Result<SplicedTensor> splice(onnx::TensorProto tensor, uint32_t index) const;
  void write(OnnxKind kind, Bytes bytes);
  void write_tensor(const SplicedTensor& tensor);
  void close_literal();

  const std::vector<PayloadPlace>& places_;
  // Of messages that can hold a tensor and of tensors, parents before children.
  std::vector<uint64_t> lengths_;
  // One for each tensor; empty where it has no marker.
  std::vector<std::optional<SplicedTensor>> tensors_;
  size_t next_length_ = 0, next_tensor_ = 0;
  std::string literal_;
  uint64_t offset_ = 0;  // where literal_ begins
  SplicedModel out_;
};

bool is_walked(const OnnxField* field, const WireField& f) {
  return field && f.type == Wire::length &&
         (field->child == OnnxKind::tensor || can_hold_tensor(field->child));
}

Result<uint64_t> Splicer::measure(OnnxKind kind, Bytes bytes) {
  uint64_t total = 0;
  WireReader reader(bytes);
  WireField f;
  while (reader.next(f)) {
    const OnnxField* field = find_onnx_field(kind, f.number);
    if (!is_walked(field, f)) {
      total += f.whole.size();
      continue;
    }
    const size_t slot = lengths_.size();
    lengths_.push_back(0);
    if (field->child == OnnxKind::tensor) {
      PHIQUANT_ASSIGN(lengths_[slot], measure_tensor(f.content));
    } else {
      PHIQUANT_ASSIGN(lengths_[slot], measure(field->child, f.content));
    }
    total += varint_size(wire_tag(f.number, Wire::length)) + varint_size(lengths_[slot]) +
             lengths_[slot];
  }
  return total;
}

Result<uint64_t> Splicer::measure_tensor(Bytes bytes) {
  tensors_.emplace_back();
  onnx::TensorProto tensor;
  // Only a marker needs a second look; its key is far from every other content that is as short.
  if (!tensor.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Error{Errc::corrupt, "a tensor's header cannot be parsed again"};
  const auto index = payload_index(tensor);
  if (!index) return uint64_t{bytes.size()};
  PHIQUANT_ASSIGN(SplicedTensor spliced, splice(std::move(tensor), *index));
  const uint64_t size = spliced.size_bytes();
  tensors_.back() = std::move(spliced);
  return size;
}

Result<SplicedTensor> Splicer::splice(onnx::TensorProto tensor, uint32_t index) const {
  const auto fail = [&](const std::string& what) {
    return Error{Errc::corrupt, fmt::format("tensor '{}': {}", printable(tensor.name()), what)};
  };
  if (index >= places_.size()) return fail(fmt::format("payload {} has no place", index));
  const PayloadPlace& place = places_[index];
  Shape shape;
  for (const int64_t dim : tensor.dims()) shape.push_back(static_cast<uint64_t>(dim));
  const auto wanted = tensor_bytes(dtype_from_onnx(tensor.data_type()), shape);
  if (!wanted || *wanted != place.size_bytes)
    return fail(fmt::format("payload {} has {} bytes, the tensor wants {}", index, place.size_bytes,
                            wanted.value_or(0)));
  tensor.clear_external_data();
  tensor.clear_data_location();
  SplicedTensor out;
  if (!place.is_inline) {
    const auto add = [&](const char* key, const std::string& value) {
      auto* entry = tensor.add_external_data();
      entry->set_key(key);
      entry->set_value(value);
    };
    add("location", place.location);
    add("offset", std::to_string(place.offset));
    add("length", std::to_string(place.size_bytes));
    tensor.set_data_location(onnx::TensorProto::EXTERNAL);
    if (!serialize(tensor, out.before)) return fail("protobuf cannot serialize it");
    return out;
  }
  std::string header;
  if (!serialize(tensor, header)) return fail("protobuf cannot serialize it");
  // raw_data goes where protobuf itself would write it: fields in the order of their numbers.
  const Bytes bytes(reinterpret_cast<const std::byte*>(header.data()), header.size());
  size_t split = 0;
  WireReader reader(bytes);
  WireField f;
  while (reader.next(f) && f.number < TensorField::kRaw) split += f.whole.size();
  out.before = header.substr(0, split);
  append_varint(out.before, wire_tag(TensorField::kRaw, Wire::length));
  append_varint(out.before, place.size_bytes);
  out.after = header.substr(split);
  out.payload = index;
  out.hole_bytes = place.size_bytes;
  return out;
}

void Splicer::write(OnnxKind kind, Bytes bytes) {
  WireReader reader(bytes);
  WireField f;
  while (reader.next(f)) {
    const OnnxField* field = find_onnx_field(kind, f.number);
    if (!is_walked(field, f)) {
      append_bytes(literal_, f.whole);
      continue;
    }
    append_varint(literal_, wire_tag(f.number, Wire::length));
    append_varint(literal_, lengths_[next_length_++]);
    if (field->child != OnnxKind::tensor) {
      write(field->child, f.content);
    } else if (const auto& tensor = tensors_[next_tensor_++]) {
      write_tensor(*tensor);
    } else {
      append_bytes(literal_, f.content);
    }
  }
}

void Splicer::write_tensor(const SplicedTensor& tensor) {
  literal_ += tensor.before;
  if (tensor.payload) {
    close_literal();
    out_.holes.push_back({*tensor.payload, offset_, tensor.hole_bytes});
    offset_ += tensor.hole_bytes;
  }
  literal_ += tensor.after;
}

void Splicer::close_literal() {
  if (literal_.empty()) return;
  const uint64_t n = literal_.size();
  out_.literals.push_back({offset_, std::exchange(literal_, {})});
  offset_ += n;
}

Result<SplicedModel> Splicer::run(const onnx::ModelProto& proto) {
  std::string marked;
  if (!serialize(proto, marked))
    return Error{Errc::unsupported, "protobuf cannot serialize the model's structure"};
  const Bytes bytes(reinterpret_cast<const std::byte*>(marked.data()), marked.size());
  PHIQUANT_ASSIGN(out_.size_bytes, measure(OnnxKind::model, bytes));
  constexpr uint64_t kLimit = std::numeric_limits<int32_t>::max();
  if (out_.size_bytes > kLimit)
    return Error{
        Errc::unsupported,
        fmt::format(
            "the model with its weights takes {} bytes, a single file holds at most {} (protobuf's "
            "limit of 2 GiB; use external data)",
            out_.size_bytes, kLimit)};
  write(OnnxKind::model, bytes);
  close_literal();
  return std::move(out_);
}

}  // namespace

Result<SplicedModel> splice_payloads(const onnx::ModelProto& proto,
                                     const std::vector<PayloadPlace>& places) {
  return Splicer(places).run(proto);
}

}  // namespace phiquant
