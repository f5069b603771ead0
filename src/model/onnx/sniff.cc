#include "model/onnx/sniff.h"

#include <initializer_list>
#include <string_view>

namespace phiquant {
namespace {

struct Signature {
  size_t offset;
  std::string_view magic;
  const char* message;
};

using namespace std::string_view_literals;

constexpr Signature kSignatures[] = {
    {0, "version https://git-lfs"sv,
     "this is a Git LFS pointer, not the model (run `git lfs pull`)"},
    {0, "GGUF"sv, "this is a GGUF file (wanted an ONNX model)"},
    {0, "PK\x03\x04"sv,
     "this is a zip archive, perhaps a PyTorch checkpoint (unpack it, or export the model to "
     "ONNX)"},
    {0, "\x80\x02"sv,
     "this is a Python pickle, perhaps a PyTorch checkpoint (export the model to ONNX)"},
    {0, "\x80\x04\x95"sv, "this is a Python pickle (export the model to ONNX)"},
    {4, "ORTM"sv,
     "this is a model in ONNX Runtime's ORT format (wanted the ONNX model that it was made from)"},
    {4, "TFL3"sv, "this is a TensorFlow Lite model (export the model to ONNX)"},
    {0, "\x1f\x8b"sv, "this is a gzip file (unpack it first)"},
    {0, "\x28\xb5\x2f\xfd"sv, "this is a zstd file (unpack it first)"},
    {0, "\x89HDF"sv, "this is an HDF5 file, perhaps a Keras model (export the model to ONNX)"},
    {8, "{"sv, "this is a safetensors file (wanted an ONNX model)"},
};

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> words) {
  for (const std::string_view word : words)
    if (text.starts_with(word)) return true;
  return false;
}

}  // namespace

std::optional<std::string> not_onnx_because(std::span<const std::byte> head) {
  std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  if (text.empty()) return "the file is empty (incomplete download?)";
  // Before the late signatures stands a little-endian number with a zero at its top. An ONNX file
  // whose producer is called like a signature has the name's length there.
  for (const Signature& s : kSignatures)
    if (text.size() > s.offset && text.substr(s.offset).starts_with(s.magic) &&
        (s.offset == 0 || text[s.offset - 1] == 0))
      return s.message;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  // Bytes 10 and 13 are also tags of a ModelProto's field 1, so only runs of them followed by text
  // count.
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return "the file holds only white space";
  text.remove_prefix(first);
  if (starts_with_any(text, {"<!DOCTYPE", "<!doctype", "<html", "<HTML", "<head", "<HEAD"}))
    return "this is an HTML page, not the model (a download that ended at a login or error page?)";
  if (starts_with_any(text, {"<?xml", "<net "}))
    return "this is an XML file, perhaps OpenVINO IR (wanted an ONNX model)";
  if (starts_with_any(text, {"<ir_version", "ir_version:", "graph {", "producer_name:"}))
    return "this is ONNX in text form (save it in binary form, with onnx.save)";
  if (text.front() == '{') return "this is a JSON file (wanted an ONNX model)";
  return std::nullopt;
}

}  // namespace phiquant
