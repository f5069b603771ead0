// The executor against a plain rendering of each job: whole matrix at once, scalar kernels, no
// chunks.
#include "pipeline/execute.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "pipeline/plan_fixture.h"
#include "pipeline/tile_reader.h"
#include "quant/kernels.h"

namespace phiquant {
namespace {

using namespace phiquant::testing;

struct Encoded {
  std::string codes, scales, zeros;
};

size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

void store_scale(std::string& to, size_t index, float value, DType dtype) {
  if (dtype == DType::f32) std::memcpy(&to[index * 4], &value, 4);
  const uint16_t h = dtype == DType::f16 ? f16_from_f32(value) : bf16_from_f32(value);
  if (dtype != DType::f32) std::memcpy(&to[index * 2], &h, 2);
}

// `x` is K x N.
Encoded encode_plainly(const Scheme& scheme, const SchemeParams& p, const std::vector<float>& x,
                       size_t k, size_t n, DType scale_dtype) {
  const size_t blocks = ceil_div(k, p.block_size), blob = p.block_size * p.bits / 8;
  const bool nbits = scheme.packing == Packing::nbits, k_major = scheme.packing == Packing::k_major;
  std::vector<std::byte> packed(n * blocks * blob);
  std::vector<uint8_t> flat(k * n), turned(k * n), zero_codes(blocks * n);
  Encoded e;
  e.scales.resize(blocks * n * dtype_bits(scale_dtype) / 8);
  const size_t zero_row = ceil_div(blocks * p.bits, 8);
  std::vector<uint8_t> nbits_zeros(n * zero_row * 8 / p.bits,
                                   static_cast<uint8_t>(1u << (p.bits - 1)));
  for (size_t b = 0; b < blocks; ++b) {
    const size_t rows = std::min<size_t>(p.block_size, k - b * p.block_size);
    std::vector<float> scales(n), zeros(n);
    std::byte* codes = nbits ? packed.data() + b * blob
                             : reinterpret_cast<std::byte*>(flat.data()) + b * p.block_size * n;
    scheme.encode_ref({x.data() + b * p.block_size * n, n, rows, n}, p,
                      {codes, nbits ? blocks * blob : n, scales.data(), zeros.data()});
    for (size_t c = 0; c < n; ++c) {
      const size_t at = k_major ? b * n + c : c * blocks + b;
      store_scale(e.scales, at, scales[c], scale_dtype);
      zero_codes[at] = static_cast<uint8_t>(static_cast<int>(zeros[c]));
      nbits_zeros[c * zero_row * 8 / p.bits + b] = zero_codes[at];
    }
  }
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < n; ++j) turned[j * k + i] = flat[i * n + j];
  const auto pack = [&](const std::vector<uint8_t>& v) {
    std::string out(ceil_div(v.size() * p.bits, 8), '\0');
    quant::pack_flat(v.data(), v.size(), p.bits, reinterpret_cast<std::byte*>(out.data()));
    return out;
  };
  e.codes = nbits ? std::string(reinterpret_cast<char*>(packed.data()), packed.size())
                  : pack(k_major ? flat : turned);
  e.zeros = pack(nbits ? nbits_zeros : zero_codes);
  return e;
}

struct BlockCase {
  const char* scheme;
  unsigned bits;
  uint32_t block;
  bool symmetric;
  size_t k, n;
  DType dtype;
  Orientation orientation;
};

std::ostream& operator<<(std::ostream& out, const BlockCase& c) {
  return out << c.scheme << c.bits << " block " << c.block << (c.symmetric ? " sym " : " asym ")
             << c.k << "x" << c.n << " " << dtype_name(c.dtype)
             << (c.orientation == Orientation::kn ? " kn" : " nk");
}

std::vector<BlockCase> block_cases() {
  std::vector<BlockCase> cases;
  for (const char* scheme : {"matmul_nbits", "qdq", "gather"})
    for (bool symmetric : {true, false})
      for (DType dtype : {DType::f32, DType::f16, DType::bf16})
        for (Orientation o : {Orientation::kn, Orientation::nk}) {
          cases.push_back({scheme, 4, 32, symmetric, 96, 130, dtype, o});
          cases.push_back({scheme, 4, 16, symmetric, 328, 67, dtype, o});  // odd N, ragged K
          cases.push_back({scheme, 8, 128, symmetric, 200, 700, dtype, o});
        }
  return cases;
}

class BlockExecute : public ::testing::TestWithParam<BlockCase> {};

TEST_P(BlockExecute, EqualsWholeMatrixReferenceForAnyThreadsAndMemory) {
  const BlockCase& c = GetParam();
  const Scheme* scheme = find_block_scheme(c.scheme);
  ASSERT_NE(scheme, nullptr);
  std::vector<float> x = hard_values(c.k, c.n, 7);
  BlockJob job{dense_weight(x, c.k, c.n, c.dtype, c.orientation),
               scheme,
               {c.bits, c.block, c.symmetric, c.dtype},
               0,
               0,
               0};
  const uint64_t blocks = ceil_div(c.k, c.block);
  const bool nbits = scheme->packing == Packing::nbits;
  Plan plan;
  const DType flat_type =
      c.bits == 4 ? (c.symmetric ? DType::i4 : DType::u4) : (c.symmetric ? DType::i8 : DType::u8);
  job.codes = nbits ? add_tensor(plan, DType::u8, {c.n, blocks, c.block * c.bits / 8})
                    : add_tensor(plan, flat_type, {c.k, c.n});
  job.scales = add_tensor(plan, c.dtype, {blocks, c.n});
  job.zero_points = c.symmetric ? kNoTensor
                    : nbits     ? add_tensor(plan, DType::u8, {c.n, ceil_div(blocks * c.bits, 8)})
                                : add_tensor(plan, flat_type, {blocks, c.n});
  plan.jobs.push_back(job);
  const Encoded want = encode_plainly(*scheme, job.params, x, c.k, c.n, c.dtype);
  for (const ExecuteOptions& options :
       {ExecuteOptions{1, 0, true}, ExecuteOptions{8, 0, true}, ExecuteOptions{3, 1, false}}) {
    const RunResult got = run(plan, options);
    ASSERT_TRUE(got.result) << got.result.error().message;
    EXPECT_EQ(got.tensor(plan, job.codes), want.codes);
    EXPECT_EQ(got.tensor(plan, job.scales), want.scales);
    if (!c.symmetric) {
      EXPECT_EQ(got.tensor(plan, job.zero_points), want.zeros);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, BlockExecute, ::testing::ValuesIn(block_cases()));

// What was encoded, read back through the reader's block storage, equals a decoding of the whole.
TEST_P(BlockExecute, ReadsBackAsItWasEncoded) {
  const BlockCase& c = GetParam();
  const Scheme* scheme = find_block_scheme(c.scheme);
  std::vector<float> x = hard_values(c.k, c.n, 8);
  dense_weight(x, c.k, c.n, c.dtype, c.orientation);
  const SchemeParams params{c.bits, c.block, c.symmetric, c.dtype};
  const Encoded e = encode_plainly(*scheme, params, x, c.k, c.n, c.dtype);
  const auto memory = [](const std::string& s) { return memory_source(s); };
  BlockStorage storage;
  storage.packing = scheme->packing;
  storage.bits = c.bits;
  storage.is_signed = has_signed_codes(*scheme, params);
  storage.block_size = c.block;
  storage.codes = {"c", DType::u8, {e.codes.size()}, memory(e.codes)};
  storage.scales = {"s", c.dtype, {e.scales.size() * 8 / dtype_bits(c.dtype)}, memory(e.scales)};
  if (!c.symmetric)
    storage.zero_points = SourceTensor{"z", DType::u8, {e.zeros.size()}, memory(e.zeros)};
  storage.default_zero_point = storage.is_signed ? 0 : 1 << (c.bits - 1);
  const WeightSource source{"w", c.k, c.n, storage};

  // Whole columns, a window in the middle, and rows in steps that do not agree with the blocks.
  TileReader whole, window;
  std::vector<float> all(c.k * c.n);
  ASSERT_TRUE(whole.begin(source, {0, c.k, 0, c.n}));
  for (uint64_t k = 0; k < c.k; k += 24)
    ASSERT_TRUE(whole.tile(k, std::min<uint64_t>(k + 24, c.k), all.data() + k * c.n));
  double worst = 0;
  for (size_t b = 0; b < ceil_div(c.k, c.block); ++b)
    for (size_t j = 0; j < c.n; ++j) {
      float lo = 0, hi = 0;
      for (size_t i = b * c.block; i < std::min<size_t>(c.k, (b + 1) * c.block); ++i) {
        lo = std::min(lo, x[i * c.n + j]);
        hi = std::max(hi, x[i * c.n + j]);
      }
      // One step of the grid: half from rounding, and up to one where the far side is clipped or a
      // scale was rounded.
      const double step = c.symmetric ? std::max(-lo, hi) / static_cast<float>(1 << (c.bits - 1))
                                      : (hi - lo) / static_cast<float>((1 << c.bits) - 1);
      for (size_t i = b * c.block; i < std::min<size_t>(c.k, (b + 1) * c.block); ++i)
        if (step > 1e-4)
          worst = std::max(worst, std::abs(x[i * c.n + j] - all[i * c.n + j]) / step);
    }
  // One step (above), and half an ulp of the stored scale times the largest code.
  const double half_ulp = c.dtype == DType::f32   ? 0x1p-24
                          : c.dtype == DType::f16 ? 0x1p-11
                                                  : 0x1p-9;
  EXPECT_LE(worst, 1 + (1 << c.bits) * half_ulp + 1e-3);
  EXPECT_GT(worst, 0.2);
  const Region part{c.k / 3, c.k - 1, c.n / 3, c.n - 1};
  std::vector<float> some(part.rows() * part.cols());
  ASSERT_TRUE(window.begin(source, part));
  ASSERT_TRUE(window.tile(part.k0, part.k1, some.data()));
  for (size_t i = 0; i < part.rows(); ++i)
    for (size_t j = 0; j < part.cols(); ++j)
      ASSERT_EQ(some[i * part.cols() + j], all[(part.k0 + i) * c.n + part.n0 + j]) << i << " " << j;
}

class Int8Execute : public ::testing::TestWithParam<std::tuple<bool, bool, Orientation>> {};

TEST_P(Int8Execute, EqualsWholeMatrixReference) {
  const auto [per_channel, symmetric, orientation] = GetParam();
  const size_t k = 300, n = 130;
  std::vector<float> x = hard_values(k, n, 9);
  Plan plan;
  Int8Job job;
  job.source = dense_weight(x, k, n, DType::f32, orientation);
  job.per_channel = per_channel;
  job.symmetric = symmetric;
  job.is_signed = symmetric;
  job.codes = add_tensor(plan, DType::i8, {k, n});
  job.scales = add_tensor(plan, DType::f32, {per_channel ? n : 1});
  job.zero_points = add_tensor(plan, DType::i8, {per_channel ? n : 1});
  plan.jobs = {job, job};  // two reductions, so that stages overlap
  Int8Job& second = std::get<Int8Job>(plan.jobs[1]);
  second.codes = add_tensor(plan, DType::i8, {k, n});
  second.scales = add_tensor(plan, DType::f32, {per_channel ? n : 1});
  second.zero_points = add_tensor(plan, DType::i8, {per_channel ? n : 1});

  std::vector<quant::Int8Params> affine;
  const float inf = std::numeric_limits<float>::infinity();
  float all_lo = inf, all_hi = -inf;
  for (float v : x) all_lo = std::min(all_lo, v), all_hi = std::max(all_hi, v);
  for (size_t j = 0; j < n; ++j) {
    float lo = per_channel ? inf : all_lo, hi = per_channel ? -inf : all_hi;
    for (size_t i = 0; per_channel && i < k; ++i)
      lo = std::min(lo, x[i * n + j]), hi = std::max(hi, x[i * n + j]);
    affine.push_back(quant::int8_from_range(lo, hi, symmetric, symmetric, false, DType::f32));
  }
  std::vector<std::byte> codes(k * n);
  quant::int8_encode_ref(x.data(), n, k, n, affine.data(), symmetric, codes.data(), n);
  std::string want(k * n, '\0');
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < n; ++j)
      want[orientation == Orientation::kn ? i * n + j : j * k + i] =
          static_cast<char>(codes[i * n + j]);
  for (unsigned threads : {1u, 8u}) {
    const RunResult got = run(plan, {threads, 1, true});
    ASSERT_TRUE(got.result);
    for (const Job& j : plan.jobs) {
      const Int8Job& a = std::get<Int8Job>(j);
      EXPECT_EQ(got.tensor(plan, a.codes), want);
      const std::string scales = got.tensor(plan, a.scales),
                        zeros = got.tensor(plan, a.zero_points);
      for (size_t c = 0; c < zeros.size(); ++c) {
        float scale;
        std::memcpy(&scale, &scales[c * 4], 4);
        ASSERT_EQ(scale, affine[c].scale);
        ASSERT_EQ(static_cast<uint8_t>(zeros[c]), static_cast<uint8_t>(affine[c].zero_point));
      }
    }
    ASSERT_TRUE(got.result->errors[0]);
    EXPECT_EQ(got.result->errors[0]->sqnr_db, got.result->errors[1]->sqnr_db);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Int8Execute,
                         ::testing::Combine(::testing::Bool(), ::testing::Bool(),
                                            ::testing::Values(Orientation::kn, Orientation::nk)));

TEST(Execute, NamesTheFirstNonFiniteOfEachWeightWhateverTheThreads) {
  const size_t k = 512, n = 300;
  for (const auto& [orientation, flat] :
       {std::pair{Orientation::kn, 70u * 300 + 250}, std::pair{Orientation::nk, 70u * 512 + 500}}) {
    for (unsigned threads : {1u, 4u}) {
      std::vector<float> x = hard_values(k, n, 10);
      Plan plan;
      BlockJob job{dense_weight(x, k, n, DType::f32, orientation),
                   find_block_scheme("matmul_nbits"),
                   {},
                   0,
                   0,
                   kNoTensor};
      auto& dense = std::get<DenseStorage>(job.source.storage);
      std::string bytes(k * n * 4, '\0');
      ASSERT_TRUE(dense.data.bytes->read(0, std::as_writable_bytes(std::span(bytes))));
      const float nan = std::numeric_limits<float>::quiet_NaN(),
                  inf = std::numeric_limits<float>::infinity();
      std::memcpy(&bytes[flat * 4], &nan, 4);
      std::memcpy(&bytes[(k * n - 1) * 4], &inf, 4);
      dense.data.bytes = memory_source(bytes);
      job.codes = add_tensor(plan, DType::u8, {n, k / 32, 16});
      job.scales = add_tensor(plan, DType::f32, {n, k / 32});
      plan.jobs.push_back(job);
      const RunResult got = run(plan, {threads, 1, true});
      ASSERT_TRUE(got.result);
      ASSERT_EQ(got.result->non_finite.size(), 1u);
      EXPECT_EQ(got.result->non_finite[0].flat_index, flat);
      EXPECT_TRUE(std::isnan(got.result->non_finite[0].value));
    }
  }
}

TEST(Execute, StopsWhenProgressOrTheTokenSaysSo) {
  std::vector<float> x = hard_values(64, 64, 1);
  Plan plan;
  BlockJob job{dense_weight(x, 64, 64, DType::f32, Orientation::kn),
               find_block_scheme("matmul_nbits"),
               {},
               0,
               0,
               kNoTensor};
  job.codes = add_tensor(plan, DType::u8, {64, 2, 16});
  job.scales = add_tensor(plan, DType::f32, {64, 2});
  plan.jobs.push_back(job);
  const TempFolder folder;
  auto output =
      AtomicOutput::create(folder.path() / "out", {{"data", plan.files[0].size_bytes}}, {});
  ASSERT_TRUE(output);
  Progress says_no, has_token;
  says_no.update = [](uint64_t, uint64_t) { return false; };
  has_token.cancel.request();
  for (const Progress& progress : {says_no, has_token}) {
    const auto result = execute(plan, **output, {}, progress);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Errc::cancelled);
  }
  output->reset();
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Execute, CopiesAndCastsKeepOrderAndGapsAreZero) {
  const size_t n = 3'000'001;
  std::vector<float> x = hard_values(n, 1, 3);
  WeightSource w = dense_weight(x, n, 1, DType::f32, Orientation::kn);
  const SourceTensor source = std::get<DenseStorage>(w.storage).data;
  Plan plan;
  const TensorId half = add_tensor(plan, DType::f16, {n}), copy = add_tensor(plan, DType::f32, {n});
  plan.jobs = {CastJob{source, CastRule::ieee, half}, CopyJob{source, copy}};
  const RunResult got = run(plan, {4, 0, true});
  ASSERT_TRUE(got.result);
  std::string want(n * 4, '\0');
  ASSERT_TRUE(source.bytes->read(0, std::as_writable_bytes(std::span(want))));
  EXPECT_TRUE(got.tensor(plan, copy) == want);
  const std::string halves = got.tensor(plan, half);
  for (size_t i = 0; i < n; ++i) {
    uint16_t h;
    std::memcpy(&h, &halves[i * 2], 2);
    ASSERT_EQ(h, f16_from_f32(x[i])) << i;
  }
  const OutTensor& t = plan.tensors[half];
  for (uint64_t at = t.offset + t.size_bytes; at < plan.tensors[copy].offset; ++at)
    ASSERT_EQ(got.bytes[at], '\0');
}

}  // namespace
}  // namespace phiquant
