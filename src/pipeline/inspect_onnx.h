// The part of inspect that is about ONNX graphs.
#pragma once

#include <filesystem>

#include "phiquant/error.h"
#include "phiquant/report.h"
#include "pipeline/inspect_use.h"

namespace phiquant {

// Errors: those of load_onnx().
Result<InspectReport> inspect_onnx(const std::filesystem::path& path, bool follow_symlinks);

}  // namespace phiquant
