#include "quant/row_scheme.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "quant/stored_rows.h"

namespace phiquant {
namespace {

constexpr size_t kMaxBlock = 256;  // of all row schemes
constexpr uint64_t kRun = 16384;   // values decoded at a time, whole blocks

class DecodedRows final : public ByteSource {
 public:
  DecodedRows(std::shared_ptr<const StoredRows> rows, uint64_t n_values)
      : rows_(std::move(rows)),
        layout_(rows_->scheme->layout(rows_->params)),
        n_values_(n_values) {}
  uint64_t size_bytes() const override { return n_values_ * sizeof(float); }

  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    const uint64_t run = std::max<uint64_t>(1, kRun / layout_.block_size) * layout_.block_size;
    std::array<std::vector<std::byte>, kMaxRowPlanes> stored;
    std::vector<float> values(run);
    while (!out.empty()) {
      // Whole blocks; of the first and the last one perhaps a part was asked for.
      const uint64_t first = offset / sizeof(float) / layout_.block_size * layout_.block_size;
      const uint64_t wanted = (offset + out.size() + sizeof(float) - 1) / sizeof(float) - first;
      const uint64_t whole = (wanted + layout_.block_size - 1) / layout_.block_size;
      const uint64_t n = std::min(run, whole * layout_.block_size);
      RowPlanesView view = {};
      for (size_t p = 0; p < rows_->planes.size(); ++p) {
        const uint64_t block_bytes = layout_.block_bytes[p];
        stored[p].resize(n / layout_.block_size * block_bytes);
        PHIQUANT_TRY(rows_->planes[p]->read(first / layout_.block_size * block_bytes, stored[p]));
        view[p] = stored[p].data();
      }
      rows_->scheme->decode(view, 1, n, rows_->params, values.data());
      const uint64_t skip = offset - first * sizeof(float);
      const auto taken =
          static_cast<size_t>(std::min<uint64_t>(out.size(), n * sizeof(float) - skip));
      std::memcpy(out.data(), reinterpret_cast<const std::byte*>(values.data()) + skip, taken);
      out = out.subspan(taken);
      offset += taken;
    }
    return {};
  }

 private:
  std::shared_ptr<const StoredRows> rows_;
  RowLayout layout_;
  uint64_t n_values_;
};

}  // namespace

const RowScheme* find_row_scheme(RowFamily family, std::string_view name) {
  for (const RowScheme& scheme : row_schemes())
    if (scheme.family == family && scheme.name == name) return &scheme;
  return nullptr;
}

const RowScheme* find_gguf_type(uint32_t type_id) {
  for (const RowScheme& scheme : row_schemes())
    if (scheme.family == RowFamily::gguf && scheme.type_id == type_id) return &scheme;
  return nullptr;
}

RowLayout layout_of(const EncodingParts& parts, const RowParams& params) {
  const BlockShape shape = parts.shape(spec_of(params));
  RowLayout layout{static_cast<uint32_t>(shape.values), {}};
  for (size_t p = 0; p < kMaxPlanes; ++p)
    layout.block_bytes[p] = static_cast<uint32_t>(shape.planes[p].bytes);
  return layout;
}

void encode_rows_by_parts(const EncodingParts& parts, const RowTile& tile, const RowParams& params,
                          const RowPlanes& out) {
  const BlockSpec spec = spec_of(params);
  const BlockShape shape = parts.shape(spec);
  for (size_t b = 0; b < tile.n_rows * tile.k / shape.values; ++b) {
    const float* x = tile.x + b * shape.values;
    Planes block = out;
    for (size_t p = 0; p < kMaxPlanes; ++p)
      if (block[p]) block[p] += b * shape.planes[p].bytes;
    Grid g;
    uint8_t codes[kMaxBlock];
    parts.fit({x, shape.values}, {}, spec, g);
    for (size_t i = 0; i < shape.values; ++i) codes[i] = parts.round(x[i], i, g, spec);
    parts.pack({codes, shape.values}, g, spec, block);
  }
}

void decode_rows_by_parts(const EncodingParts& parts, const RowPlanesView& in, size_t n_values,
                          const RowParams& params, float* x) {
  const BlockSpec spec = spec_of(params);
  const BlockShape shape = parts.shape(spec);
  for (size_t b = 0; b < n_values / shape.values; ++b, x += shape.values) {
    PlanesView block = in;
    for (size_t p = 0; p < kMaxPlanes; ++p)
      if (block[p]) block[p] += b * shape.planes[p].bytes;
    Grid g;
    uint8_t codes[kMaxBlock];
    parts.unpack(block, spec, g, {codes, shape.values});
    for (size_t i = 0; i < shape.values; ++i) x[i] = parts.decode(codes[i], i, g, spec);
  }
}

uint64_t row_plane_bytes(const RowScheme& scheme, const RowParams& params, size_t plane,
                         uint64_t n_values) {
  const RowLayout layout = scheme.layout(params);
  return n_values / layout.block_size * layout.block_bytes[plane];
}

SourceTensor decoded_rows(std::string name, Shape shape, const RowScheme& scheme,
                          const RowParams& params,
                          std::vector<std::shared_ptr<const ByteSource>> planes) {
  const uint64_t n_values = element_count(shape).value_or(0);
  auto rows = std::make_shared<const StoredRows>(StoredRows{&scheme, params, std::move(planes)});
  auto bytes = std::make_shared<DecodedRows>(rows, n_values);
  return {std::move(name), DType::f32, std::move(shape), std::move(bytes), std::move(rows)};
}

}  // namespace phiquant
