// The progress bar: one line on stderr, redrawn in place, at most six times a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "phiquant/phiquant.h"

namespace phiquant::cli {

// The text of a bar, `width` columns at most: "quantizing [####----] 42%  6.3 GB of 15.0 GB  1.9
// GB/s  0:04 left". `seconds` since the step began; rate and time left appear once they mean
// something.
std::string progress_line(std::string_view step, uint64_t done_bytes, uint64_t total_bytes,
                          double seconds, size_t width);

// Feeds the library's Progress. On a terminal (or with --progress) it draws; otherwise each step is
// one line. Not thread-safe: the library calls from one thread at a time.
class ProgressBar {
 public:
  // `draw`: show the bar. Steps are logged only where the bar is not drawn.
  // `step`: what a bar shows of a call that names no steps.
  explicit ProgressBar(bool draw, std::string step = "") : draw_(draw), step_(std::move(step)) {}
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Callbacks that refer to this object; a run with them stops once SIGINT or SIGTERM came.
  Progress callbacks();
  // Wipes the line, before other output.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;
  void step(const std::string& name);
  void update(uint64_t done_bytes, uint64_t total_bytes);
  void show(const std::string& line);

  bool draw_;
  bool drawn_ = false;
  std::string step_;
  Clock::time_point step_began_ = Clock::now();
  Clock::time_point last_drawn_ = {};
};

}  // namespace phiquant::cli
