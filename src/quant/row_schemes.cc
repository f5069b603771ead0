#include "quant/row_scheme.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "quant/ggml/iq4.h"
#include "quant/ggml/mxfp4_gguf.h"
#include "quant/ggml/q2_k.h"
#include "quant/ggml/q3_k.h"
#include "quant/ggml/q4_0.h"
#include "quant/ggml/q4_1.h"
#include "quant/ggml/q4_k.h"
#include "quant/ggml/q6_k.h"
#include "quant/ggml/q8_0.h"
#include "quant/ggml/ternary.h"
#include "quant/mlx/affine.h"
#include "quant/mlx/fp.h"
#include "quant/stored_rows.h"

namespace phiquant {
namespace {

namespace mlx_affine = quant::mlx_affine;
namespace mlx_fp = quant::mlx_fp;
using Fp = mlx_fp::Mode;

// clang-format off
using namespace quant;
constexpr RowFamily kGguf = RowFamily::gguf;
template <uint32_t kValues, uint32_t kBytes>
RowLayout layout(const RowParams&) { return {kValues, {kBytes}}; }

constexpr RowScheme kRowSchemes[] = {
    // name    summary                                      family type imatrix layout  reference, fast, decode
    {"q4_0", "32 x 4 bits, one scale",                          kGguf, 2,  true,  layout<32, 18>,   q4_0::encode_ref<4>, q4_0::encode<4>, q4_0::decode<4>},
    {"q4_1", "32 x 4 bits, scale and minimum",                  kGguf, 3,  true,  layout<32, 20>,   q4_1::encode_ref<4>, q4_1::encode<4>, q4_1::decode<4>},
    {"q5_0", "32 x 5 bits, one scale",                          kGguf, 6,  true,  layout<32, 22>,   q4_0::encode_ref<5>, q4_0::encode<5>, q4_0::decode<5>},
    {"q5_1", "32 x 5 bits, scale and minimum",                  kGguf, 7,  true,  layout<32, 24>,   q4_1::encode_ref<5>, q4_1::encode<5>, q4_1::decode<5>},
    {"q8_0", "32 x 8 bits, one scale",                          kGguf, 8,  false, layout<32, 34>,   q8_0::encode_ref, q8_0::encode, q8_0::decode},
    {"q2_k", "256 x 2 bits, four-bit scale and minimum of each 16", kGguf, 10, true, layout<256, 84>, q2_k::encode_ref, q2_k::encode, q2_k::decode},
    {"q3_k", "256 x 3 bits, six-bit scale of each 16",           kGguf, 11, true, layout<256, 110>, q3_k::encode_ref, q3_k::encode, q3_k::decode},
    {"q4_k", "256 x 4 bits, six-bit scale and offset of each 32", kGguf, 12, true, layout<256, 144>, q4_k::encode_ref<4>, q4_k::encode<4>, q4_k::decode<4>},
    {"q5_k", "256 x 5 bits, six-bit scale and offset of each 32", kGguf, 13, true, layout<256, 176>, q4_k::encode_ref<5>, q4_k::encode<5>, q4_k::decode<5>},
    {"q6_k", "256 x 6 bits, eight-bit scale of each 16",         kGguf, 14, true, layout<256, 210>, q6_k::encode_ref, q6_k::encode, q6_k::decode},
    {"iq4_nl", "32 codes of 16 uneven levels, one scale",    kGguf, 20, true,  layout<32, 18>, iq4::encode_nl_ref, iq4::encode_nl, iq4::decode_nl},
    {"iq4_xs", "256 codes of 16 uneven levels, six-bit scale of each 32", kGguf, 23, true, layout<256, 136>, iq4::encode_xs_ref, iq4::encode_xs, iq4::decode_xs},
    {"mxfp4",  "32 x E2M1 floats that share a power of two", kGguf, 39, false, layout<32, 17>, mxfp4_gguf::encode_ref, mxfp4_gguf::encode, mxfp4_gguf::decode},
    {"tq1_0",  "256 x -1, 0, 1, five in a byte",             kGguf, 34, false, layout<256, 54>, ternary::encode_tq1_ref, ternary::encode_tq1, ternary::decode_tq1},
    {"tq2_0",  "256 x -1, 0, 1, two bits each",              kGguf, 35, false, layout<256, 66>, ternary::encode_tq2_ref, ternary::encode_tq2, ternary::decode_tq2},
    // ---- mlx: name, what it is, family, ggml_type, takes importance, layout, reference, fast, decode
    {"affine", "codes with a scale and an offset for each group", RowFamily::mlx, 0, false, mlx_affine::layout, mlx_affine::encode_ref, mlx_affine::encode, mlx_affine::decode},
    {"mxfp4", "E2M1 codes, a power of two for each 32", RowFamily::mlx, 0, false, mlx_fp::layout<Fp::mxfp4>, mlx_fp::encode_ref<Fp::mxfp4>, mlx_fp::encode<Fp::mxfp4>, mlx_fp::decode<Fp::mxfp4>},
    {"nvfp4", "E2M1 codes, an E4M3 scale for each 16", RowFamily::mlx, 0, false, mlx_fp::layout<Fp::nvfp4>, mlx_fp::encode_ref<Fp::nvfp4>, mlx_fp::encode<Fp::nvfp4>, mlx_fp::decode<Fp::nvfp4>},
    {"mxfp8", "E4M3 codes, a power of two for each 32", RowFamily::mlx, 0, false, mlx_fp::layout<Fp::mxfp8>, mlx_fp::encode_ref<Fp::mxfp8>, mlx_fp::encode<Fp::mxfp8>, mlx_fp::decode<Fp::mxfp8>},
};
// clang-format on

constexpr uint64_t kRun = 16384;  // values decoded at a time, whole blocks

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

std::span<const RowScheme> row_schemes() { return kRowSchemes; }

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
