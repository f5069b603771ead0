#include "model/checkpoint/not_weights.h"

#include <array>

namespace phiquant {
namespace {

struct Signature {
  std::string_view magic;
  const char* message;
};

using namespace std::string_view_literals;

constexpr std::array kSignatures = {
    Signature{"version https://git-lfs"sv,
              "this is a Git LFS pointer, not the file (run `git lfs pull`)"},
    Signature{"PK\x03\x04"sv,
              "this is a zip archive, perhaps pickled PyTorch weights (wanted safetensors)"},
    Signature{"\x80\x02"sv, "this is a Python pickle (wanted safetensors)"},
    Signature{"GGUF"sv, "this is a GGUF file (wanted safetensors)"},
    Signature{"<!DOCTYPE"sv,
              "this is an HTML page (a download that ended at a login or error page?)"},
    Signature{"<!doctype"sv,
              "this is an HTML page (a download that ended at a login or error page?)"},
    Signature{"<html"sv, "this is an HTML page (a download that ended at a login or error page?)"},
};

}  // namespace

std::optional<std::string> not_weights_because(std::string_view head) {
  if (head.empty()) return "the file is empty (incomplete download?)";
  for (const Signature& s : kSignatures)
    // A safetensors file begins with the length of its header: four zero bytes at its upper end,
    // below the cap.
    if (head.starts_with(s.magic) && !(head.size() >= 9 && head.substr(4, 5) == "\0\0\0\0{"sv))
      return s.message;
  return std::nullopt;
}

}  // namespace phiquant
