// The library's verbs: quantize, inspect, compare. The command line is a thin layer over these.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "phiquant/error.h"
#include "phiquant/options.h"
#include "phiquant/report.h"

namespace phiquant {

// Called from one thread at a time, at most every few milliseconds; returning false cancels.
struct Progress {
  std::function<bool(uint64_t done_bytes, uint64_t total_bytes)> update;
  std::function<void(const std::string& step)> step;  // "reading", "planning", ...
};

// Plans from headers, then streams. The output is complete or untouched.
Result<QuantizeReport> quantize(const Request& request, const Progress& progress = {});

Result<InspectReport> inspect(const std::filesystem::path& path, bool follow_symlinks = false);

// B against A, tensor by tensor, dequantized, streaming. Each may be of any format that is read:
// ONNX, GenAI folders, checkpoints (their text part), GGUF files, MLX folders.
Result<CompareReport> compare(const std::filesystem::path& a, const std::filesystem::path& b,
                              unsigned threads = 0, const Progress& progress = {});

}  // namespace phiquant
