// Input bytes a second of every row scheme on every instruction set, with and without importance,
// and output bytes a second of its decoder, for rows that fit the first cache, the second, and
// neither.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "quant/kernels.h"
#include "quant/row_scheme.h"

namespace {

using namespace phiquant;

struct Size {
  const char* name;
  size_t rows, k;
};
constexpr Size kSizes[] = {{"L1", 4, 1024}, {"L2", 32, 4096}, {"RAM", 4096, 4096}};

// A scheme with parameters; `name` as in the report.
struct Variant {
  const RowScheme* scheme;
  RowParams params;
  std::string name;
};

// MLX's affine codes in a width that does not divide a byte, in one that does, and whole bytes.
std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const RowScheme& scheme : row_schemes()) {
    const std::string name =
        (scheme.family == RowFamily::gguf ? "gguf/" : "mlx/") + std::string(scheme.name);
    if (scheme.family == RowFamily::mlx && scheme.name == "affine")
      for (const unsigned bits : {3u, 4u, 8u})
        all.push_back({&scheme, {bits, 64, DType::bf16}, name + std::to_string(bits)});
    else
      all.push_back({&scheme, {}, name});
  }
  return all;
}

std::vector<float> weights(size_t n) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = i < 65536 ? normal(rng) : x[i - 65521];
  return x;
}

// A weight in a scheme, encoded or not.
struct Stored {
  std::vector<std::byte> bytes[kMaxRowPlanes];
  RowPlanes planes = {};
  RowPlanesView view = {};

  Stored(const Variant& v, size_t n) {
    for (size_t p = 0; p < kMaxRowPlanes; ++p) {
      bytes[p].resize(static_cast<size_t>(row_plane_bytes(*v.scheme, v.params, p, n)));
      if (!bytes[p].empty()) view[p] = planes[p] = bytes[p].data();
    }
  }
};

void set_rate(benchmark::State& state, size_t n) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(n * sizeof(float)));
}

void encode(benchmark::State& state, const Variant& v, bool weighted, Size size,
            const std::string& simd) {
  const std::string before(quant::active_simd());
  quant::force_simd(simd);
  const size_t n = size.rows * size.k;
  const std::vector<float> x = weights(n);
  std::vector<float> importance = weights(size.k);
  for (float& weight : importance) weight = std::fabs(weight);
  const Stored out(v, n);
  for (auto _ : state) {
    v.scheme->encode({x.data(), size.rows, size.k, weighted ? importance.data() : nullptr},
                     v.params, out.planes);
    benchmark::ClobberMemory();
  }
  set_rate(state, n);
  quant::force_simd(before);
}

void decode(benchmark::State& state, const Variant& v, Size size, const std::string& simd) {
  const std::string before(quant::active_simd());
  quant::force_simd(simd);
  const size_t n = size.rows * size.k;
  std::vector<float> x = weights(n);
  const Stored in(v, n);
  v.scheme->encode({x.data(), size.rows, size.k, nullptr}, v.params, in.planes);
  for (auto _ : state) {
    v.scheme->decode(in.view, size.rows, size.k, v.params, x.data());
    benchmark::ClobberMemory();
  }
  set_rate(state, n);
  quant::force_simd(before);
}

const int kRegistered = [] {
  for (const Variant& v : variants())
    for (const std::string_view simd : quant::available_simd())
      for (const Size& size : kSizes) {
        const std::string name = v.name + "/", on = std::string(simd) + "/" + size.name, t(simd);
        benchmark::RegisterBenchmark((name + "encode/" + on).c_str(), encode, v, false, size, t);
        if (v.scheme->uses_importance)
          benchmark::RegisterBenchmark((name + "encode_importance/" + on).c_str(), encode, v, true,
                                       size, t);
        benchmark::RegisterBenchmark((name + "decode/" + on).c_str(), decode, v, size, t);
      }
  return 0;
}();

}  // namespace
