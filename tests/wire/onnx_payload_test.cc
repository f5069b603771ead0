// strip_payloads and splice_payloads undo each other; nothing but the elements of large tensors is
// taken out.
#include "wire/onnx_payload.h"

#include <array>
#include <bit>
#include <limits>
#include <random>

#include <gtest/gtest.h>

#include "core/half.h"
#include "wire/onnx_models.h"
#include "wire/protobuf_wire.h"

namespace phiquant {
namespace {

using namespace test;
using T = onnx::TensorProto;

StrippedModel strip(const std::string& bytes) {
  auto out = strip_payloads(nullptr, as_bytes(bytes));
  EXPECT_TRUE(out.has_value()) << out.error().message;
  return std::move(out).value();
}

std::string round_trip(const std::string& bytes) {
  const StrippedModel s = strip(bytes);
  const auto spliced = splice_payloads(s.model.proto, all_inline(s.model.payloads));
  EXPECT_TRUE(spliced.has_value()) << spliced.error().message;
  return fill(*spliced, s.model.payloads);
}

TEST(OnnxDType, EveryKnownValueMapsBack) {
  for (int32_t v = 1; v <= 26; ++v) {
    ASSERT_NE(dtype_from_onnx(v), DType::undefined) << v;
    EXPECT_EQ(onnx_from_dtype(dtype_from_onnx(v)), v);
  }
  for (const int32_t v : {-1, 0, 27, 28, 1000})
    EXPECT_EQ(dtype_from_onnx(v), DType::undefined) << v;
  EXPECT_EQ(onnx_from_dtype(DType::undefined), T::UNDEFINED);
}

TEST(OnnxPayload, RichModelComesBackByteForByte) {
  const std::string bytes = serialize(rich_model());
  EXPECT_EQ(round_trip(bytes), bytes);
}

TEST(OnnxPayload, LargeTensorsBecomeMarkersSmallOnesStay) {
  const StrippedModel s = strip(serialize(rich_model()));
  std::vector<std::string> stripped;
  size_t n_tensors = 0;
  for_each_tensor(s.model.proto, [&](const T& t) {
    ++n_tensors;
    const auto index = payload_index(t);
    if (!index) return;
    EXPECT_FALSE(t.has_raw_data());
    stripped.push_back(t.name());
    EXPECT_GE(s.model.payloads.at(*index).source.bytes->size_bytes(), kStripBytes);
  });
  EXPECT_EQ(n_tensors, 16u);
  EXPECT_EQ(stripped,
            (std::vector<std::string>{"w", "half", "nibbles", "sparse", "sparse_at", "", "inner",
                                      "t0", "in_sparse", "in_graphs", "default", "", "training"}));
  EXPECT_EQ(s.model.payloads.size(), stripped.size());
  EXPECT_LT(s.model.proto.ByteSizeLong(), 6000u);
  // Without a name of its own a tensor is called by its place.
  bool found = false;
  for (const Payload& p : s.model.payloads)
    found |= p.source.name == "graph.node[0].attribute[0].t";
  EXPECT_TRUE(found);
}

TEST(OnnxPayload, ThresholdIsExact) {
  for (const int64_t n : {1023, 1024}) {
    onnx::ModelProto m = empty_model();
    set_raw(*m.mutable_graph()->add_initializer(), "b", T::UINT8, {n});
    EXPECT_EQ(strip(serialize(m)).model.payloads.size(), n < 1024 ? 0u : 1u) << n;
  }
}

// A random model: tensors of random dtypes, sizes and storage in random places.
onnx::GraphProto random_graph(std::mt19937& rng, int depth) {
  const auto pick = [&](int n) { return static_cast<int>(rng() % static_cast<unsigned>(n)); };
  onnx::GraphProto g;
  const auto tensor = [&](T& t) {
    const int32_t types[] = {T::FLOAT, T::FLOAT16, T::BFLOAT16, T::INT8,     T::INT4,
                             T::INT64, T::DOUBLE,  T::UINT2,    T::COMPLEX64};
    set_raw(t, pick(3) ? "n" + std::to_string(pick(1000)) : "", types[pick(9)],
            {1 + pick(40), 1 + pick(40)}, static_cast<unsigned>(rng()));
  };
  for (int i = pick(4); i > 0; --i) tensor(*g.add_initializer());
  for (int i = pick(3); i > 0; --i) {
    auto* n = add_node(g, "Op", {"a"}, {"b" + std::to_string(i)});
    for (int j = pick(3); j > 0; --j) {
      auto* a = add_attribute(*n, "a" + std::to_string(j), onnx::AttributeProto::TENSOR);
      if (pick(2)) tensor(*a->mutable_t());
      if (pick(3) == 0) tensor(*a->add_tensors());
      if (pick(3) == 0) tensor(*a->mutable_sparse_tensor()->mutable_values());
      if (depth < 4 && pick(2)) *a->mutable_g() = random_graph(rng, depth + 1);
      if (depth < 4 && pick(3) == 0) *a->add_graphs() = random_graph(rng, depth + 1);
      for (int k = pick(5); k > 0; --k) a->add_ints(pick(100000));
      a->set_doc_string(std::string(static_cast<size_t>(pick(300)), 'd'));
    }
    if (pick(2)) n->mutable_unknown_fields()->append("\xc2\x3e\x02hi");
  }
  return g;
}

TEST(OnnxPayload, RandomModelsComeBackByteForByte) {
  std::mt19937 rng(7);
  for (int i = 0; i < 300; ++i) {
    onnx::ModelProto m = empty_model();
    *m.mutable_graph() = random_graph(rng, 0);
    const std::string bytes = serialize(m);
    ASSERT_EQ(round_trip(bytes), bytes) << "model " << i;
  }
}

// A tensor whose elements come in `set`, against the same elements as raw bytes.
void expect_raw(const T& tensor, const std::string& raw) {
  onnx::ModelProto m = empty_model();
  *m.mutable_graph()->add_initializer() = tensor;
  const StrippedModel s = strip(serialize(m));
  ASSERT_EQ(s.model.payloads.size(), 1u);
  EXPECT_EQ(read_all(*s.model.payloads[0].source.bytes), raw);
}

template <class V>
std::string raw_of(const std::vector<V>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(V));
}

TEST(OnnxPayload, TypedFieldsAreLittleEndianElements) {
  std::vector<float> f;
  std::vector<double> d;
  std::vector<int64_t> i64;
  std::vector<uint64_t> u64;
  std::vector<uint32_t> u32;
  std::vector<int32_t> i32;
  std::vector<uint16_t> f16;
  std::vector<int8_t> i8;
  T tf, td, ti64, tu64, tu32, ti32, tf16, ti8;
  set_header(tf, "f", T::FLOAT, {2048});
  set_header(td, "d", T::DOUBLE, {2048});
  set_header(ti64, "i64", T::INT64, {2048});
  set_header(tu64, "u64", T::UINT64, {2048});
  set_header(tu32, "u32", T::UINT32, {2048});
  set_header(ti32, "i32", T::INT32, {2048});
  set_header(tf16, "f16", T::FLOAT16, {2048});
  set_header(ti8, "i8", T::INT8, {2048});
  for (int i = 0; i < 2048; ++i) {
    tf.add_float_data(f.emplace_back(static_cast<float>(i) * 0.37f - 300));
    td.add_double_data(d.emplace_back(i * 0.37 - 300));
    ti64.add_int64_data(i64.emplace_back((i % 2 ? 1 : -1) * (int64_t{1} << (i % 63))));
    tu64.add_uint64_data(u64.emplace_back(~uint64_t{0} >> (i % 64)));
    tu32.add_uint64_data(u32.emplace_back(~uint32_t{0} >> (i % 32)));
    ti32.add_int32_data(i32.emplace_back((i % 2 ? 1 : -1) * (1 << (i % 31))));
    tf16.add_int32_data(f16.emplace_back(static_cast<uint16_t>(i * 31)));
    ti8.add_int32_data(i8.emplace_back(static_cast<int8_t>(i)));
  }
  expect_raw(tf, raw_of(f));
  expect_raw(td, raw_of(d));
  expect_raw(ti64, raw_of(i64));
  expect_raw(tu64, raw_of(u64));
  expect_raw(tu32, raw_of(u32));
  expect_raw(ti32, raw_of(i32));
  expect_raw(tf16, raw_of(f16));
  expect_raw(ti8, raw_of(i8));
}

TEST(OnnxPayload, SubByteAndComplexTypedFields) {
  T nibbles, complex;
  std::string raw;
  set_header(nibbles, "n", T::INT4, {4095});  // two values a number, the last half empty
  for (int i = 0; i < 2048; ++i) {
    nibbles.add_int32_data(i & 0xff);
    raw.push_back(static_cast<char>(i & 0xff));
  }
  expect_raw(nibbles, raw);
  std::vector<float> parts;
  set_header(complex, "c", T::COMPLEX64, {200});
  for (int i = 0; i < 400; ++i) complex.add_float_data(parts.emplace_back(static_cast<float>(i)));
  expect_raw(complex, raw_of(parts));
}

// ---- Forms of the wire format that writers seldom use ----

std::string field(uint32_t number, const std::string& content) {
  std::string out;
  append_varint(out, wire_tag(number, Wire::length));
  append_varint(out, content.size());
  return out + content;
}

std::string head_of(const onnx::ModelProto& m) {
  onnx::ModelProto head = m;
  head.clear_graph();
  return serialize(head);
}

TEST(OnnxPayload, UnpackedAndSplitTypedFields) {
  T header;
  set_header(header, "f", T::FLOAT, {512});
  std::string body = serialize(header);
  std::vector<float> values;
  for (int i = 0; i < 512; ++i) values.push_back(static_cast<float>(i));
  const std::string raw = raw_of(values);
  std::string unpacked = body, split = body;
  for (size_t i = 0; i < raw.size(); i += 4)
    unpacked += "\x25" + raw.substr(i, 4);  // field 4, fixed32
  split += field(4, raw.substr(0, 800)) + field(4, "") + "\x25" + raw.substr(800, 4) +
           field(4, raw.substr(804));
  for (const std::string& form : {unpacked, split}) {
    const StrippedModel s = strip(head_of(empty_model()) + field(7, field(5, form)));
    ASSERT_EQ(s.model.payloads.size(), 1u);
    EXPECT_EQ(read_all(*s.model.payloads[0].source.bytes), raw);
  }
}

TEST(OnnxPayload, LastRawDataWinsAndMessagesMerge) {
  T first, second;
  set_raw(first, "w", T::UINT8, {2000}, 1);
  second.set_raw_data(pattern(2000, 2));
  // One tensor that holds raw_data twice.
  const std::string twice = serialize(first) + serialize(second);
  // A singular tensor that occurs twice: the header in one, the elements in the other.
  T header;
  set_header(header, "w", T::UINT8, {2000});
  onnx::AttributeProto attribute;
  attribute.set_name("value");
  const std::string merged =
      serialize(attribute) + field(5, serialize(header)) + field(5, serialize(second));
  const std::string forms[] = {field(5, twice), field(1, field(5, merged))};
  for (const std::string& graph : forms) {
    const std::string bytes = head_of(empty_model()) + field(7, graph);
    const StrippedModel s = strip(bytes);
    ASSERT_EQ(s.model.payloads.size(), 1u);
    EXPECT_EQ(s.model.payloads[0].source.name, "w");
    EXPECT_EQ(read_all(*s.model.payloads[0].source.bytes), pattern(2000, 2));
    onnx::ModelProto theirs, ours;
    ASSERT_TRUE(theirs.ParseFromString(bytes));
    ASSERT_TRUE(ours.ParseFromString(round_trip(bytes)));
    EXPECT_EQ(serialize(ours), serialize(theirs));
  }
}

TEST(OnnxPayload, SplitGraphIsOneGraph) {
  onnx::ModelProto a = rich_model(), b = empty_model();
  set_raw(*b.mutable_graph()->add_initializer(), "second", T::FLOAT, {300}, 77);
  const std::string bytes = serialize(a) + field(7, serialize(b.graph()));
  onnx::ModelProto theirs;
  ASSERT_TRUE(theirs.ParseFromString(bytes));
  EXPECT_EQ(round_trip(bytes), serialize(theirs));
}

TEST(OnnxPayload, UnknownGroupsAndWireTypesSurvive) {
  // Field 2000 as a group that holds a group, and raw_data as a number: unknown fields both.
  const std::string group = "\x83\x7d\x0b\x08\x01\x0c\x84\x7d";
  T t;
  set_raw(t, "w", T::UINT8, {2000}, 3);
  const std::string bytes =
      head_of(empty_model()) + group + field(7, field(5, serialize(t) + "\x48\x05" + group));
  onnx::ModelProto theirs;
  ASSERT_TRUE(theirs.ParseFromString(bytes));
  EXPECT_EQ(round_trip(bytes), serialize(theirs));
}

// ---- Splicing ----

TEST(OnnxSplice, ExternalPlaces) {
  const StrippedModel s = strip(serialize(rich_model()));
  std::vector<PayloadPlace> places = all_inline(s.model.payloads);
  uint64_t offset = 0;
  for (size_t i = 0; i < places.size(); i += 2) {
    places[i].is_inline = false;
    places[i].location = "model.onnx.data";
    places[i].offset = offset += 4096;
  }
  const auto spliced = splice_payloads(s.model.proto, places);
  ASSERT_TRUE(spliced.has_value()) << spliced.error().message;
  EXPECT_EQ(spliced->holes.size(), places.size() / 2);
  onnx::ModelProto out;
  ASSERT_TRUE(out.ParseFromString(fill(*spliced, s.model.payloads)));
  std::vector<const T*> want;
  const onnx::ModelProto rich = rich_model();
  for_each_tensor(rich, [&](const T& t) { want.push_back(&t); });
  size_t i = 0, n_external = 0;
  for_each_tensor(out, [&](const T& t) {
    const T& w = *want.at(i++);
    EXPECT_EQ(t.name(), w.name());
    if (t.data_location() != T::EXTERNAL) {
      EXPECT_EQ(serialize(t), serialize(w));
      return;
    }
    ++n_external;
    EXPECT_FALSE(t.has_raw_data());
    ASSERT_EQ(t.external_data_size(), 3);
    EXPECT_EQ(t.external_data(0).key(), "location");
    EXPECT_EQ(t.external_data(0).value(), "model.onnx.data");
    EXPECT_EQ(t.external_data(1).key(), "offset");
    EXPECT_EQ(t.external_data(2).key(), "length");
    EXPECT_EQ(t.external_data(2).value(), std::to_string(w.raw_data().size()));
  });
  EXPECT_EQ(n_external, (places.size() + 1) / 2);
}

TEST(OnnxSplice, LiteralsAndHolesTileTheFile) {
  const StrippedModel s = strip(serialize(rich_model()));
  const auto spliced = splice_payloads(s.model.proto, all_inline(s.model.payloads));
  ASSERT_TRUE(spliced.has_value());
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const Literal& l : spliced->literals) ranges.emplace_back(l.offset, l.bytes.size());
  for (const Hole& h : spliced->holes) ranges.emplace_back(h.offset, h.size_bytes);
  std::sort(ranges.begin(), ranges.end());
  uint64_t at = 0;
  for (const auto& [offset, size] : ranges) {
    EXPECT_EQ(offset, at);
    at += size;
  }
  EXPECT_EQ(at, spliced->size_bytes);
}

