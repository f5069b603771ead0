#include "model/checkpoint/fp8_weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/core.h>

#include "core/float8.h"
#include "core/sources.h"
#include "model/checkpoint/found_tensors.h"
#include "quant/numeric/cast_source.h"

namespace phiquant {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr uint64_t kDefaultBlock = 128;  // of transformers' fine-grained fp8
constexpr uint64_t kMaxBlock = 1 << 20;
constexpr uint64_t kRun = 16384;  // values decoded at a time

bool is_fp8(DType t) { return t == DType::f8e4m3 || t == DType::f8e5m2; }

std::array<float, 256> value_table(DType t) {
  std::array<float, 256> table;
  for (unsigned i = 0; i < table.size(); ++i) {
    const auto code = static_cast<uint8_t>(i);
    table[i] = t == DType::f8e4m3 ? f32_from_f8e4m3(code) : f32_from_f8e5m2(code);
  }
  return table;
}

// Of what quantizes activations or the KV cache at run time.
bool is_other_scale(const std::string& name) {
  constexpr std::string_view kEnds[] = {".input_scale", ".input_scale_ub", ".output_scale",
                                        ".q_scale",     ".k_scale",        ".v_scale"};
  return std::any_of(std::begin(kEnds), std::end(kEnds),
                     [&](std::string_view end) { return name.ends_with(end); });
}

// One factor for each block of rows x columns; [blocks of rows][blocks of columns].
struct Scales {
  std::vector<float> factors = {1.0f};
  uint64_t block_rows = UINT64_MAX, block_columns = UINT64_MAX;
  uint64_t blocks_a_row = 1;
};

class Fp8Source final : public ByteSource {
 public:
  // `columns`: values of a row.
  Fp8Source(std::shared_ptr<const ByteSource> codes, DType dtype, uint64_t columns, Scales scales)
      : codes_(std::move(codes)),
        table_(value_table(dtype)),
        columns_(columns),
        scales_(std::move(scales)) {}
  uint64_t size_bytes() const override { return codes_->size_bytes() * sizeof(float); }

  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    std::vector<std::byte> codes;
    std::vector<float> values;
    while (!out.empty()) {
      // Of the first and the last value perhaps a part was asked for.
      const uint64_t first = offset / sizeof(float), skip = offset % sizeof(float);
      const uint64_t wanted = (skip + out.size() + sizeof(float) - 1) / sizeof(float);
      const auto n = static_cast<size_t>(std::min(kRun, wanted));
      codes.resize(n);
      values.resize(n);
      PHIQUANT_TRY(codes_->read(first, codes));
      decode(codes, first, values.data());
      const size_t taken = std::min<size_t>(out.size(), n * sizeof(float) - skip);
      std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values.data()) + skip, taken);
      out = out.subspan(taken);
      offset += taken;
    }
    return {};
  }

 private:
  // Codes from flat index `first` on, in runs that share a factor.
  void decode(std::span<const std::byte> codes, uint64_t first, float* values) const {
    for (size_t i = 0; i < codes.size();) {
      const uint64_t row = (first + i) / columns_, column = (first + i) % columns_;
      const uint64_t block = column / scales_.block_columns;
      const float factor = scales_.factors[row / scales_.block_rows * scales_.blocks_a_row + block];
      const uint64_t rest = columns_ - column;
      const uint64_t run = std::min(rest, scales_.block_columns - column % scales_.block_columns);
      const size_t end = i + static_cast<size_t>(std::min<uint64_t>(run, codes.size() - i));
      for (; i < end; ++i) values[i] = table_[std::to_integer<uint8_t>(codes[i])] * factor;
    }
  }

  std::shared_ptr<const ByteSource> codes_;
  std::array<float, 256> table_;
  uint64_t columns_;
  Scales scales_;
};

struct Block {
  uint64_t rows = kDefaultBlock, columns = kDefaultBlock;
};

Result<Block> block_of(const ConfigView& config) {
  PHIQUANT_ASSIGN(const auto section, config.section("quantization_config"));
  const auto* sizes = section ? section->find("weight_block_size") : nullptr;
  if (!sizes || sizes->is_null()) return Block{};
  const auto is_size = [](const auto& v) {
    return v.is_number_unsigned() && v.template get<uint64_t>() >= 1 &&
           v.template get<uint64_t>() <= kMaxBlock;
  };
  if (!sizes->is_array() || sizes->size() != 2 || !is_size((*sizes)[0]) || !is_size((*sizes)[1]))
    return section->wrong("weight_block_size", fmt::format("two sizes of 1 to {}", kMaxBlock));
  return Block{(*sizes)[0].template get<uint64_t>(), (*sizes)[1].template get<uint64_t>()};
}

