// Any bytes: strip_payloads refuses them or gives a model whose payloads lie inside them, and
// splicing gives back what protobuf itself reads from them.
#include <limits>
#include <span>
#include <string>

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "fuzz/require.h"
#include "model/onnx/sniff.h"
#include "wire/onnx_payload.h"

namespace phiquant {
namespace {

std::string serialize(const google::protobuf::MessageLite& message) {
  std::string out;
  google::protobuf::io::StringOutputStream stream(&out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  require(message.SerializeToCodedStream(&coded), "serializes");
  coded.Trim();
  return out;
}

std::string read_all(const ByteSource& source) {
  std::string out(source.size_bytes(), '\0');
  require(source.read(0, std::as_writable_bytes(std::span(out))).has_value(), "memory can be read");
  return out;
}

// Elements of large tensors as raw_data, the way splicing writes them; `stripped` has the same
// tensors in order.
void make_canonical(onnx::ModelProto& model, const OnnxModel& stripped) {
  std::vector<const onnx::TensorProto*> markers;
  for_each_tensor(stripped.proto, [&](const onnx::TensorProto& t) { markers.push_back(&t); });
  size_t i = 0;
  for_each_tensor(model, [&](onnx::TensorProto& t) {
    require(i < markers.size(), "no tensor is lost");
    const auto index = payload_index(*markers[i++]);
    if (!index) return;
    std::string bytes = read_all(*stripped.payloads.at(*index).source.bytes);
    if (t.has_raw_data() && !t.raw_data().empty())
      require(t.raw_data() == bytes, "raw_data is the payload");
    set_payload_index(t, 0);
    t.clear_external_data();
    t.clear_data_location();
    t.set_raw_data(std::move(bytes));
  });
  require(i == markers.size(), "no tensor is added");
}

void check(StrippedModel& stripped, std::span<const std::byte> bytes) {
  OnnxModel& model = stripped.model;
  for (const ExternalRef& ref : stripped.external) {
    Payload& p = model.payloads.at(ref.payload);
    require(p.source.bytes == nullptr, "external payloads have no bytes yet");
    if (*tensor_bytes(p.source.dtype, p.source.shape) > bytes.size())
      return;  // too large to stand in for here
    p.source.bytes = memory_source(std::string(*tensor_bytes(p.source.dtype, p.source.shape), 'e'));
  }
  std::vector<PayloadPlace> places;
  uint64_t total = 0;
  for (const Payload& p : model.payloads) {
    require(p.source.bytes &&
                tensor_bytes(p.source.dtype, p.source.shape) == p.source.bytes->size_bytes(),
            "payloads have the bytes of their shape");
    places.push_back({p.source.bytes->size_bytes(), true, "", 0});
    total += places.back().size_bytes;
  }
  if (total > (uint64_t{64} << 20)) return;
  const auto spliced = splice_payloads(model.proto, places);
  require(spliced.has_value(), "what was stripped can be spliced");
  std::string out(spliced->size_bytes, '\0');
  for (const Literal& l : spliced->literals) out.replace(l.offset, l.bytes.size(), l.bytes);
  for (const Hole& h : spliced->holes)
    out.replace(h.offset, h.size_bytes, read_all(*model.payloads[h.payload].source.bytes));
  require(out.size() == spliced->size_bytes, "literals and holes stay inside the file");
  onnx::ModelProto theirs, ours;
  require(theirs.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())),
          "protobuf reads what was accepted");
  require(ours.ParseFromString(out), "protobuf reads what was spliced");
  make_canonical(theirs, model);
  require(serialize(theirs) == serialize(ours), "splicing gives back the model");
}

}  // namespace
}  // namespace phiquant

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  (void)phiquant::not_onnx_because(bytes.first(std::min<size_t>(size, 256)));
  auto stripped = phiquant::strip_payloads(nullptr, bytes);
  if (stripped) phiquant::check(*stripped, bytes);
  return 0;
}
