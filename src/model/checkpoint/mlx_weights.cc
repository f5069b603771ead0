#include "model/checkpoint/mlx_weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "model/checkpoint/found_tensors.h"
#include "model/checkpoint/json_reader.h"
#include "quant/row_scheme.h"

namespace phiquant {
namespace {

constexpr uint64_t kMaxConfigBytes = 4'000'000;
constexpr std::string_view kWeight = ".weight", kScales = ".scales", kBiases = ".biases";

// The last dimension of a tensor of that name; 0: the architecture has none.
uint64_t width_of(const Architecture& arch, const Decoder& decoder, const std::string& name) {
  for (const auto& rules : {arch.tensors, arch.alternatives})
    for (const TensorRule& rule : rules) {
      if (!match_name(rule.pattern, name)) continue;
      Dim last = Dim::none;
      for (const Dim dim : rule.dims.d)
        if (dim != Dim::none) last = dim;
      return dim_size(last, decoder);
    }
  return 0;
}

struct Mode {
  const RowScheme* scheme = nullptr;
  RowParams params;
};

uint64_t rows_of(const Shape& shape) {
  return element_count(Shape(shape.begin(), shape.end() - 1)).value_or(0);
}

// One quantized module.
class Module {
 public:
  Module(const FoundTensor& codes, const FoundTensor* scales, const FoundTensor* biases)
      : codes_(codes), scales_(scales), biases_(biases) {}

  Result<FoundTensor> join(uint64_t width, const std::optional<ConfigView>& stated) const;

 private:
  Result<Mode> mode(uint64_t width) const;
  Result<void> check_stated(const Mode& mode, const ConfigView& stated) const;
  Result<void> check_part(const FoundTensor& part, DType dtype, const Shape& shape) const;