// How the factors of a weight lie, by their shape; none where it fits nothing.
std::optional<Scales> layout_of(const Shape& weight, const Shape& shape, const Block& block) {
  const auto ceil_div = [](uint64_t a, uint64_t b) { return a / b + (a % b != 0); };
  const uint64_t n = element_count(shape).value_or(0);
  Scales scales;
  if (n == 1 && shape.size() <= weight.size()) return scales;
  if (weight.size() != 2) return std::nullopt;
  if (n == weight[0] && (shape.size() == 1 || shape == Shape{n, 1})) {
    scales.block_rows = 1;
    return scales;
  }
  const Shape grid = {ceil_div(weight[0], block.rows), ceil_div(weight[1], block.columns)};
  if (shape != grid) return std::nullopt;
  scales.block_rows = block.rows;
  scales.block_columns = block.columns;
  scales.blocks_a_row = grid[1];
  return scales;
}

Result<Scales> read_scales(const FoundTensor& weight, const FoundTensor& scale,
                           const Block& block) {
  const SafetensorsEntry& e = scale.entry;
  auto scales = layout_of(weight.entry.shape, e.shape, block);
  if (!scales)
    return error_of(
        Errc::corrupt, scale,
        fmt::format("shape {}, wanted one factor, one for each row, or one for each {} x {} of {}",
                    shape_string(e.shape), block.rows, block.columns,
                    shape_string(weight.entry.shape)));
  if (!is_weight_float(e.dtype))
    return error_of(Errc::unsupported, scale,
                    fmt::format("{} scales are not read, wanted float32, float16 or bfloat16",
                                dtype_name(e.dtype)));
  const auto as_floats = cast_source({e.name, e.dtype, e.shape, bytes_of(scale)}, DType::f32);
  scales->factors.resize(static_cast<size_t>(as_floats.bytes->size_bytes() / sizeof(float)));
  PHIQUANT_TRY(as_floats.bytes->read(0, std::as_writable_bytes(std::span(scales->factors))));
  return std::move(*scales);
}

}  // namespace

Result<bool> describes_fp8(const ConfigView& quantization_config) {
  PHIQUANT_ASSIGN(const auto method, quantization_config.optional_text("quant_method"));
  if (method == "fp8" || method == "fbgemm_fp8") return true;
  if (method == "compressed-tensors") {
    PHIQUANT_ASSIGN(const auto format, quantization_config.optional_text("format"));
    return format == "float-quantized";
  }
  if (method == "modelopt") {
    PHIQUANT_ASSIGN(const auto algorithm, quantization_config.optional_text("quant_algo"));
    return algorithm == "FP8";
  }
  return false;
}

Result<std::vector<std::string>> join_fp8_tensors(const ConfigView& config,
                                                  std::vector<FoundTensor>& found) {
  std::vector<std::string> left_out;
  if (std::none_of(found.begin(), found.end(),
                   [](const FoundTensor& t) { return is_fp8(t.entry.dtype); }))
    return left_out;
  PHIQUANT_ASSIGN(const Block block, block_of(config));
  TensorParts parts(found);
  std::vector<FoundTensor> joined;
  for (const FoundTensor& tensor : found) {
    const SafetensorsEntry& e = tensor.entry;
    if (!is_fp8(e.dtype) || e.shape.empty() || e.shape.back() == 0) {
      if (is_other_scale(e.name)) left_out.push_back(parts.take(e.name)->entry.name);
      continue;
    }
    Scales scales;
    if (e.name.ends_with(kWeight)) {
      const std::string path = e.name.substr(0, e.name.size() - kWeight.size());
      const FoundTensor* scale = parts.take(path + ".weight_scale");
      const FoundTensor* inverse = parts.take(path + ".weight_scale_inv");
      if (scale && inverse)
        return error_of(Errc::corrupt, tensor, "has both .weight_scale and .weight_scale_inv");
      if (scale || inverse) {
        PHIQUANT_ASSIGN(scales, read_scales(tensor, scale ? *scale : *inverse, block));
      }
    }
    FoundTensor one = *parts.take(e.name);
    one.entry.dtype = DType::f32;
    one.bytes =
        std::make_shared<Fp8Source>(bytes_of(tensor), e.dtype, e.shape.back(), std::move(scales));
    joined.push_back(std::move(one));
  }
  parts.add_rest(joined);
  found = std::move(joined);
  return left_out;
}

}  // namespace phiquant
