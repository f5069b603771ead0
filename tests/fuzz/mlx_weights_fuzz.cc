// Any tensors and any config.json section as an MLX folder: refused, or floats of the right size
// that can be read.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "fuzz/require.h"
#include "model/arch/arch.h"
#include "model/checkpoint/json_reader.h"
#include "model/checkpoint/mlx_weights.h"
#include "model/checkpoint/safetensors.h"

namespace {

constexpr uint64_t kFileBytes = uint64_t{1} << 20;

// A file of zeros, as large as any header here can point to.
std::shared_ptr<const phiquant::InputFile> zeros() {
  static const auto file = [] {
    std::string name =
        (std::filesystem::temp_directory_path() / "mlx-weights-fuzz-XXXXXX").string();
    const int fd = ::mkstemp(name.data());
    phiquant::require(fd >= 0 && ::ftruncate(fd, kFileBytes) == 0, "a temporary file");
    ::close(fd);
    auto opened = phiquant::InputFile::open(name);
    phiquant::require(opened.has_value(), "that opens");
    ::unlink(name.c_str());
    return *opened;
  }();
  return file;
}

phiquant::Decoder decoder(bool moe) {
  phiquant::Decoder d;
  d.n_layers = 2;
  d.hidden = 64;
  d.n_heads = d.n_kv_heads = 2;
  d.head_size = 32;
  d.ffn = 96;
  d.vocab = 128;
  if (moe) d.moe = phiquant::MoE{4, 2, 0.01f};
  return d;
}

}  // namespace

// A byte for the architecture, three for the size of the data, the section's text, a line feed, the
// text of a safetensors header.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kHead = 4;
  if (size < kHead) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + kHead, size - kHead);
  const size_t cut = text.find('\n');
  if (cut == std::string_view::npos) return 0;
  const std::string section_text = fmt::format("{{\"quantization\": {}}}", text.substr(0, cut));
  const auto json = phiquant::parse_json("config.json", section_text);
  if (!json || !json->is_object()) return 0;
  const auto section = phiquant::mlx_quantization(phiquant::ConfigView(*json, "config.json"));
  if (!section || !*section) return 0;
  const uint64_t begin = 64, n_data = data[1] | uint64_t{data[2]} << 8 | uint64_t{data[3]} << 16;
  if (n_data > kFileBytes - begin) return 0;
  auto entries =
      phiquant::parse_safetensors_header("f", text.substr(cut + 1), begin, begin + n_data);
  if (!entries) return 0;
  std::vector<phiquant::FoundTensor> found;
  for (auto& entry : *entries) found.push_back({std::move(entry), zeros()});
  const auto& arch = phiquant::architectures()[data[0] % 3];
  const auto d = decoder(data[0] % 3 == 2);
  const auto joined = phiquant::join_mlx_tensors(arch, d, **section, found);
  if (!joined) {
    phiquant::require(!joined.error().message.empty(), "errors say something");
    return 0;
  }
  for (const auto& t : found) {
    if (!t.bytes) continue;
    const auto wanted = phiquant::tensor_bytes(t.entry.dtype, t.entry.shape);
    phiquant::require(wanted && t.bytes->size_bytes() == *wanted, "floats fill their shape");
    std::byte last[4];
    if (*wanted >= 4)
      phiquant::require(t.bytes->read(*wanted - 4, last).has_value(), "the last one reads");
  }
  return 0;
}
