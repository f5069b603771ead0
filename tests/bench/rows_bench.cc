// Input bytes a second of every row scheme on every instruction set, with and without importance,
// and output bytes a second of its decoder, for rows that fit the first cache, the second, and
// neither.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "phiquant/row_scheme.h"
#include "quant/kernels.h"

namespace {

using namespace phiquant;

struct Size {
  const char* name;
  size_t rows, k;
};
constexpr Size kSizes[] = {{"L1", 4, 1024}, {"L2", 32, 4096}, {"RAM", 4096, 4096}};

RowParams params_of(const RowScheme& scheme) {
  return scheme.family == RowFamily::mlx && scheme.name == "affine" ? RowParams{4, 64, DType::f16}
                                                                    : RowParams{};
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

  Stored(const RowScheme& scheme, size_t n) {
    for (size_t p = 0; p < kMaxRowPlanes; ++p) {
      bytes[p].resize(static_cast<size_t>(row_plane_bytes(scheme, params_of(scheme), p, n)));
      if (!bytes[p].empty()) view[p] = planes[p] = bytes[p].data();
    }
  }
};

void set_rate(benchmark::State& state, size_t n) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) *
                          static_cast<int64_t>(n * sizeof(float)));
}

void encode(benchmark::State& state, const RowScheme* scheme, bool weighted, Size size,
            const std::string& target) {
  const std::string before(quant::active_target());
  quant::force_target(target);
  const size_t n = size.rows * size.k;
  const std::vector<float> x = weights(n);
  std::vector<float> importance = weights(size.k);
  for (float& v : importance) v = std::fabs(v);
  const Stored out(*scheme, n);
  for (auto _ : state) {
    scheme->encode({x.data(), size.rows, size.k, weighted ? importance.data() : nullptr},
                   params_of(*scheme), out.planes);
    benchmark::ClobberMemory();
  }
  set_rate(state, n);
  quant::force_target(before);
}

void decode(benchmark::State& state, const RowScheme* scheme, Size size,
            const std::string& target) {
  const std::string before(quant::active_target());
  quant::force_target(target);
  const size_t n = size.rows * size.k;
  std::vector<float> x = weights(n);
  const Stored in(*scheme, n);
  scheme->encode({x.data(), size.rows, size.k, nullptr}, params_of(*scheme), in.planes);
  for (auto _ : state) {
    scheme->decode(in.view, size.rows, size.k, params_of(*scheme), x.data());
    benchmark::ClobberMemory();
  }
  set_rate(state, n);
  quant::force_target(before);
}

const int kRegistered = [] {
  for (const RowScheme& scheme : row_schemes())
    for (const std::string_view target : quant::available_targets())
      for (const Size& size : kSizes) {
        const std::string name =
            (scheme.family == RowFamily::gguf ? "gguf/" : "mlx/") + std::string(scheme.name) + "/";
        const std::string on = std::string(target) + "/" + size.name, t(target);
        benchmark::RegisterBenchmark((name + "encode/" + on).c_str(), encode, &scheme, false, size,
                                     t);
        if (scheme.uses_importance)
          benchmark::RegisterBenchmark((name + "encode_importance/" + on).c_str(), encode, &scheme,
                                       true, size, t);
        benchmark::RegisterBenchmark((name + "decode/" + on).c_str(), decode, &scheme, size, t);
      }
  return 0;
}();

}  // namespace
