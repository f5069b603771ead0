// The library's verbs: quantize, inspect, compare. The command line is a thin layer over these.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "phiquant/error.h"
#include "phiquant/options.h"
#include "phiquant/report.h"

namespace phiquant {

// Asks a run to stop. Copies share one flag, so keep one and give the other to the run. May be used
// from any thread and, as the flag is lock-free, from a signal handler. A run that was asked to
// stop ends with Errc::cancelled and leaves no output; a token that was used stays so: take a new
// one.
class CancelToken {
 public:
  void request() const noexcept { flag_->store(true, std::memory_order_relaxed); }
  bool requested() const noexcept { return flag_->load(std::memory_order_relaxed); }

 private:
  static_assert(std::atomic<bool>::is_always_lock_free);
  std::shared_ptr<std::atomic<bool>> flag_ = std::make_shared<std::atomic<bool>>(false);
};

// How a caller follows a run, and stops it. Called from one thread at a time, once per piece of
// work; be quick.
struct Progress {
  // Returning false cancels, as the token does.
  std::function<bool(uint64_t done_bytes, uint64_t total_bytes)> update;
  std::function<void(const std::string& step)> step;  // "planning", "quantizing", "committing"
  CancelToken cancel = {};
};

// Plans from headers, then streams. The output is complete or untouched. Errors: usage (a request
// whose fields do not go together; the message names them as the command line does), io, corrupt,
// unsupported, verify, cancelled.
Result<QuantizeReport> quantize(const Request& request, const Progress& progress = {});

Result<InspectReport> inspect(const std::filesystem::path& path, bool follow_symlinks = false);

// B against A, tensor by tensor, dequantized, streaming. Each may be of any format that is read:
// ONNX, GenAI folders, checkpoints (their text part), GGUF files, MLX folders. `progress` counts
// the stored bytes of both.
Result<CompareReport> compare(const std::filesystem::path& a, const std::filesystem::path& b,
                              unsigned threads = 0, const Progress& progress = {});

}  // namespace phiquant
