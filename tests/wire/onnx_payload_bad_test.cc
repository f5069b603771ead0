// Damaged and hostile models: each gives one error with its exact words, none a crash.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/onnx_models.h"
#include "wire/onnx_payload.h"
#include "wire/onnx_strip_context.h"
#include "wire/protobuf_wire.h"

namespace phiquant {
namespace {

using namespace test;
using T = onnx::TensorProto;

Error error_of(const std::string& bytes) {
  auto out = strip_payloads(nullptr, as_bytes(bytes));
  if (out) return {Errc::io, "accepted"};
  return std::move(out).error();
}

std::string field(uint32_t number, const std::string& content) {
  std::string out;
  append_varint(out, wire_tag(number, Wire::length));
  append_varint(out, content.size());
  return out + content;
}

// A model of nothing but one initializer: its first byte is byte 4 where everything is short.
std::string only(const T& tensor) { return field(7, field(5, serialize(tensor))); }

T tensor(int32_t data_type, const std::vector<int64_t>& dims) {
  T t;
  set_header(t, "w", data_type, dims);
  return t;
}

struct Case {
  const char* name;
  std::string bytes;
  Errc code;
  std::string message;
};

void expect_all(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const Error e = error_of(c.bytes);
    EXPECT_EQ(e.message, c.message) << c.name;
    EXPECT_EQ(e.code, c.code) << c.name;
  }
}

TEST(OnnxBad, TensorElementsAndHeaderDisagree) {
  std::vector<Case> cases;
  const auto add = [&](const char* name, const T& t, Errc code, const std::string& what) {
    cases.push_back({name, only(t), code, "<memory>: graph.initializer[0] 'w': " + what});
  };
  T t = tensor(T::FLOAT, {2, 3});
  t.set_raw_data("12345678");
  add("short raw", t, Errc::corrupt,
      "raw_data has 8 bytes, float32 of shape [2, 3] wants 24 (byte 4)");
  t = tensor(T::FLOAT, {});
  t.set_raw_data("12345");
  add("long raw", t, Errc::corrupt, "raw_data has 5 bytes, float32 of shape [] wants 4 (byte 4)");
  t = tensor(T::INT4, {3});
  t.set_raw_data("1");
  add("sub-byte", t, Errc::corrupt, "raw_data has 1 bytes, int4 of shape [3] wants 2 (byte 4)");
  add("nothing", tensor(T::FLOAT, {2}), Errc::corrupt,
      "there is no data, float32 of shape [2] wants 8 bytes (byte 4)");
  t = tensor(T::FLOAT, {3});
  t.add_float_data(1);
  add("few floats", t, Errc::corrupt,
      "float_data has 4 bytes, float32 of shape [3] wants 12 (byte 8)");
  t = tensor(T::INT64, {3});
  for (int i = 0; i < 4; ++i) t.add_int64_data(i);
  add("many ints", t, Errc::corrupt,
      "int64_data has more values than the 3 of int64 of shape [3] (byte 8)");
  t = tensor(T::INT64, {3});
  for (int i = 0; i < 2; ++i) t.add_int64_data(int64_t{1} << 40);
  add("few ints", t, Errc::corrupt,
      "int64_data has fewer values than the 3 of int64 of shape [3] (byte 8)");
  t = tensor(T::INT64, {1 << 30});
  t.add_int64_data(1);
  add("claims 8 GiB", t, Errc::corrupt,
      "int64_data has fewer values than the 1073741824 of int64 of shape [1073741824] (byte 12)");
  t = tensor(T::FLOAT, {1});
  t.add_int32_data(1);
  add("wrong field", t, Errc::corrupt,
      "float32 elements are stored in int32_data, wanted float_data (byte 8)");
  t.clear_int32_data();
  t.add_float_data(1);
  t.set_raw_data("1234");
  add("twice", t, Errc::corrupt, "the elements are stored twice, in different fields (byte 4)");
  t = tensor(T::STRING, {2});
  t.add_string_data("a");
  add("few strings", t, Errc::corrupt,
      "1 strings are stored, string of shape [2] wants 2 (byte 4)");
  t = tensor(T::FLOAT, {1});
  t.add_string_data("a");
  add("strings in float", t, Errc::corrupt, "float32 elements are stored as strings (byte 4)");
  expect_all(cases);
}

TEST(OnnxBad, TensorHeaders) {
  std::vector<Case> cases;
  const auto add = [&](const char* name, const T& t, Errc code, const std::string& what) {
    cases.push_back({name, only(t), code, "<memory>: graph.initializer[0] 'w': " + what});
  };
  T t = tensor(T::FLOAT, {1});
  t.clear_data_type();
  add("no dtype", t, Errc::corrupt, "data_type is missing (byte 4)");
  t.set_data_type(77);
  add("unknown dtype", t, Errc::unsupported, "data_type 77 is unknown (byte 4)");
  add("negative", tensor(T::FLOAT, {4, -1}), Errc::corrupt, "dimension -1 is negative (byte 4)");
  add("overflow", tensor(T::FLOAT, {int64_t{1} << 32, int64_t{1} << 32}), Errc::corrupt,
      "the size of float32 of shape [4294967296, 4294967296] overflows 63 bits (byte 4)");
  add("overflow in bytes", tensor(T::DOUBLE, {int64_t{1} << 61}), Errc::corrupt,
      "the size of float64 of shape [2305843009213693952] overflows 63 bits (byte 4)");
  t = tensor(T::FLOAT, {1});
  t.mutable_segment()->set_begin(0);
  add("segment", t, Errc::unsupported, "the tensor is stored in segments (save it whole) (byte 4)");
  t = tensor(T::UINT8, {2000});
  set_payload_index(t, 0);
  add("our marker", t, Errc::corrupt,
      "external_data has the reserved key 'phiquant.payload' (byte 4)");
  t.set_data_location(T::DEFAULT);
  add("our marker, not external", t, Errc::corrupt,
      "external_data has the reserved key 'phiquant.payload' (byte 4)");
  expect_all(cases);
}

TEST(OnnxBad, ExternalEntries) {
  using Entries = std::vector<std::pair<std::string, std::string>>;
  std::vector<Case> cases;
  const auto add = [&](const char* name, const Entries& entries, const std::string& what) {
    T t;
    set_external(t, "w", T::FLOAT, {4}, entries);
    cases.push_back({name, only(t), Errc::corrupt,
                     "<memory>: graph.initializer[0] 'w': " + what + " (byte 4)"});
  };
  const auto number = [](const char* key, const char* text) {
    return std::string("external ") + key + " is '" + text + "', wanted a number from 0 to 2^63-1";
  };
  add("no location", {{"offset", "0"}}, "external location is missing");
  add("negative offset", {{"location", "d"}, {"offset", "-4"}}, number("offset", "-4"));
  add("negative length", {{"location", "d"}, {"length", "-1"}}, number("length", "-1"));
  add("2^63", {{"location", "d"}, {"offset", "9223372036854775808"}},
      number("offset", "9223372036854775808"));
  add("beyond 64 bits", {{"location", "d"}, {"length", "99999999999999999999"}},
      number("length", "99999999999999999999"));
  add("empty", {{"location", "d"}, {"offset", ""}}, number("offset", ""));
  add("hexadecimal", {{"location", "d"}, {"offset", "0x10"}}, number("offset", "0x10"));
  add("space", {{"location", "d"}, {"offset", " 1"}}, number("offset", " 1"));
  add("twice", {{"location", "d"}, {"offset", "1"}, {"offset", "2"}},
      "external offset is given twice");
  T t;
  set_external(t, "w", T::FLOAT, {1}, {{"location", "d"}});
  t.set_raw_data("1234");
  cases.push_back({"both", only(t), Errc::corrupt,
                   "<memory>: graph.initializer[0] 'w': the tensor is external and has data of its "
                   "own (byte 4)"});
  set_external(t = T(), "w", T::STRING, {1}, {{"location", "d"}});
  cases.push_back({"strings", only(t), Errc::unsupported,
                   "<memory>: graph.initializer[0] 'w': strings in external data (byte 4)"});
  expect_all(cases);
}

TEST(OnnxBad, WireFormat) {
  const std::string graph = "<memory>: graph: ", model = "<memory>: model: ";
  const std::string deep_open(200, '\x0b');  // group 1, 200 times
  expect_all({
      {"length past the end", "\x3a\x7f", Errc::corrupt,
       model + "field 7 has 127 bytes, 0 are left (incomplete download?) (byte 0)"},
      {"inner length",
       field(7,
             "\x2a\x04"
             "abc"),
       Errc::corrupt, graph + "field 5 has 4 bytes, 3 are left (incomplete download?) (byte 2)"},
      {"tag cut", "\x08\x0a\x80", Errc::corrupt,
       model + "a field's tag is cut off (incomplete download?) (byte 2)"},
      {"number cut", "\x08\x80", Errc::corrupt,
       model + "field 1: the number is cut off (incomplete download?) (byte 0)"},
      {"fixed cut", "\x7d\x01\x02\x03", Errc::corrupt,
       model + "field 15 has 4 bytes, 3 are left (incomplete download?) (byte 0)"},
      {"field 0", std::string("\x02\x00", 2), Errc::corrupt, model + "2 is no field tag (byte 0)"},
      {"wire type 7", "\x0f", Errc::corrupt,
       model + "field 1 has the unknown wire type 7 (byte 0)"},
      {"group end", "\x0c", Errc::corrupt,
       model + "field 1 ends a group that never began (byte 0)"},
      {"group without end", "\x0b\x08\x01", Errc::corrupt,
       model + "group 1 has no end (incomplete download?) (byte 0)"},
      {"wrong group end", "\x0b\x14", Errc::corrupt,
       model + "group 1 is ended as group 2 (byte 0)"},
      {"deep groups", deep_open, Errc::corrupt,
       model + "groups are nested deeper than 99 (byte 0)"},
      {"length of 6 bytes", std::string("\x3a\x80\x80\x80\x80\x80\x00", 7), Errc::corrupt,
       model + "field 7 has 0 bytes, more than protobuf's limit of 2 GiB (byte 0)"},
      {"3 GiB", "\x3a\x80\x80\x80\x80\x0c", Errc::corrupt,
       model + "field 7 has 3221225472 bytes, more than protobuf's limit of 2 GiB (byte 0)"},
      {"in a type", field(7, field(11, field(2, "\x0a\x09"))), Errc::corrupt,
       "<memory>: graph.input[0].type: field 1 has 9 bytes, 0 are left (incomplete download?) "
       "(byte 6)"},
      {"second node", field(7, field(1, "") + field(1, "\x2a\x01")), Errc::corrupt,
       "<memory>: graph.node[1]: field 5 has 1 bytes, 0 are left (incomplete download?) (byte 6)"},
  });
}

TEST(OnnxBad, NestingIsBounded) {
  // graph.node.attribute.g.node..., two below and above the limit.
  const auto nested = [](int levels) {
    std::string body = field(2, "g");
    for (int i = 0; i < levels; ++i) body = field(1, field(5, field(6, body)));
    return field(7, body);
  };
  EXPECT_EQ(error_of(nested(32)).message, "accepted");  // 97 messages inside the model
  const std::string bytes = nested(33);                 // 100; the innermost is a graph of 3 bytes
  const Error e = error_of(bytes);
  EXPECT_EQ(e.code, Errc::unsupported);
  EXPECT_EQ(e.message,
            "<memory>: graph.node[0].attribute[0].g.node[0].attribute[0] ... "
            "node[0].attribute[0].g.node[0]."
            "attribute[0].g: messages are nested deeper than 99 (byte " +
                std::to_string(bytes.size() - 3) + ")");
  // The same through types, which hold no tensors.
  std::string type = field(1, "");
  for (int i = 0; i < 60; ++i) type = field(4, field(1, type));
  EXPECT_EQ(error_of(field(7, field(11, field(2, type)))).code, Errc::unsupported);
}

TEST(OnnxBad, StructureBombs) {
  // Two bytes a node, more than 500 bytes of memory.
  std::string nodes;
  for (int i = 0; i < (3 << 20); ++i) nodes += std::string("\x0a\x00", 2);
  const Error e = error_of(field(7, nodes));
  EXPECT_EQ(e.code, Errc::unsupported);
  EXPECT_EQ(
      e.message,
      "<memory>: graph: the model's structure without weights needs more than 1024 MiB of memory "
      "(byte 4194307)");
}

TEST(OnnxBad, DecodedTypedDataIsBounded) {
  // 70 M int64 of one byte each: 560 MB in memory.
  T t = tensor(T::INT64, {70'000'000});
  const std::string bytes =
      field(7, field(5, serialize(t) + field(7, std::string(70'000'000, '\x01'))));
  const Error e = error_of(bytes);
  EXPECT_EQ(e.code, Errc::unsupported);
  EXPECT_THAT(e.message, testing::HasSubstr("graph.initializer[0] 'w': more than 512 MiB are "
                                            "stored as lists of numbers (save with raw_data)"));
}

TEST(OnnxBad, TruncationAtEveryByteIsCorruptOrShorter) {
  onnx::ModelProto rich = rich_model();
  const std::string bytes = serialize(rich);
  size_t n_accepted = 0;
  for (size_t n = 0; n < bytes.size(); ++n) {
    const Error e = error_of(bytes.substr(0, n));
    if (e.message == "accepted") {
      // Cut between two fields of the model: protobuf reads the rest as a model, too.
      onnx::ModelProto shorter;
      ASSERT_TRUE(shorter.ParseFromString(bytes.substr(0, n))) << n;
      ++n_accepted;
    } else {
      ASSERT_EQ(e.code, Errc::corrupt) << n << ": " << e.message;
    }
  }
  EXPECT_EQ(n_accepted, 10u);  // before each of the ten fields of rich_model()
}

TEST(OnnxBad, NamesAreMadePrintable) {
  T t = tensor(T::FLOAT, {1});
  t.set_name("a\x1b[31m\n\xff" + std::string(300, 'n'));
  const Error e = error_of(only(t));
  EXPECT_THAT(e.message,
              testing::HasSubstr("'a\\x1b[31m\\x0a\\xff" + std::string(192, 'n') + "...'"));
}

}  // namespace
}  // namespace phiquant
