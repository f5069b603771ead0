// Input bytes a second of every block scheme on every instruction set, beside memcpy, for weights
// that fit the first cache, the second, and neither.
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "quant/kernels.h"
#include "quant/scheme.h"

namespace {

using namespace phiquant;

struct Size {
  const char* name;
  size_t rows, columns;
};
constexpr Size kSizes[] = {{"L1", 32, 128}, {"L2", 256, 768}, {"RAM", 4096, 8192}};

std::vector<float> weights(const Size& size) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> x(size.rows * size.columns);
  for (size_t i = 0; i < x.size(); ++i) x[i] = i < 65536 ? normal(rng) : x[i - 65521];
  return x;
}

void set_rate(benchmark::State& state, size_t n) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(n * sizeof(float)));
}

void copy(benchmark::State& state, Size size) {
  const std::vector<float> x = weights(size);
  std::vector<float> y(x.size());
  for (auto _ : state) {
    std::memcpy(y.data(), x.data(), x.size() * sizeof(float));
    benchmark::DoNotOptimize(y.data());
    benchmark::ClobberMemory();
  }
  set_rate(state, x.size());
}

void encode(benchmark::State& state, const Scheme& scheme, SchemeParams p, Size size,
            const std::string& simd) {
  const std::string before(quant::active_simd());
  quant::force_simd(simd);
  const std::vector<float> x = weights(size);
  const size_t blocks = size.rows / p.block_size, blob = p.block_size * p.bits / 8;
  std::vector<std::byte> codes(x.size());
  std::vector<float> scales(size.columns), zeros(size.columns);
  const bool nbits = scheme.packing == Packing::nbits;
  for (auto _ : state) {
    for (size_t b = 0; b < blocks; ++b)
      scheme.encode(
          {x.data() + b * p.block_size * size.columns, size.columns, p.block_size, size.columns}, p,
          {codes.data() + b * (nbits ? blob : p.block_size * size.columns),
           nbits ? blocks * blob : size.columns, scales.data(), zeros.data()});
    benchmark::DoNotOptimize(codes.data());
    benchmark::ClobberMemory();
  }
  set_rate(state, x.size());
  quant::force_simd(before);
}

const int kRegistered = [] {
  for (const Size& size : kSizes)
    benchmark::RegisterBenchmark((std::string("memcpy/") + size.name).c_str(), copy, size);
  for (const Scheme& scheme : block_schemes())
    for (const unsigned bits : {4u, 8u})
      for (const bool symmetric : {true, false}) {
        if (!(scheme.bits_mask & (1u << bits)) ||
            !(symmetric ? scheme.symmetric : scheme.asymmetric))
          continue;
        for (const std::string_view simd : quant::available_simd())
          for (const Size& size : kSizes) {
            const std::string name = std::string(scheme.name) + "/" + std::to_string(bits) +
                                     (symmetric ? "/sym/" : "/asym/") + std::string(simd) + "/" +
                                     size.name;
            benchmark::RegisterBenchmark(name.c_str(), encode, scheme,
                                         SchemeParams{bits, 32, symmetric, DType::f32}, size,
                                         std::string(simd));
          }
      }
  return 0;
}();

}  // namespace
