// GGUF headers: what is written is read back, and nothing that is wrong is accepted.
#include "wire/gguf_header.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "wire/gguf_bytes.h"
#include "wire/gguf_types.h"

namespace phiquant {
namespace {

using namespace test;

std::string error_of(const std::string& bytes, Errc code = Errc::corrupt) {
  const auto header = parse_gguf_header("f", bytes_of(bytes));
  if (header) return "accepted";
  EXPECT_EQ(header.error().code, code) << header.error().message;
  return header.error().message;
}

GgufHeader every_kind() {
  GgufHeader h;
  const GgufValue values[] = {uint8_t{200},
                              int8_t{-100},
                              uint16_t{60000},
                              int16_t{-30000},
                              uint32_t{4000000000},
                              int32_t{-2000000000},
                              1.5f,
                              true,
                              std::string("t\xc3\xa9xt"),
                              GgufArray{GgufType::string, {std::string("a"), std::string()}},
                              uint64_t{1} << 60,
                              -(int64_t{1} << 60),
                              0.1};
  for (const GgufValue& v : values) h.metadata.push_back({fmt::format("k{}", v.index()), v});
  h.metadata.push_back({"empty", GgufArray{GgufType::f32, {}}});
  h.tensors = {{"a.weight", {3, 64}, kGgmlQ4_0}, {"b", {5}, kGgmlF32}, {"c", {}, kGgmlF16}};
  return h;
}

TEST(GgufHeader, EveryKindOfValueComesBack) {
  GgufHeader h = every_kind();
  const uint64_t n_data = place_gguf_tensors(h);
  const std::string text = serialize_gguf_header(h);
  const auto back = parse_gguf_header("f", bytes_of(text + std::string(n_data, 'x')));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->data_begin, text.size());
  EXPECT_EQ(serialize_gguf_header(*back), text);
  ASSERT_EQ(back->metadata.size(), h.metadata.size());
  for (size_t i = 0; i < h.metadata.size(); ++i) {
    EXPECT_EQ(back->metadata[i].key, h.metadata[i].key);
    EXPECT_EQ(back->metadata[i].value.index(), h.metadata[i].value.index());
  }
  ASSERT_EQ(back->tensors.size(), 3u);
  EXPECT_EQ(back->tensors[0].shape, (Shape{3, 64}));
  EXPECT_EQ(back->tensors[0].size_bytes, 3u * 2 * 18);
  EXPECT_EQ(back->tensors[1].offset, 128u);  // 108 rounded up
  EXPECT_EQ(back->tensors[2].offset, 160u);
  EXPECT_EQ(n_data, 192u);
}

// The layout itself, against bytes made by hand.
TEST(GgufHeader, BytesAreThoseOfTheFormat) {
  GgufHeader h;
  h.metadata = {{"k", uint32_t{7}}, {"s", std::string("xy")}};
  h.tensors = {{"w", {2, 32}, kGgmlQ8_0}};
  place_gguf_tensors(h);
  const GgufBytes wanted{.keys = {gguf_key("k", 4, raw(7u)), gguf_key("s", 8, gguf_text("xy"))},
                         .tensors = {gguf_tensor("w", {32, 2}, 8, 0)}};
  EXPECT_EQ(serialize_gguf_header(h), wanted.bytes());
}

TEST(GgufHeader, VersionTwoIsRead) {
  EXPECT_TRUE(parse_gguf_header("f", bytes_of(GgufBytes{.version = 2}.bytes())));
}

TEST(GgufHeader, AlignmentIsTheFiles) {
  const GgufBytes file{.keys = {gguf_key("general.alignment", 4, raw(64u))},
                       .tensors = {gguf_tensor("a", {1}, 0, 0), gguf_tensor("b", {1}, 0, 64)},
                       .data = std::string(68, 'x'),
                       .alignment = 64};
  const auto h = parse_gguf_header("f", bytes_of(file.bytes()));
  ASSERT_TRUE(h) << h.error().message;
  EXPECT_EQ(h->data_begin % 64, 0u);
}

TEST(GgufHeader, RefusesOtherVersionsAndByteOrders) {
  EXPECT_EQ(error_of(GgufBytes{.version = 1}.bytes(), Errc::unsupported),
            "f: GGUF version 1, wanted 2 or 3 (convert the model again)");
  EXPECT_EQ(error_of(GgufBytes{.version = 4}.bytes(), Errc::unsupported),
            "f: GGUF version 4, wanted 2 or 3 (convert the model again)");
  EXPECT_THAT(error_of(GgufBytes{.version = 0x03000000}.bytes(), Errc::unsupported),
              testing::StartsWith("f: a big-endian GGUF file"));
  EXPECT_EQ(error_of(GgufBytes{.magic = "GGML"}.bytes()),
            "f: begins with 0x4c4d4747, wanted \"GGUF\"");
}

TEST(GgufHeader, EveryPrefixIsRefused) {
  const GgufBytes file{.keys = {gguf_key("general.name", 8, gguf_text("m")),
                                gguf_key("list", 9, raw(4u) + raw<uint64_t>(1) + raw(5u))},
                       .tensors = {gguf_tensor("w", {32, 2}, 8, 0)},
                       .data = std::string(68, 'x')};
  const std::string whole = file.bytes();
  ASSERT_TRUE(parse_gguf_header("f", bytes_of(whole)));
  for (size_t n = 0; n < whole.size(); ++n)
    EXPECT_NE(error_of(whole.substr(0, n)), "accepted") << n;
}

TEST(GgufHeader, RefusesBadKeys) {
  const auto with = [](std::vector<std::string> keys, uint64_t more = 0) {
    return GgufBytes{.keys = std::move(keys), .data = std::string(64, '\0'), .more_keys = more}
        .bytes();
  };
  const std::string one = gguf_key("k", 4, raw(1u));
  EXPECT_EQ(error_of(with({one, one})), "f: key 'k' occurs twice");
  EXPECT_EQ(error_of(with({gguf_key("", 4, raw(1u))})), "f: key 0: has no name");
  EXPECT_EQ(error_of(with({gguf_key("k", 13, raw(1u))})),
            "f: key 'k': unknown value type 13, wanted 0 to 12");
  EXPECT_EQ(error_of(with({gguf_key("k", 7, raw<uint8_t>(2))})),
            "f: key 'k': boolean of value 2, wanted 0 or 1");
  EXPECT_THAT(error_of(with({one}, uint64_t{1} << 60)), testing::HasSubstr("keys, file has"));
  EXPECT_THAT(error_of(with({gguf_key("k", 8, raw(~uint64_t{0}))})),
              testing::HasSubstr("18446744073709551615 bytes long, file has"));
  EXPECT_THAT(error_of(with({gguf_key("k", 9, raw(0u) + raw(~uint64_t{0} / 2))})),
              testing::HasSubstr("array of 9223372036854775807 elements"));
  EXPECT_EQ(error_of(with({gguf_key("k", 9, raw(9u) + raw<uint64_t>(1))}), Errc::unsupported),
            "f: key 'k': an array of arrays, which llama.cpp has not");
  for (const uint32_t alignment : {0u, 3u, 1u << 21})
    EXPECT_EQ(
        error_of(with({gguf_key("general.alignment", 4, raw(alignment))})),
        fmt::format("f: key 'general.alignment': {}, wanted a power of two up to 1048576 as uint32",
                    alignment));
  EXPECT_EQ(
      error_of(with({gguf_key("general.alignment", 10, raw<uint64_t>(32))})),
      "f: key 'general.alignment': of another type, wanted a power of two up to 1048576 as uint32");
}

TEST(GgufHeader, RefusesBadElements) {
  const auto with = [](uint32_t type, uint64_t n, const std::string& elements) {
    return GgufBytes{.keys = {gguf_key("k", 9, raw(type) + raw(n) + elements)}}.bytes();
  };
  EXPECT_EQ(error_of(with(13, 1, "x")), "f: key 'k': unknown value type 13, wanted 0 to 12");
  EXPECT_EQ(error_of(with(7, 2, std::string("\1\2", 2))),
            "f: key 'k': boolean of value 2, wanted 0 or 1");
  EXPECT_EQ(error_of(with(8, 2, gguf_text("a") + raw(uint64_t{1} << 40))),
            "f: text at byte 66: 1099511627776 bytes long, file has 30 left");
  // Bytes for as many elements, but not of that size.
  EXPECT_EQ(error_of(with(10, 3, raw<uint64_t>(1))),
            "f: value ends at byte 65, file has 64 (incomplete download?)");
}

TEST(GgufHeader, RefusesCountsBeyondItsCaps) {
  const auto with = [](uint64_t n_tensors, uint64_t n_keys, size_t n_bytes) {
    return "GGUF" + raw(3u) + raw(n_tensors) + raw(n_keys) + std::string(n_bytes, '\0');
  };
  EXPECT_EQ(error_of(with(0, kGgufMaxKeys + 1, 13 * (kGgufMaxKeys + 1)), Errc::unsupported),
            "f: 65537 keys, at most 65536 are read");
  EXPECT_EQ(error_of(with(kGgufMaxTensors + 1, 0, 24 * (kGgufMaxTensors + 1)), Errc::unsupported),
            "f: 1000001 tensors, at most 1000000 are read");
  EXPECT_EQ(error_of(with(~uint64_t{0}, 0, 24)),
            "f: 18446744073709551615 tensors, file has 48 bytes");
  EXPECT_EQ(error_of(with(0, ~uint64_t{0}, 24)), "f: 18446744073709551615 keys, file has 48 bytes");
  EXPECT_EQ(
      error_of(
          GgufBytes{.keys = {gguf_key(std::string(kGgufMaxKeyBytes + 1, 'k'), 4, raw(1u))}}.bytes(),
          Errc::unsupported),
      "f: key at byte 32: 65536 bytes long, at most 65535 are read");
}

TEST(GgufHeader, RefusesMoreElementsThanAnyModelHas) {
  std::string file = GgufBytes{.more_keys = 1}.bytes().substr(0, 24);
  file += gguf_key("k", 9, raw(0u) + raw<uint64_t>(kGgufMaxElements + 1));
  file += std::string(kGgufMaxElements + 1, 'x');
  EXPECT_EQ(error_of(file, Errc::unsupported),
            "f: key 'k': more than 8000000 array elements in all");
}

TEST(GgufHeader, RefusesBadTensors) {
  const auto with = [](std::vector<std::string> tensors, uint64_t more = 0) {
    return GgufBytes{
        .tensors = std::move(tensors), .data = std::string(64, 'x'), .more_tensors = more}
        .bytes();
  };
  const std::string good = gguf_tensor("w", {4}, 0, 0);
  EXPECT_EQ(error_of(with({good, good})), "f: tensor 'w' occurs twice");
  EXPECT_EQ(error_of(with({gguf_tensor("w", {16}, 0, 0), gguf_tensor("v", {8}, 0, 32)})),
            "f: tensors 'w' and 'v' overlap");
  EXPECT_EQ(error_of(with({gguf_tensor("w", {4}, 0, 8)})),
            "f: tensor 'w': offset 8, wanted a multiple of 32");
  EXPECT_THAT(error_of(with({gguf_tensor("w", {17}, 0, 0)})),
              testing::HasSubstr("68 bytes at offset 0, file has 64 bytes of tensors"));
  EXPECT_THAT(error_of(with({gguf_tensor("w", {4}, 0, ~uint64_t{31})})),
              testing::HasSubstr("16 bytes at offset 18446744073709551584"));
  EXPECT_EQ(error_of(with({gguf_tensor("w", {4, 0}, 0, 0)})), "f: tensor 'w': a dimension of 0");
  EXPECT_EQ(error_of(with({gguf_tensor("w", {1, 1, 1, 1, 1}, 0, 0)})),
            "f: tensor 'w': 5 dimensions, wanted at most 4");
  EXPECT_THAT(error_of(with({gguf_tensor("w", {uint64_t{1} << 40, uint64_t{1} << 40}, 0, 0)})),
              testing::HasSubstr("is too large"));
  // So many values are a number, their bytes are none.
  EXPECT_EQ(error_of(with({gguf_tensor("w", {uint64_t{1} << 62}, 0, 0)})),
            "f: tensor 'w': shape [4611686018427387904] is too large");
  EXPECT_EQ(error_of(with({gguf_tensor("", {4}, 0, 0)})),
            "f: tensor name '' at byte 32: wanted printable text");
  EXPECT_EQ(error_of(with({gguf_tensor("w", {16}, 0, 0), gguf_tensor("v", {4}, 0, 0)})),
            "f: tensors 'w' and 'v' overlap");
  EXPECT_EQ(error_of(with({gguf_tensor("w", {33}, 8, 0)})),
            "f: tensor 'w': rows of 33 values, wanted a multiple of 32 for q8_0");
  EXPECT_THAT(error_of(with({gguf_tensor("w", {4}, 4, 0)}), Errc::unsupported),
              testing::StartsWith("f: tensor 'w': unknown element type 4"));
  EXPECT_THAT(error_of(with({gguf_tensor(std::string(64, 'n'), {4}, 0, 0)}), Errc::unsupported),
              testing::HasSubstr("64 bytes long, at most 63"));
  EXPECT_THAT(error_of(with({gguf_tensor("a\nb", {4}, 0, 0)})),
              testing::HasSubstr("wanted printable text"));
  EXPECT_THAT(error_of(with({good}, uint64_t{1} << 58)), testing::HasSubstr("tensors, file has"));
}

TEST(GgufKeys, SettingAKeyPutsItLast) {
  std::vector<GgufKeyValue> keys = {{"a", uint32_t{1}}, {"b", uint32_t{2}}};
  set_gguf_key(keys, "a", uint32_t{3});
  EXPECT_EQ(keys[0].key, "b");
  EXPECT_EQ(gguf_unsigned(keys, "a"), 3u);
}

TEST(GgufKeys, NumbersOfAnyWidth) {
  const std::vector<GgufKeyValue> keys = {
      {"u", uint16_t{5}}, {"n", int32_t{-1}}, {"f", 0.5f}, {"s", std::string("x")}};
  EXPECT_EQ(gguf_unsigned(keys, "u"), 5u);
  EXPECT_EQ(gguf_unsigned(keys, "n"), std::nullopt);
  EXPECT_EQ(gguf_unsigned(keys, "f"), std::nullopt);
  EXPECT_EQ(gguf_unsigned(keys, "missing"), std::nullopt);
  EXPECT_EQ(gguf_number(keys, "f"), 0.5);
  EXPECT_EQ(gguf_number(keys, "u"), 5.0);
  EXPECT_EQ(gguf_number(keys, "s"), std::nullopt);
  EXPECT_EQ(*gguf_string(keys, "s"), "x");
  EXPECT_EQ(gguf_string(keys, "u"), nullptr);
}

}  // namespace
}  // namespace phiquant