  const FoundTensor& codes_;
  const FoundTensor *scales_, *biases_;
};

Result<Mode> Module::mode(uint64_t width) const {
  const Shape &codes = codes_.entry.shape, &groups = scales_->entry.shape;
  const auto bad = [&](Errc code, const char* wanted) {
    return error_of(code, codes_,
                    fmt::format("shape {} with scales {} for rows of {}: {}", shape_string(codes),
                                shape_string(groups), width, wanted));
  };
  if (codes.size() < 2 || codes.size() != groups.size() || width == 0 || codes.back() == 0 ||
      groups.back() == 0 || codes.back() > width || width % groups.back() != 0 ||
      codes.back() * 32 % width != 0)
    return bad(Errc::corrupt, "no whole number of bits and values in a group");
  const uint64_t bits = codes.back() * 32 / width, group = width / groups.back();
  const bool is_fp = scales_->entry.dtype == DType::u8;
  std::string_view name = "affine";
  if (is_fp) name = bits == 8 ? "mxfp8" : group == 16 ? "nvfp4" : "mxfp4";
  const bool known =
      is_fp ? (bits == 4 && (group == 16 || group == 32)) || (bits == 8 && group == 32)
            : bits >= 2 && bits <= 8 && bits != 7 && (group == 32 || group == 64 || group == 128);
  if (!known)
    return error_of(Errc::unsupported, codes_,
                    fmt::format("{} bits in groups of {} ({} scales) are no mode that is read "
                                "(affine with 2, 3, 4, 5, 6 or 8 bits in groups of 32, 64 or 128, "
                                "mxfp4, nvfp4, mxfp8)",
                                bits, group, dtype_name(scales_->entry.dtype)));
  Mode mode{find_row_scheme(RowFamily::mlx, name),
            {static_cast<unsigned>(bits), static_cast<uint32_t>(group), DType::f32}};
  if (!mode.scheme) return error_of(Errc::unsupported, codes_, "the mode is not in this build");
  if (!is_fp) mode.params.scale_dtype = scales_->entry.dtype;
  return mode;
}

Result<void> Module::check_stated(const Mode& mode, const ConfigView& stated) const {
  PHIQUANT_ASSIGN(const auto bits, stated.optional_count("bits", 64));
  PHIQUANT_ASSIGN(const auto group, stated.optional_count("group_size", 65536));
  PHIQUANT_ASSIGN(const auto name, stated.optional_text("mode"));
  if ((!bits || *bits == mode.params.bits) && (!group || *group == mode.params.group_size) &&
      name.value_or("affine") == mode.scheme->name)
    return {};
  return error_of(
      Errc::corrupt, codes_,
      fmt::format("is {} with {} bits in groups of {}, config.json says {} with {} bits in groups "
                  "of {}",
                  mode.scheme->name, mode.params.bits, mode.params.group_size,
                  printable(name.value_or("affine")), bits.value_or(mode.params.bits),
                  group.value_or(mode.params.group_size)));
}

Result<void> Module::check_part(const FoundTensor& part, DType dtype, const Shape& shape) const {
  if (part.entry.dtype == dtype && part.entry.shape == shape) return {};
  return error_of(
      Errc::corrupt, part,
      fmt::format("is {} {}, wanted {} {}", dtype_name(part.entry.dtype),
                  shape_string(part.entry.shape), dtype_name(dtype), shape_string(shape)));
}

Result<FoundTensor> Module::join(uint64_t width, const std::optional<ConfigView>& stated) const {
  if (!scales_) return error_of(Errc::corrupt, codes_, "its .scales are missing");
  PHIQUANT_ASSIGN(const Mode m, mode(width));
  if (stated) PHIQUANT_TRY(check_stated(m, *stated));
  Shape shape = codes_.entry.shape, groups = shape;
  shape.back() = width;
  groups.back() = width / m.params.group_size;
  const bool affine = m.params.bits != 0 && scales_->entry.dtype != DType::u8;
  if (affine && !is_weight_float(scales_->entry.dtype))
    return error_of(Errc::unsupported, *scales_,
                    fmt::format("{} scales are not read", dtype_name(scales_->entry.dtype)));
  PHIQUANT_TRY(check_part(*scales_, scales_->entry.dtype, groups));
  if (affine != (biases_ != nullptr))
    return error_of(Errc::corrupt, codes_,
                    affine ? "its .biases are missing" : "has .biases, which its mode has not");
  if (affine) PHIQUANT_TRY(check_part(*biases_, scales_->entry.dtype, groups));
  const auto n = element_count(shape);
  if (!n || *n > UINT64_MAX / 4) return error_of(Errc::corrupt, codes_, "has too many values");
  std::vector<std::shared_ptr<const ByteSource>> planes = {bytes_of(codes_), bytes_of(*scales_)};
  if (affine) planes.push_back(bytes_of(*biases_));
  FoundTensor out = codes_;
  out.entry.dtype = DType::f32;
  out.entry.shape = shape;
  out.bytes = decoded_rows(codes_.entry.name, shape, *m.scheme, m.params, std::move(planes)).bytes;
  out.place.codes =
      affine ? fmt::format("{}{} group {}", m.scheme->name, m.params.bits, m.params.group_size)
             : std::string(m.scheme->name);
  for (const FoundTensor* part : {scales_, biases_})
    if (part) out.place.size_bytes += part->place.size_bytes;
  out.place.n_rows = rows_of(shape);
  return out;
}

// What config.json says of one module, or else of all.
Result<std::optional<ConfigView>> stated_mode(const ConfigView& all, const std::string& path) {
  const auto* own = all.find(path);
  if (!own) return std::optional<ConfigView>();  // the shapes say it, as in mlx_lm
  if (own->is_boolean()) return std::optional<ConfigView>();
  return all.section(path);
}

}  // namespace

bool looks_like_mlx(const std::filesystem::path& path) {
  if (!looks_like_checkpoint(path)) return false;
  CheckpointFolder folder(path, true);
  const auto text = folder.read_text("config.json", kMaxConfigBytes);
  if (!text) return false;
  const auto config = parse_json("config.json", *text);
  if (!config || !config->is_object()) return false;
  const auto section = config->find("quantization");
  return section != config->end() && section->is_object() && section->contains("bits");
}

Result<std::optional<ConfigView>> mlx_quantization(const ConfigView& config) {
  PHIQUANT_ASSIGN(auto section, config.section("quantization"));
  if (!section || section->has("quant_method")) return std::optional<ConfigView>();
  PHIQUANT_TRY(section->count("bits", 64));
  PHIQUANT_TRY(section->optional_count("group_size", 65536));
  PHIQUANT_TRY(section->optional_text("mode"));
  return section;
}

Result<void> join_mlx_tensors(const Architecture& arch, const Decoder& decoder,
                              const ConfigView& quantization, std::vector<FoundTensor>& found) {
  TensorParts parts(found);
  const auto part = [&](const std::string& path, std::string_view suffix) {
    return parts.take(path + std::string(suffix));
  };
  std::vector<FoundTensor> joined;
  for (const FoundTensor& tensor : found) {
    const std::string& name = tensor.entry.name;
    if (tensor.entry.dtype != DType::u32 || !name.ends_with(kWeight)) continue;
    const uint64_t width = width_of(arch, decoder, name);
    if (width == 0) continue;  // left for the check of names
    const std::string path = name.substr(0, name.size() - kWeight.size());
    PHIQUANT_ASSIGN(const auto stated, stated_mode(quantization, path));
    const Module module(tensor, part(path, kScales), part(path, kBiases));
    PHIQUANT_ASSIGN(FoundTensor one, module.join(width, stated));
    (void)part(path, kWeight);
    joined.push_back(std::move(one));
  }
  parts.add_rest(joined);
  found = std::move(joined);
  return {};
}

}  // namespace phiquant
