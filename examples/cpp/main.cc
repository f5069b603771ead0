// Quantizes a model to int4, shows progress, stops at Ctrl-C or after a time, and prints the
// tensors that lost most.
//
//   quantize_a_folder IN OUT [SECONDS]
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <phiquant/phiquant.h>

namespace {

// Made before main(), so that the handler finds it whole.
const phiquant::CancelToken stop;

extern "C" void on_signal(int) { stop.request(); }

void print_worst(const phiquant::QuantizeReport& report) {
  std::vector<const phiquant::ReportRow*> rows;
  for (const phiquant::ReportRow& row : report.rows)
    if (row.error) rows.push_back(&row);
  const size_t n = std::min<size_t>(rows.size(), 5);
  std::partial_sort(
      rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(n), rows.end(),
      [](const auto* a, const auto* b) { return a->error->sqnr_db < b->error->sqnr_db; });
  for (size_t i = 0; i < n; ++i)
    std::printf("%6.2f dB  %s, %u bits\n", rows[i]->error->sqnr_db, rows[i]->tensor.c_str(),
                rows[i]->bits);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("usage: quantize_a_folder IN OUT [SECONDS]\n", stderr);
    return 2;
  }
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);

  phiquant::Request request;
  request.source.path = argv[1];
  request.output.path = argv[2];
  request.recipe.precision = phiquant::Precision::int4;

  using Clock = std::chrono::steady_clock;
  const bool has_deadline = argc > 3;
  const auto deadline =
      Clock::now() + std::chrono::duration<double>(has_deadline ? std::atof(argv[3]) : 0);
  phiquant::Progress progress;
  progress.cancel = stop;
  progress.step = [](const std::string& step) { std::fprintf(stderr, "%s\n", step.c_str()); };
  progress.update = [&](uint64_t done, uint64_t total) {
    std::fprintf(stderr, "\r%3.0f%%%s",
                 total ? 100.0 * static_cast<double>(done) / static_cast<double>(total) : 100.0,
                 done == total ? "\n" : "");
    return !has_deadline || Clock::now() < deadline;  // false cancels, as the token does
  };

  const auto report = phiquant::quantize(request, progress);
  if (!report) {
    std::fprintf(stderr, "%s\n", report.error().message.c_str());
    return phiquant::exit_code(report.error().code);
  }
  for (const std::string& warning : report->warnings)
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  std::printf("%llu bytes of weights became %llu\n",
              static_cast<unsigned long long>(report->input_bytes),
              static_cast<unsigned long long>(report->output_bytes));
  print_worst(*report);
  return 0;
}
