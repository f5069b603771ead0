// Every kernel of kernels.h x instruction set x size, beside memcpy. bytes_per_second counts float
// input (for decode and to_f32: float output), once. Best of n: --benchmark_repetitions=10
// --benchmark_report_aggregates_only.
#include <benchmark/benchmark.h>

#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "quant/kernels.h"

namespace {

using namespace phiquant;

constexpr size_t kRows = 32;        // values along K in a tile
constexpr size_t kStrideNk = 3072;  // of the weight that transpose reads: rows 12288 bytes apart

// A tile of kRows x cols floats, and room for what kernels make of it.
struct Tile {
  size_t cols, n;
  std::vector<float> x, y;
  std::vector<std::byte> halves, codes;
  std::vector<uint8_t> values;
  std::vector<float> scales, zeros, lo, hi;
  std::vector<quant::Int8Params> affine;

  explicit Tile(size_t n_cols)
      : cols(n_cols),
        n(kRows * n_cols),
        x(n),
        y(n),
        halves(n * 2),
        codes(n),
        values(n),
        scales(n_cols, 0.01f),
        zeros(n_cols, 8.0f),
        lo(n_cols),
        hi(n_cols),
        affine(n_cols, {0.001f, 3}) {
    std::mt19937 random(1);
    for (size_t i = 0; i < n; ++i)
      x[i] = i < 4096 ? (static_cast<float>(random() % 65536) - 32768.0f) / 250000.0f : x[i - 4096];
    for (size_t i = 0; i < n; ++i) y[i] = x[i] * 1.001f;
    for (size_t i = 0; i < n; ++i) codes[i] = static_cast<std::byte>(i * 37);
    quant::CastStats stats;
    quant::cast(f32(), DType::f32, n, halves.data(), DType::f16, CastRule::ieee, stats);
  }
  const std::byte* f32() const { return reinterpret_cast<const std::byte*>(x.data()); }
  BlockView view(size_t codes_stride) const {
    return {codes.data(), codes_stride, scales.data(), zeros.data()};
  }
};

void cast(Tile& t, DType to, CastRule rule) {
  quant::CastStats stats;
  quant::cast(t.f32(), DType::f32, t.n, t.halves.data(), to, rule, stats);
  benchmark::DoNotOptimize(stats);
}

void decode(Tile& t, Packing packing, unsigned bits, size_t codes_stride) {
  quant::decode_block(packing, bits, false, t.view(codes_stride), kRows, t.cols, t.y.data(),
                      t.cols);
}

void block_error(Tile& t, Packing packing, unsigned bits, size_t codes_stride) {
  quant::ErrorSums sums;
  quant::block_error_sums(packing, bits, false, t.view(codes_stride), t.x.data(), t.cols, kRows,
                          t.cols, sums);
  benchmark::DoNotOptimize(sums);
}

struct Kernel {
  const char* name;
  std::function<void(Tile&)> run;
};

const Kernel kKernels[] = {
    {"to_f32/f16", [](Tile& t) { quant::to_f32(t.halves.data(), DType::f16, t.n, t.y.data()); }},
    {"to_f32/bf16", [](Tile& t) { quant::to_f32(t.halves.data(), DType::bf16, t.n, t.y.data()); }},
    {"cast/f16", [](Tile& t) { cast(t, DType::f16, CastRule::ieee); }},
    {"cast/f16_ort", [](Tile& t) { cast(t, DType::f16, CastRule::ort_fp16); }},
    {"cast/bf16", [](Tile& t) { cast(t, DType::bf16, CastRule::ieee); }},
    {"first_non_finite",
     [](Tile& t) { benchmark::DoNotOptimize(quant::first_non_finite(t.x.data(), t.n)); }},
    {"decode/nbits4", [](Tile& t) { decode(t, Packing::nbits, 4, kRows / 2); }},
    {"decode/nbits8", [](Tile& t) { decode(t, Packing::nbits, 8, kRows); }},
    {"decode/k_major", [](Tile& t) { decode(t, Packing::k_major, 4, t.cols); }},
    {"pack_flat/4", [](Tile& t) { quant::pack_flat(t.values.data(), t.n, 4, t.codes.data()); }},
    {"unpack_flat/4",
     [](Tile& t) { quant::unpack_flat(t.codes.data(), 1, t.n - 1, 4, true, t.values.data()); }},
    {"column_min_max",
     [](Tile& t) {
       quant::column_min_max(t.x.data(), t.cols, kRows, t.cols, t.lo.data(), t.hi.data());
     }},
    {"int8_encode",
     [](Tile& t) {
       quant::int8_encode(t.x.data(), t.cols, kRows, t.cols, t.affine.data(), true, t.codes.data(),
                          t.cols);
     }},
    {"error_sums",
     [](Tile& t) {
       quant::ErrorSums sums;
       quant::error_sums(t.x.data(), t.y.data(), 16, t.n / 16, 16, sums);
       benchmark::DoNotOptimize(sums);
     }},
    {"block_error_sums/nbits4", [](Tile& t) { block_error(t, Packing::nbits, 4, kRows / 2); }},
    {"block_error_sums/nbits8", [](Tile& t) { block_error(t, Packing::nbits, 8, kRows); }},
    {"block_error_sums/k_major", [](Tile& t) { block_error(t, Packing::k_major, 8, t.cols); }},
    {"transpose/dense",
     [](Tile& t) { quant::transpose(t.x.data(), kRows, t.cols, kRows, t.y.data(), t.cols); }},
};

struct Size {
  const char* name;
  size_t cols;
};
constexpr Size kSizes[] = {{"L1", 64}, {"L2", 2048}, {"RAM", 262144}};  // 8 kB, 256 kB, 32 MB of x

void run_kernel(benchmark::State& state, const Kernel& kernel, std::string_view simd, size_t cols) {
  if (!quant::force_simd(simd)) return state.SkipWithError("SIMD level not available");
  Tile tile(cols);
  for (auto _ : state) {
    kernel.run(tile);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * tile.n * sizeof(float)));
}