TEST(OnnxSplice, SharedPayloadGivesOneHoleAnOccurrence) {
  onnx::ModelProto m = empty_model();
  for (const char* name : {"a", "b"}) {
    T* t = m.mutable_graph()->add_initializer();
    set_header(*t, name, T::UINT8, {4096});
    set_payload_index(*t, 0);
  }
  const auto spliced = splice_payloads(m, {{4096, true, "", 0}});
  ASSERT_TRUE(spliced.has_value());
  ASSERT_EQ(spliced->holes.size(), 2u);
  EXPECT_EQ(spliced->holes[0].payload, 0u);
  EXPECT_EQ(spliced->holes[1].payload, 0u);
}

TEST(OnnxSplice, TwoGibibytesAreTheLimit) {
  // Header bytes of this model: found by splicing it small.
  const auto size_for = [](int64_t n) {
    onnx::ModelProto m = empty_model();
    T* t = m.mutable_graph()->add_initializer();
    set_header(*t, "w", T::UINT8, {n});
    set_payload_index(*t, 0);
    return splice_payloads(m, {{static_cast<uint64_t>(n), true, "", 0}});
  };
  const int64_t n = 2147483000;
  const auto fits = size_for(n);
  ASSERT_TRUE(fits.has_value());
  const int64_t room = std::numeric_limits<int32_t>::max() - static_cast<int64_t>(fits->size_bytes);
  const auto exact = size_for(n + room);
  ASSERT_TRUE(exact.has_value());
  EXPECT_EQ(exact->size_bytes, 2147483647u);
  const auto over = size_for(n + room + 1);
  ASSERT_FALSE(over.has_value());
  EXPECT_EQ(over.error().code, Errc::unsupported);
  EXPECT_EQ(over.error().message,
            "the model with its weights takes 2147483648 bytes, a single file holds at most "
            "2147483647 (protobuf's limit of 2 GiB; use external data)");
}

TEST(OnnxSplice, PlacesMustFit) {
  onnx::ModelProto m = empty_model();
  T* t = m.mutable_graph()->add_initializer();
  set_header(*t, "w", T::UINT8, {4096});
  set_payload_index(*t, 0);
  const auto none = splice_payloads(m, {});
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().message, "tensor 'w': payload 0 has no place");
  const auto wrong = splice_payloads(m, {{4095, true, "", 0}});
  ASSERT_FALSE(wrong.has_value());
  EXPECT_EQ(wrong.error().message, "tensor 'w': payload 0 has 4095 bytes, the tensor wants 4096");
}

}  // namespace
}  // namespace phiquant
