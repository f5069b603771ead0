#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/task_arena.h>

#include "core/cancel.h"
#include "format/onnx_format.h"
#include "model/onnx_loader.h"
#include "phiquant/convert.h"
#include "pipeline/chunks.h"
#include "pipeline/tensor_error.h"
#include "pipeline/tile_reader.h"
#include "quant/kernels.h"

namespace phiquant {
namespace {

struct Readers {
  TileReader a, b;
  std::vector<float> x, y;
};

struct Part {
  size_t pair;
  Region region;
  quant::ErrorSums sums;
};

struct Pair {
  const NamedWeight* a;
  const NamedWeight* b;
};

// Regions of about 1 M values, whole columns where K allows.
void cut(size_t pair, const WeightSource& w, std::vector<Part>& parts) {
  constexpr uint64_t kRows = 256, kCols = 4096;
  for (uint64_t k = 0; k < w.k; k += kRows)
    for (uint64_t n = 0; n < w.n; n += kCols)
      parts.push_back({pair, {k, std::min(k + kRows, w.k), n, std::min(n + kCols, w.n)}, {}});
}

Result<void> measure(const Pair& pair, Part& part, Readers& r) {
  const Region& region = part.region;
  const size_t count = region.rows() * region.cols();
  r.x.resize(std::max(r.x.size(), count));
  r.y.resize(std::max(r.y.size(), count));
  PHIQUANT_TRY(r.a.begin(pair.a->source, region));
  PHIQUANT_TRY(r.a.tile(region.k0, region.k1, r.x.data()));
  PHIQUANT_TRY(r.b.begin(pair.b->source, region));
  PHIQUANT_TRY(r.b.tile(region.k0, region.k1, r.y.data()));
  quant::error_sums(r.x.data(), r.y.data(), region.cols(), region.rows(), region.cols(), part.sums);
  return {};
}

// As the file has it where it has it as one tensor; otherwise K x N.
Shape stored_shape(const WeightSource& w) {
  if (const auto* dense = std::get_if<DenseStorage>(&w.storage)) return dense->data.shape;
  const auto& blocks = std::get<BlockStorage>(w.storage);
  return blocks.packing == Packing::nbits ? Shape{w.k, w.n} : blocks.codes.shape;
}

}  // namespace

Result<CompareReport> compare(const std::filesystem::path& a, const std::filesystem::path& b,
                              unsigned threads, const Progress& progress) {
  PHIQUANT_ASSIGN(const OnnxModel model_a, load_onnx(a));
  PHIQUANT_ASSIGN(const OnnxModel model_b, load_onnx(b));
  const std::vector<NamedWeight> weights_a = onnx_weights(model_a),
                                 weights_b = onnx_weights(model_b);

  CompareReport report;
  std::map<std::string, const NamedWeight*> by_name;
  for (const NamedWeight& w : weights_b) by_name.emplace(w.source.name, &w);
  std::vector<Pair> pairs;
  for (const NamedWeight& w : weights_a) {
    const auto found = by_name.find(w.source.name);
    if (found == by_name.end()) {
      report.only_a.push_back(w.source.name);
      continue;
    }
    const WeightSource& other = found->second->source;
    if (other.k != w.source.k || other.n != w.source.n)
      return Error{Errc::verify,
                   fmt::format("tensor '{}': [{}, {}] in {}, [{}, {}] in {} (not the same model)",
                               w.source.name, w.source.k, w.source.n, a.string(), other.k, other.n,
                               b.string())};
    pairs.push_back({&w, found->second});
    by_name.erase(found);
  }
  for (const auto& [name, w] : by_name) report.only_b.push_back(name);
  if (pairs.empty())
    return Error{Errc::verify,
                 fmt::format("{} and {} have no weight name in common", a.string(), b.string())};

  std::vector<Part> parts;
  for (size_t p = 0; p < pairs.size(); ++p) cut(p, pairs[p].a->source, parts);
  tbb::enumerable_thread_specific<Readers> readers;
  std::vector<Result<void>> results(parts.size());
  tbb::task_arena arena(static_cast<int>(chunk_limits({threads, 0, true}).workers));
  arena.execute([&] {
    tbb::parallel_for(size_t{0}, parts.size(), [&](size_t i) {
      if (cancelled())
        results[i] = Error{Errc::cancelled, "interrupted"};
      else
        results[i] = measure(pairs[parts[i].pair], parts[i], readers.local());
    });
  });
  for (auto& result : results) PHIQUANT_TRY(std::move(result));
  if (progress.update) progress.update(parts.size(), parts.size());

  std::vector<quant::ErrorSums> sums(pairs.size());
  for (const Part& part : parts) sums[part.pair].add(part.sums);
  quant::ErrorSums total;
  for (size_t p = 0; p < pairs.size(); ++p) {
    const auto& [wa, wb] = pairs[p];
    report.rows.push_back({wa->source.name, wa->description, wb->description,
                           stored_shape(wa->source), tensor_error(sums[p])});
    total.add(sums[p]);
  }
  report.total_sqnr_db = tensor_error(total).sqnr_db;
  return report;
}

}  // namespace phiquant