// n rows of K = 3072 to tiles of 32 x n: the next 32 columns at each pass, as the pipeline does.
void run_transpose_nk(benchmark::State& state, std::string_view simd, size_t n) {
  if (!quant::force_simd(simd)) return state.SkipWithError("SIMD level not available");
  std::vector<float> weight(n * kStrideNk, 1.0f), tile(kRows * n);
  size_t k = 0;
  for (auto _ : state) {
    quant::transpose(weight.data() + k, kStrideNk, n, kRows, tile.data(), n);
    k = (k + kRows) % kStrideNk;
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * tile.size() * sizeof(float)));
}

void run_memcpy(benchmark::State& state, size_t cols) {
  std::vector<float> x(kRows * cols, 1.0f), y(x.size());
  for (auto _ : state) {
    std::memcpy(y.data(), x.data(), x.size() * sizeof(float));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * x.size() * sizeof(float)));
}

const bool kRegistered = [] {
  for (const Size& size : kSizes) {
    const auto name = [&](std::string_view kernel, std::string_view simd) {
      return std::string(kernel) + "/" + std::string(simd) + "/" + size.name;
    };
    benchmark::RegisterBenchmark(name("memcpy", "-").c_str(), run_memcpy, size.cols);
    for (const std::string_view simd : quant::available_simd()) {
      for (const Kernel& kernel : kKernels)
        benchmark::RegisterBenchmark(name(kernel.name, simd).c_str(), run_kernel, kernel, simd,
                                     size.cols);
    }
  }
  for (const size_t n : {16u, 256u, 1024u, 4096u})
    for (const std::string_view simd : quant::available_simd()) {
      const std::string name = "transpose/nk/" + std::string(simd) + "/n" + std::to_string(n);
      benchmark::RegisterBenchmark(name.c_str(), run_transpose_nk, simd, n);
    }
  return true;
}();

}  // namespace
