// What one command line asks for. Filled by parse.cc from the option table; nothing acts before it
// is complete.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "phiquant/phiquant.h"

namespace phiquant::cli {

enum class Verb : unsigned { none, quantize, inspect, compare, list };

enum class ColorMode { automatic, always, never };

enum class HelpMode { none, brief, full };

struct Invocation {
  Verb verb = Verb::none;
  std::vector<std::string> operands;  // IN; FILE; A B

  // quantize; settled (format/legality.h) once the command line is parsed.
  Request quantize;
  bool symmetric_given = false, asymmetric_given = false;
  std::filesystem::path report;  // empty: none

  // compare
  std::optional<double> fail_below_sqnr_db;

  // every verb
  bool json = false;
  bool quiet = false;
  bool verbose = false;
  std::optional<bool> progress;  // empty: only on a terminal
  ColorMode color = ColorMode::automatic;
  HelpMode help = HelpMode::none;
  bool version = false;
  std::string generate;  // "man", "bash", "zsh", "fish"; empty: none
};

}  // namespace phiquant::cli
