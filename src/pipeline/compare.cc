#include <algorithm>
#include <atomic>

#include <oneapi/tbb/enumerable_thread_specific.h>
#include <oneapi/tbb/parallel_pipeline.h>
#include <oneapi/tbb/task_arena.h>

#include "phiquant/phiquant.h"
#include "pipeline/chunks.h"
#include "pipeline/tensor_error.h"
#include "pipeline/tile_reader.h"
#include "pipeline/weight_pairs.h"
#include "pipeline/weights.h"
#include "quant/kernels.h"

namespace phiquant {
namespace {

struct Readers {
  TileReader a, b;
  std::vector<float> x, y;
};

struct Part {
  size_t pair;
  Region region;   // columns count from the first of each part
  uint64_t bytes;  // stored, of both sides
  quant::ErrorSums sums;
};

// What a region is of the stored bytes of its weight.
uint64_t share_of(const NamedWeight& w, const Region& region) {
  return w.size_bytes * (region.rows() * region.cols()) / (w.source.k * w.source.n);
}

// Regions of about 1 M values, whole columns where K allows.
void cut(size_t index, const WeightPair& pair, std::vector<Part>& parts) {
  constexpr uint64_t kRows = 256, kCols = 4096;
  const uint64_t n_rows = pair.a.weight->source.k;
  for (uint64_t k = 0; k < n_rows; k += kRows)
    for (uint64_t n = 0; n < pair.a.n; n += kCols) {
      const Region region{k, std::min(k + kRows, n_rows), n, std::min(n + kCols, pair.a.n)};
      const uint64_t bytes = share_of(*pair.a.weight, region) + share_of(*pair.b.weight, region);
      parts.push_back({index, region, bytes, {}});
    }
}

Result<void> read(const WeightPart& w, const Region& region, TileReader& reader, float* out) {
  const Region at{region.k0, region.k1, w.n0 + region.n0, w.n0 + region.n1};
  PHIQUANT_TRY(reader.begin(w.weight->source, at));
  return reader.tile(at.k0, at.k1, out);
}

Result<void> measure(const WeightPair& pair, Part& part, Readers& r) {
  const Region& region = part.region;
  const size_t count = region.rows() * region.cols();
  r.x.resize(std::max(r.x.size(), count));
  r.y.resize(std::max(r.y.size(), count));
  PHIQUANT_TRY(read(pair.a, region, r.a, r.x.data()));
  PHIQUANT_TRY(read(pair.b, region, r.b, r.y.data()));
  quant::error_sums(r.x.data(), r.y.data(), region.cols(), region.rows(), region.cols(), part.sums);
  return {};
}

Shape shape_of(const WeightPart& part) {
  const NamedWeight& w = *part.weight;
  if (part.is_whole()) return w.shape;
  return w.shape.size() == 1 ? Shape{part.n} : Shape{part.n, w.source.k};
}

// Measures all parts, on all workers.
Result<void> measure_all(const std::vector<WeightPair>& pairs, std::vector<Part>& parts,
                         unsigned threads, const Progress& progress) {
  uint64_t total = 0;
  for (const Part& part : parts) total += part.bytes;
  std::atomic<uint64_t> done{0};
  std::atomic<bool> failed{false};
  std::vector<Result<void>> results(parts.size());
  tbb::enumerable_thread_specific<Readers> readers;
  bool stopped = false;
  size_t next = 0;
  // The feeder is serial, as it may call the user back.
  const auto feed = [&](tbb::flow_control& control) -> size_t {
    stopped = (progress.update && !progress.update(done, total)) || progress.cancel.requested();
    if (stopped || failed || next == parts.size()) {
      control.stop();
      return 0;
    }
    return next++;
  };
  const auto work = [&](size_t i) {
    results[i] = measure(pairs[parts[i].pair], parts[i], readers.local());
    if (!results[i]) failed = true;
    done += parts[i].bytes;
  };
  const size_t workers = chunk_limits({threads, 0, true}).workers;
  tbb::task_arena arena(static_cast<int>(workers));
  arena.execute([&] {
    tbb::parallel_pipeline(2 * workers,
                           tbb::make_filter<void, size_t>(tbb::filter_mode::serial_in_order, feed) &
                               tbb::make_filter<size_t, void>(tbb::filter_mode::parallel, work));
  });
  for (auto& result : results) PHIQUANT_TRY(std::move(result));
  if (stopped) return Error{Errc::cancelled, "interrupted"};
  if (progress.update) progress.update(total, total);
  return {};
}

}  // namespace

Result<CompareReport> compare(const std::filesystem::path& a, const std::filesystem::path& b,
                              unsigned threads, const Progress& progress) {
  PHIQUANT_ASSIGN(const ModelWeights model_a, open_weights(a));
  PHIQUANT_ASSIGN(const ModelWeights model_b, open_weights(b));
  PHIQUANT_ASSIGN(WeightPairs matched, pair_weights(model_a, model_b));
  const std::vector<WeightPair>& pairs = matched.pairs;
  CompareReport report;
  report.only_a = std::move(matched.only_a);
  report.only_b = std::move(matched.only_b);

  std::vector<Part> parts;
  for (size_t p = 0; p < pairs.size(); ++p) cut(p, pairs[p], parts);
  PHIQUANT_TRY(measure_all(pairs, parts, threads, progress));

  std::vector<quant::ErrorSums> sums(pairs.size());
  for (const Part& part : parts) sums[part.pair].add(part.sums);
  quant::ErrorSums total;
  for (size_t p = 0; p < pairs.size(); ++p) {
    const WeightPair& pair = pairs[p];
    report.rows.push_back({part_name(pair.a), pair.a.weight->description,
                           pair.b.weight->description, shape_of(pair.a), tensor_error(sums[p]),
                           part_name(pair.b)});
    total.add(sums[p]);
  }
  report.total_sqnr_db = tensor_error(total).sqnr_db;
  return report;
}

}  // namespace phiquant
