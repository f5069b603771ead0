// Text of an option to a value. Errors are usage errors that say what was wanted; the caller adds
// the option's name.
#pragma once

#include <cstdint>
#include <string_view>

#include "phiquant/error.h"

namespace phiquant::cli {

// A whole number in [low, high]; no sign, no blanks, no trailing text.
Result<uint64_t> parse_count(std::string_view text, uint64_t low, uint64_t high);

// A finite decimal number, perhaps negative: "20", "-3.5".
Result<double> parse_decimal(std::string_view text);

// Bytes: a number, perhaps with a fraction, and a unit. K, M, G, T (or KB, MB, ...) are powers of
// 1000; Ki, Mi, Gi, Ti (or KiB, MiB, ...) powers of 1024. Upper and lower case are the same.
// "400M", "1.5GiB", "0".
Result<uint64_t> parse_size(std::string_view text);

// "true" or "false".
Result<bool> parse_flag(std::string_view text);

}  // namespace phiquant::cli
