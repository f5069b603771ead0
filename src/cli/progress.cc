#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "cli/terminal.h"
#include "cli/text.h"

namespace phiquant::cli {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(170);  // a little under six updates a second

std::string clock_text(double seconds) {
  const uint64_t s = static_cast<uint64_t>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

std::string progress_line(std::string_view step, uint64_t done_bytes, uint64_t total_bytes,
                          double seconds, size_t width) {
  const double share =
      total_bytes == 0
          ? 1
          : std::min(1.0, static_cast<double>(done_bytes) / static_cast<double>(total_bytes));
  std::string tail = fmt::format("{:3.0f}%  {} of {}", share * 100, human_bytes(done_bytes),
                                 human_bytes(total_bytes));
  if (seconds >= 0.5 && done_bytes > 0) {
    const double rate = static_cast<double>(done_bytes) / seconds;
    tail += fmt::format(
        "  {}/s  {} left", human_bytes(static_cast<uint64_t>(rate)),
        clock_text(static_cast<double>(total_bytes - std::min(done_bytes, total_bytes)) / rate));
  }
  const size_t used = step.size() + tail.size() + 5;
  const size_t cells = std::min<size_t>(30, width > used ? width - used : 0);
  std::string line(step);
  if (cells >= 5) {
    const size_t full = static_cast<size_t>(share * static_cast<double>(cells));
    line += " [" + std::string(full, '#') + std::string(cells - full, '-') + "]";
  }
  line += " " + tail;
  return line.substr(0, width > 0 ? width - 1 : 0);
}

Progress ProgressBar::callbacks() {
  Progress progress;
  progress.step = [this](const std::string& name) { step(name); };
  progress.update = [this](uint64_t done, uint64_t total) {
    update(done, total);
    return true;
  };
  progress.cancel = stop_token();
  return progress;
}

void ProgressBar::step(const std::string& name) {
  step_ = name;
  step_began_ = Clock::now();
  last_drawn_ = {};
  if (draw_)
    show(step_);
  else
    spdlog::info("{}", name);
}

void ProgressBar::update(uint64_t done_bytes, uint64_t total_bytes) {
  if (!draw_) return;
  const Clock::time_point now = Clock::now();
  if (now - last_drawn_ < kInterval) return;
  last_drawn_ = now;
  show(progress_line(step_, done_bytes, total_bytes,
                     std::chrono::duration<double>(now - step_began_).count(), terminal_width()));
}

void ProgressBar::show(const std::string& line) {
  const std::string text = "\r" + line + "\x1b[K";
  drawn_ = true;
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0)
    draw_ = false;  // stderr is gone: stay silent
}

void ProgressBar::clear() {
  if (!drawn_) return;
  drawn_ = false;
  constexpr std::string_view kWipe = "\r\x1b[K";
  if (::write(STDERR_FILENO, kWipe.data(), kWipe.size()) < 0) draw_ = false;
}

}  // namespace phiquant::cli
