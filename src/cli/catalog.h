// What `phiquant list` shows, as plain rows for the table and for JSON.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "phiquant/error.h"

namespace phiquant::cli {

struct SchemeLine {
  std::string_view name;
  std::vector<std::string_view> precisions;  // that --scheme NAME goes with
  bool symmetric, asymmetric;                // both false: floats
  bool blocks;                               // --block-size applies
  std::string_view summary;
  std::string_view format = "onnx";  // that it is for; onnx stands for genai too
};
struct FormatLine {
  std::string_view name, summary;
};
struct SimdLine {
  std::string_view name;
  bool active;
};

std::vector<SchemeLine> scheme_lines();
std::vector<FormatLine> format_lines();
std::vector<SimdLine> simd_lines();

// Applies the environment variable PHIQUANT_SIMD. Error usage: unknown or not offered by this CPU,
// with those that are.
Result<void> apply_simd_variable();

}  // namespace phiquant::cli
