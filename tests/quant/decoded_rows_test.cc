// A tensor in a row scheme as a source of floats.
#include <gtest/gtest.h>

#include <cmath>

#include "core/input_file.h"
#include "core/sources.h"
#include "quant/numeric/cast_source.h"
#include "quant/row_run.h"
#include "quant/stored_rows.h"

namespace phiquant::test {
namespace {

// Counts what is read of another source.
class Counted final : public ByteSource {
 public:
  Counted(std::string bytes, uint64_t& read_bytes)
      : source_(memory_source(std::move(bytes))), read_bytes_(read_bytes) {}
  uint64_t size_bytes() const override { return source_->size_bytes(); }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    read_bytes_ += out.size();
    return source_->read(offset, out);
  }

 private:
  std::shared_ptr<const ByteSource> source_;
  uint64_t& read_bytes_;
};

class DecodedRowsOf : public testing::TestWithParam<const RowScheme*> {};

TEST_P(DecodedRowsOf, AnyRangeIsThatOfTheWhole) {
  const RowScheme& scheme = *GetParam();
  const RowParams params = row_params_of(scheme);
  const RowLayout layout = scheme.layout(params);
  // More than one run of the decoder, which is no multiple of it.
  const size_t k = 5 * layout.block_size, n_rows = 40'000 / k + 3;
  const std::vector<float> x = varied_rows(n_rows * k, 3);
  RowBytes bytes = encode_rows(scheme, scheme.encode_ref, {x.data(), n_rows, k, nullptr});
  RowPlanesView view = {};
  uint64_t read_bytes = 0;
  std::vector<std::shared_ptr<const ByteSource>> planes;
  for (size_t p = 0; p < kMaxRowPlanes; ++p) {
    if (!layout.block_bytes[p]) continue;
    bytes[p].pop_back();
    view[p] = reinterpret_cast<const std::byte*>(bytes[p].data());
    planes.push_back(std::make_shared<Counted>(bytes[p], read_bytes));
  }
  std::vector<float> y(n_rows * k);
  scheme.decode(view, n_rows, k, params, y.data());
  const std::string whole(reinterpret_cast<const char*>(y.data()), y.size() * 4);

  const SourceTensor tensor = decoded_rows("w", {n_rows, k}, scheme, params, std::move(planes));
  EXPECT_EQ(tensor.dtype, DType::f32);
  EXPECT_EQ(tensor.shape, (Shape{n_rows, k}));
  ASSERT_EQ(tensor.bytes->size_bytes(), whole.size());
  const size_t block = size_t{layout.block_size} * 4;
  const std::vector<std::pair<size_t, size_t>> ranges = {{0, whole.size()},
                                                         {0, 1},
                                                         {1, 1},
                                                         {3, 2},
                                                         {block - 1, 2},
                                                         {block, block},
                                                         {block + 7, 3 * block},
                                                         {16384 * 4 - 3, 6},
                                                         {5, 16384 * 4},
                                                         {2 * block + 1, 16384 * 4 + 3 * block},
                                                         {whole.size() - 1, 1},
                                                         {whole.size() - block - 5, block + 5},
                                                         {whole.size(), 0},
                                                         {12345, 67891}};
  for (const auto& [begin, size] : ranges) {
    std::string out(size, '?');
    ASSERT_TRUE(tensor.bytes->read(begin, std::as_writable_bytes(std::span(out))).has_value());
    EXPECT_TRUE(out == whole.substr(begin, size)) << "bytes " << begin << " + " << size;
  }
  // A small part costs its blocks, not a run.
  read_bytes = 0;
  std::string out(block, '?');
  ASSERT_TRUE(tensor.bytes->read(block * 4, std::as_writable_bytes(std::span(out))).has_value());
  EXPECT_EQ(read_bytes, layout.block_bytes[0] + layout.block_bytes[1] + layout.block_bytes[2]);
}

std::vector<const RowScheme*> all_schemes() {
  std::vector<const RowScheme*> schemes;
  for (const RowScheme& scheme : row_schemes()) schemes.push_back(&scheme);
  return schemes;
}

INSTANTIATE_TEST_SUITE_P(Schemes, DecodedRowsOf, testing::ValuesIn(all_schemes()),
                         [](const auto& test) { return name_of(*test.param); });

TEST(DecodedRowsOf, FailsWhereASourceFails) {
  class Failing final : public ByteSource {
   public:
    uint64_t size_bytes() const override { return 18; }
    Result<void> read(uint64_t, std::span<std::byte>) const override {
      return Error{Errc::io, "gone"};
    }
  };
  const RowScheme* scheme = find_row_scheme(RowFamily::gguf, "q4_0");
  ASSERT_NE(scheme, nullptr);
  const SourceTensor tensor =
      decoded_rows("w", {1, 32}, *scheme, {}, {std::make_shared<Failing>()});
  std::byte one[1];
  const Result<void> result = tensor.bytes->read(0, one);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Errc::io);
}

// Slices know the codes that they are decoded from, whatever is made of several tensors or has
// other values does not.
TEST(DecodedRowsOf, CodesAreKnownOfParts) {
  const RowScheme& scheme = *find_row_scheme(RowFamily::gguf, "q8_0");
  const auto codes = memory_source(std::string(size_t{4 * 3 * 2} * 34, '\0'));
  const SourceTensor whole = decoded_rows("w", {4, 3, 64}, scheme, {}, {codes});
  ASSERT_TRUE(whole.stored);
  EXPECT_EQ(whole.stored->scheme, &scheme);
  EXPECT_EQ(whole.stored->planes, (std::vector{codes}));
  EXPECT_EQ(whole.first_stored, 0u);
  SourceTensor one = slice_rows(whole, 2, 1);
  EXPECT_EQ(one.stored, whole.stored);
  EXPECT_EQ(one.first_stored, uint64_t{2 * 3 * 64});
  one.shape.erase(one.shape.begin());
  const SourceTensor row = slice_rows(one, 1, 1);
  EXPECT_EQ(row.first_stored, uint64_t{(2 * 3 + 1) * 64});
  EXPECT_FALSE(concat_rows("c", {row, row}).stored);
  EXPECT_FALSE(interleave_rows(row, row).stored);
  EXPECT_FALSE(cast_source(row, DType::f16).stored);
  EXPECT_EQ(cast_source(row, DType::f32).stored, whole.stored);
}

}  // namespace
}  // namespace phiquant::test
