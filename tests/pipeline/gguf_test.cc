// GGUF in and out: a plan's file is read back; parts, checkpoints, codes that are kept.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/half.h"
#include "core/input_file.h"
#include "core/sources.h"
#include "format/gguf/layout.h"
#include "model/gguf/checkpoint.h"
#include "model/gguf/open.h"
#include "pipeline/keep_codes.h"
#include "quant/ggml/gguf_floats.h"
#include "wire/gguf_bytes.h"
#include "wire/gguf_header.h"

namespace phiquant {
namespace {

using namespace test;
namespace fs = std::filesystem;

class GgufFolder : public testing::Test {
 protected:
  GgufFolder() {
    std::string name = (fs::temp_directory_path() / "phiquant_gguf_XXXXXX").string();
    dir = fs::canonical(::mkdtemp(name.data()));
  }
  ~GgufFolder() override { fs::remove_all(dir); }

  fs::path write(const std::string& name, const std::string& bytes) const {
    std::ofstream(dir / name, std::ios::binary) << bytes;
    return dir / name;
  }
  std::string error_of(const fs::path& path, Errc code) const {
    const auto model = open_gguf(path, gguf_floats);
    if (!model) {
      EXPECT_EQ(model.error().code, code);
      return replaced(model.error().message);
    }
    const auto checkpoint = gguf_checkpoint(*model);
    if (checkpoint) return "accepted";
    EXPECT_EQ(checkpoint.error().code, code);
    return replaced(checkpoint.error().message);
  }
  std::string replaced(std::string text) const {
    for (size_t at; (at = text.find(dir.string())) != std::string::npos;)
      text.replace(at, dir.string().size(), "DIR");
    return text;
  }
  fs::path dir;
};

std::string split_part(uint16_t no, uint16_t count, int32_t tensors, const std::string& tensor) {
  return GgufBytes{
      .keys = {gguf_key("split.no", 2, raw(no)), gguf_key("split.count", 2, raw(count)),
               gguf_key("split.tensors.count", 5, raw(tensors))},
      .tensors = {gguf_tensor(tensor, {8}, 0, 0)},
      .data = std::string(32, static_cast<char>('a' + no))}
      .bytes();
}

TEST_F(GgufFolder, AnyPartFindsTheOthers) {
  write("m-00001-of-00002.gguf", split_part(0, 2, 2, "x"));
  const fs::path second = write("m-00002-of-00002.gguf", split_part(1, 2, 2, "y"));
  const auto model = open_gguf(second, gguf_floats);
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_EQ(model->tensors.size(), 2u);
  EXPECT_EQ(model->tensors[1].name, "y");
  EXPECT_EQ(model->files.size(), 2u);
  EXPECT_TRUE(model->metadata.empty());
  std::byte first;
  ASSERT_TRUE(model->tensors[0].bytes->read(0, {&first, 1}));
  EXPECT_EQ(first, std::byte{'a'});
}

TEST_F(GgufFolder, RefusesPartsThatDoNotBelongTogether) {
  const fs::path one = write("m-00001-of-00002.gguf", split_part(0, 2, 2, "x"));
  EXPECT_THAT(error_of(one, Errc::io), testing::HasSubstr("m-00002-of-00002.gguf"));
  write("m-00002-of-00002.gguf", split_part(1, 2, 2, "x"));
  EXPECT_THAT(error_of(one, Errc::corrupt),
              testing::HasSubstr("tensor 'x' is in another part already"));
  write("m-00002-of-00002.gguf", split_part(1, 3, 2, "y"));
  EXPECT_THAT(error_of(one, Errc::corrupt), testing::HasSubstr("says it is part 2 of 3"));
  write("m-00002-of-00002.gguf", split_part(1, 2, 3, "y"));
  EXPECT_THAT(error_of(one, Errc::corrupt), testing::HasSubstr("says it is part 2 of 2"));
  write("m-00001-of-00002.gguf", split_part(0, 2, 3, "x"));
  EXPECT_THAT(error_of(one, Errc::corrupt),
              testing::HasSubstr("its parts hold 2 tensors, wanted 3"));
  EXPECT_THAT(error_of(write("renamed.gguf", split_part(0, 2, 2, "x")), Errc::corrupt),
              testing::HasSubstr("wanted a name that ends in '-00001-of-00002.gguf'"));
  EXPECT_THAT(
      error_of(write("lfs.gguf", "version https://git-lfs.github.com/spec/v1\n"), Errc::corrupt),
      testing::HasSubstr("Git LFS"));
}

TEST_F(GgufFolder, RefusesPartNumbersThatAreNone) {
  const auto with = [&](uint64_t no, uint64_t count) {
    const GgufBytes part{
        .keys = {gguf_key("split.no", 10, raw(no)), gguf_key("split.count", 10, raw(count))}};
    return error_of(write(gguf_split_name("m", no, count), part.bytes()), Errc::corrupt);
  };
  EXPECT_EQ(with(2, 2),
            "DIR/m-00003-of-00002.gguf: says it is part 3 of 2, wanted one of at most 65535");
  EXPECT_EQ(with(0, 65536),
            "DIR/m-00001-of-65536.gguf: says it is part 1 of 65536, wanted one of at most 65535");
  // A part that is cut off.
  const fs::path one = write("m-00001-of-00002.gguf", split_part(0, 2, 2, "x"));
  write("m-00002-of-00002.gguf", split_part(1, 2, 2, "y").substr(0, 100));
  EXPECT_EQ(error_of(one, Errc::corrupt),
            "DIR/m-00002-of-00002.gguf: value type ends at byte 102, file has 100 (incomplete "
            "download?)");
}

TEST_F(GgufFolder, RefusesWhatIsNoPhi) {
  EXPECT_EQ(error_of(write("a.gguf", GgufBytes{}.bytes()), Errc::unsupported),
            "DIR/a.gguf: architecture 'none' (known: phi2, phi3, phimoe)");
  const std::string phi3 = gguf_key("general.architecture", 8, gguf_text("phi3"));
  EXPECT_EQ(error_of(write("b.gguf", GgufBytes{.keys = {phi3}}.bytes()), Errc::corrupt),
            "DIR/b.gguf: key 'phi3.embedding_length' is missing, or no whole number");
}

GgufOutTensor out_tensor(const std::string& name, uint64_t rows) {
  SourceTensor source{name, DType::f32, {rows, 8}, memory_source(std::string(rows * 32, 'x'))};
  return {name, {rows, 8}, kGgmlF32, CopyJob{source}, {}};
}

std::vector<GgufOutTensor> three() {
  std::vector<GgufOutTensor> all;
  for (const char* name : {"a", "b", "c"}) all.push_back(out_tensor(name, 2));
  return all;
}

TEST(GgufLayout, OneFile) {
  Plan plan;
  Request o;
  o.output.path = "m.gguf";
  ASSERT_TRUE(lay_out_gguf(plan, {{"k", uint32_t{1}}}, three(), o));
  EXPECT_FALSE(plan.is_directory);
  ASSERT_EQ(plan.files.size(), 1u);
  const std::string& header = plan.files[0].literals[0].bytes;
  const auto back = parse_gguf_header(
      "f", bytes_of(header + std::string(plan.files[0].size_bytes - header.size(), 'x')));
  ASSERT_TRUE(back) << back.error().message;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(plan.tensors[i].offset, back->data_begin + back->tensors[i].offset);
    EXPECT_EQ(std::get<CopyJob>(plan.jobs[i]).out, i);
    EXPECT_EQ(plan.rows[i].job, i);
  }
}

TEST(GgufLayout, PartsAreCutByTheBytesOfTensors) {
  Plan plan;
  Request o;
  o.output.path = "folder/model/";
  o.output.max_file_size = 128;  // two tensors of 64
  ASSERT_TRUE(lay_out_gguf(plan, {{"k", uint32_t{1}}}, three(), o));
  EXPECT_TRUE(plan.is_directory);
  ASSERT_EQ(plan.files.size(), 2u);
  EXPECT_EQ(plan.files[0].path, "model-00001-of-00002.gguf");
  EXPECT_EQ(plan.tensors[1].file, 0u);
  EXPECT_EQ(plan.tensors[2].file, 1u);
  o.output.max_file_size = 1;  // a tensor is never split
  Plan each;
  ASSERT_TRUE(lay_out_gguf(each, {}, three(), o));
  EXPECT_EQ(each.files.size(), 3u);
}

TEST(GgufLayout, OutputsThatDoNotFit) {
  const auto error = [](const char* output, uint64_t max) {
    Plan plan;
    Request o;
    o.output.path = output;
    o.output.max_file_size = max;
    const auto result = lay_out_gguf(plan, {}, three(), o);
    return result ? std::string("accepted") : result.error().message;
  };
  EXPECT_THAT(error("folder", 0), testing::HasSubstr("give -o a name that ends in .gguf"));
  EXPECT_THAT(error("m.gguf", 64), testing::HasSubstr("needs a folder as output"));
}

// A weight of 2 rows of 64 values that is decoded from a GGUF type, quantized to MatMulNBits.
Plan block_plan(GgmlType type, unsigned bits, uint32_t block_size, const std::string& bytes) {
  const GgufTensor tensor{"w", {3, 64}, type, memory_source(bytes), {}, 0};
  SourceTensor rows = slice_rows(gguf_floats(tensor), 1, 2);  // a part of a fused weight
  const uint64_t n_blocks = 64 / block_size;
  Plan plan;
  plan.tensors = {{"codes", DType::u8, {2, n_blocks, block_size * bits / 8}, 128 * bits / 8, 0, 0},
                  {"scales", DType::f32, {2, n_blocks}, 2 * n_blocks * 4, 0, 4096}};
  BlockJob job{{"w", 64, 2, DenseStorage{rows, Orientation::nk}},
               find_block_scheme("matmul_nbits"),
               {bits, block_size, true},
               0,
               1,
               kNoTensor};
  plan.jobs.emplace_back(std::move(job));
  PlanRow row;
  row.tensor = "w";
  row.job = 0;
  plan.rows.push_back(row);
  keep_stored_codes(plan);
  return plan;
}

std::string blocks(size_t count, size_t code_bytes) {
  std::string out;
  for (size_t b = 0; b < count; ++b) {
    out += raw(f16_from_f32(static_cast<float>(b + 1)));
    for (size_t j = 0; j < code_bytes; ++j) out += static_cast<char>(b * 37 + j * 11);
  }
  return out;
}

std::string bytes_read(const CopyJob& job) {
  std::string out(job.source.bytes->size_bytes(), '\0');
  EXPECT_TRUE(job.source.bytes->read(0, std::as_writable_bytes(std::span(out))));
  return out;
}

TEST(KeepCodes, Q40) {
  const std::string stored = blocks(6, 16);
  const Plan plan = block_plan(kGgmlQ4_0, 4, 32, stored);
  ASSERT_EQ(plan.jobs.size(), 2u);
  const std::string codes = bytes_read(std::get<CopyJob>(plan.jobs[0]));
  const auto value = [&](size_t block, size_t i) {  // as ggml has it
    const auto byte = static_cast<uint8_t>(stored[block * 18 + 2 + i % 16]);
    return i < 16 ? byte & 15 : byte >> 4;
  };
  for (size_t b = 0; b < 4; ++b)
    for (size_t i = 0; i < 32; ++i) {
      const auto byte = static_cast<uint8_t>(codes[b * 16 + i / 2]);
      EXPECT_EQ(i % 2 ? byte >> 4 : byte & 15, value(b + 2, i)) << b << " " << i;
    }
  const std::string scales = bytes_read(std::get<CopyJob>(plan.jobs[1]));
  EXPECT_EQ(scales, raw(3.0f) + raw(4.0f) + raw(5.0f) + raw(6.0f));
  EXPECT_EQ(plan.rows[0].reason, "codes of q4_0 kept");
  EXPECT_EQ(plan.rows[0].job, std::nullopt);
}

TEST(KeepCodes, Q80) {
  const std::string stored = blocks(6, 32);
  const Plan plan = block_plan(kGgmlQ8_0, 8, 32, stored);
  const std::string codes = bytes_read(std::get<CopyJob>(plan.jobs[0]));
  for (size_t i = 0; i < 128; ++i)
    EXPECT_EQ(static_cast<uint8_t>(codes[i]) - 128,
              static_cast<int8_t>(stored[(i / 32 + 2) * 34 + 2 + i % 32]));
  // Any part of it reads the same.
  const auto& source = *std::get<CopyJob>(plan.jobs[0]).source.bytes;
  std::string middle(50, '\0');
  ASSERT_TRUE(source.read(21, std::as_writable_bytes(std::span(middle))));
  EXPECT_EQ(middle, codes.substr(21, 50));
}

TEST(KeepCodes, OtherGridsAreEncodedAnew) {
  for (const auto& [type, bits, block, code_bytes] :
       {std::tuple(kGgmlQ4_0, 8u, 32u, 16u), std::tuple(kGgmlQ4_0, 4u, 64u, 16u),
        std::tuple(kGgmlQ8_0, 4u, 32u, 32u)}) {
    const Plan plan = block_plan(type, bits, block, blocks(6, code_bytes));
    EXPECT_EQ(plan.jobs.size(), 1u);
    EXPECT_THAT(plan.rows[0].reason, testing::StartsWith("decoded from q"));
  }
}

}  // namespace
}  // namespace phiquant
