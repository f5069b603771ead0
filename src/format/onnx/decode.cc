#include "format/onnx/decode.h"

#include <bit>
#include <cctype>

#include <fmt/format.h>

namespace phiquant::format {
namespace {

constexpr uint64_t kMaxDim = uint64_t{1} << 31;  // keeps every product below in 64 bits

uint64_t ceil_div(uint64_t a, uint64_t b) { return (a + b - 1) / b; }
uint64_t count_of(const onnx::TensorProto& t) { return element_count(shape_of(t)).value_or(0); }
DType dtype_of(const onnx::TensorProto& t) { return dtype_from_onnx(t.data_type()); }
std::string input(const onnx::NodeProto& node, int i) {
  return i < node.input_size() ? node.input(i) : "";
}

// "_Q4", "_Q4G32": the length of such an ending, else 0.
size_t bits_suffix(const std::string& name) {
  size_t i = name.size();
  const auto digits = [&] {
    const size_t end = i;
    while (i > 0 && std::isdigit(static_cast<unsigned char>(name[i - 1]))) --i;
    return i < end;
  };
  if (!digits()) return 0;
  if (i > 0 && name[i - 1] == 'G') {
    --i;
    if (!digits()) return 0;
  }
  return i >= 2 && name[i - 1] == 'Q' && name[i - 2] == '_' ? name.size() - i + 2 : 0;
}

struct Parts {
  ConstantRef codes, scales;
  std::optional<ConstantRef> zero_points;
};

std::optional<Parts> find_parts(Scope& scope, const std::string& codes, const std::string& scales,
                                const std::string& zeros, std::string& why) {
  const auto c = find_constant(scope, codes), s = find_constant(scope, scales);
  const auto z = find_constant(scope, zeros);
  if (!c || !s || (!zeros.empty() && !z)) {
    why = "its codes, scales or zero points are no constants";
    return std::nullopt;
  }
  if (!is_weight_float(dtype_of(*s->tensor))) {
    why = "its scales are no floats";
    return std::nullopt;
  }
  return Parts{*c, *s, z};
}

DecodedTensor finish(Editor& editor, const Parts& p, BlockStorage storage, uint64_t k, uint64_t n,
                     Orientation orientation, Shape shape) {
  storage.codes = editor.source(*p.codes.tensor);
  storage.scales = editor.source(*p.scales.tensor);
  if (p.zero_points) storage.zero_points = editor.source(*p.zero_points->tensor);
  DecodedTensor out;
  out.weight = {{p.codes.tensor->name(), k, n, std::move(storage)}, orientation};
  out.dtype = dtype_of(*p.scales.tensor);
  out.shape = std::move(shape);
  out.scope = p.codes.scope;
  out.codes = p.codes.tensor;
  return out;
}

}  // namespace

std::string without_quantized_suffix(const std::string& name) {
  const auto ends = [&](const std::string& s) {
    return name.size() > s.size() && name.ends_with(s);
  };
  if (ends("_quantized")) return name.substr(0, name.size() - 10);
  const size_t n = bits_suffix(name);
  if (n == 0 || n == name.size()) return name;
  std::string base = name.substr(0, name.size() - n);
  if (base.size() > 3 && base.ends_with("_DQ")) base.resize(base.size() - 3);
  return base;
}

std::optional<DecodedTensor> decode_matmul_nbits(Editor& editor, Scope& scope,
                                                 const onnx::NodeProto& node, std::string& why) {
  if (!input(node, 4).empty()) {
    why = "it has g_idx, an order of its own for K";
    return std::nullopt;
  }
  if (int_attribute(node, "weight_prepacked", 0) != 0) {
    why = "its weight is packed for one kind of GPU";
    return std::nullopt;
  }
  const auto parts = find_parts(scope, input(node, 1), input(node, 2), input(node, 3), why);
  if (!parts) return std::nullopt;
  const auto k = static_cast<uint64_t>(int_attribute(node, "K", 0)),
             n = static_cast<uint64_t>(int_attribute(node, "N", 0));
  const auto bits = static_cast<uint64_t>(int_attribute(node, "bits", 4)),
             block = static_cast<uint64_t>(int_attribute(node, "block_size", 0));
  const bool sane = k > 0 && n > 0 && k < kMaxDim && n < kMaxDim &&
                    (bits == 2 || bits == 4 || bits == 8) && block >= 16 && block < kMaxDim &&
                    std::has_single_bit(block);
  const uint64_t blocks = sane ? ceil_div(k, block) : 0,
                 groups = sane && blocks < kMaxDim ? n * blocks : 0;
  const bool float_zeros =
      parts->zero_points && is_weight_float(dtype_of(*parts->zero_points->tensor));
  const uint64_t zeros = !parts->zero_points ? 0
                         : float_zeros       ? groups
                                             : n * ceil_div(blocks * bits, 8);
  if (!sane || dtype_of(*parts->codes.tensor) != DType::u8 ||
      count_of(*parts->codes.tensor) / (block * bits / 8) != groups ||
      count_of(*parts->codes.tensor) % (block * bits / 8) != 0 ||
      count_of(*parts->scales.tensor) != groups ||
      (parts->zero_points &&
       (count_of(*parts->zero_points->tensor) != zeros ||
        (!float_zeros && dtype_of(*parts->zero_points->tensor) != DType::u8)))) {
    why = fmt::format("K {}, N {}, bits {}, block_size {} do not agree with its tensors", k, n,
                      bits, block);
    return std::nullopt;
  }
  BlockStorage storage;
  storage.bits = static_cast<unsigned>(bits);
  storage.block_size = block;
  storage.default_zero_point = 1 << (bits - 1);
  return finish(editor, *parts, std::move(storage), k, n, Orientation::kn, {k, n});
}

std::optional<DecodedTensor> decode_gather(Editor& editor, Scope& scope,
                                           const onnx::NodeProto& node, std::string& why) {
  const auto parts = find_parts(scope, input(node, 0), input(node, 2), input(node, 3), why);
  if (!parts) return std::nullopt;
  const DType dtype = dtype_of(*parts->codes.tensor);
  const Shape codes = shape_of(*parts->codes.tensor), scales = shape_of(*parts->scales.tensor);
  const auto bits = dtype == DType::u8 ? static_cast<uint64_t>(int_attribute(node, "bits", 4)) : 4;
  const auto block = static_cast<uint64_t>(int_attribute(node, "block_size", 128));
  int64_t axis = int_attribute(node, "quantize_axis", 1);
  if (axis < 0) axis += 2;
  const bool typed = dtype == DType::i4 || dtype == DType::u4;
  const bool sane = (typed || dtype == DType::u8) && codes.size() == 2 && scales.size() == 2 &&
                    (axis == 1 || (axis == 0 && typed)) && (bits == 2 || bits == 4 || bits == 8) &&
                    block >= 16 && block < kMaxDim && codes[0] < kMaxDim && codes[1] < kMaxDim &&
                    codes[0] > 0 && codes[1] > 0;
  if (!sane) {
    why = "its table has another form than [rows, columns]";
    return std::nullopt;
  }
  const Shape shape = {codes[0], typed ? codes[1] : codes[1] * 8 / bits};
  const bool rows = axis == 1;
  const uint64_t k = rows ? shape[1] : shape[0], n = rows ? shape[0] : shape[1],
                 blocks = ceil_div(k, block);
  const bool packed_zeros = parts->zero_points && !typed && bits != 8;
  const uint64_t zeros = packed_zeros ? n * ceil_div(blocks * bits, 8) : n * blocks;
  if (count_of(*parts->scales.tensor) != n * blocks ||
      (parts->zero_points && count_of(*parts->zero_points->tensor) != zeros) ||
      (parts->zero_points && dtype_of(*parts->zero_points->tensor) != dtype) ||
      (packed_zeros && blocks * bits % 8 != 0)) {
    why = "its scales or zero points do not agree with its table";
    return std::nullopt;
  }
  BlockStorage storage;
  storage.packing = rows ? Packing::n_major : Packing::k_major;
  storage.bits = static_cast<unsigned>(bits);
  storage.is_signed = dtype == DType::i4;
  storage.block_size = block;
  storage.default_zero_point = typed ? 0 : 1 << (bits - 1);
  return finish(editor, *parts, std::move(storage), k, n, rows ? Orientation::nk : Orientation::kn,
                shape);
}

namespace {

// Axis and blocks of a DequantizeLinear as K x N; false where they run along a middle axis or
// disagree.
bool lay_linear(const Shape& shape, const Shape& scales, int64_t axis, uint64_t block,
                BlockStorage& storage, uint64_t& k, uint64_t& n, Orientation& orientation) {
  const size_t rank = shape.size();
  uint64_t count = 1, n_scales = 1;
  for (const uint64_t d : shape) count *= d;
  for (const uint64_t d : scales) n_scales *= d;
  if (count == 0) return false;
  const uint64_t first = rank ? shape[0] : 1, last = rank ? shape[rank - 1] : 1;
  const bool along_first = axis == 0, along_last = axis + 1 == static_cast<int64_t>(rank);
  if (block == 0 && n_scales == 1) {
    orientation = Orientation::nk;
    storage.column_group = n = first;
    storage.block_size = k = count / first;
  } else if (block == 0) {
    if (!along_first && !along_last) return false;
    orientation = along_first ? Orientation::nk : Orientation::kn;
    n = along_first ? first : last;
    storage.block_size = k = count / n;
    if (n_scales != n) return false;
  } else {
    if (!along_first && !along_last) return false;
    orientation = along_last ? Orientation::nk : Orientation::kn;
    k = along_last ? last : first;
    n = count / k;
    storage.block_size = block;
    if (scales.size() != rank || n_scales != n * ceil_div(k, block)) return false;
  }
  storage.packing = orientation == Orientation::nk ? Packing::n_major : Packing::k_major;
  return true;
}

}  // namespace

std::optional<DecodedTensor> decode_linear(Editor& editor, Scope& scope, const std::string& codes,
                                           const std::string& scale, const std::string& zero_point,
                                           int64_t axis, int64_t block_size, std::string& why) {
  const auto parts = find_parts(scope, codes, scale, zero_point, why);
  if (!parts) return std::nullopt;
  const DType dtype = dtype_of(*parts->codes.tensor);
  BlockStorage storage;
  storage.bits = dtype_bits(dtype);
  storage.is_signed = dtype == DType::i8 || dtype == DType::i4 || dtype == DType::i2;
  const bool integers =
      storage.is_signed || dtype == DType::u8 || dtype == DType::u4 || dtype == DType::u2;
  const Shape shape = shape_of(*parts->codes.tensor);
  if (axis < 0) axis += static_cast<int64_t>(shape.size());
  uint64_t k = 0, n = 0;
  Orientation orientation = Orientation::nk;
  if (!integers || block_size < 0 ||
      !lay_linear(shape, shape_of(*parts->scales.tensor), axis, static_cast<uint64_t>(block_size),
                  storage, k, n, orientation)) {
    why = integers ? "its scales run along a middle axis"
                   : fmt::format("its codes are {}", dtype_name(dtype));
    return std::nullopt;
  }
  if (parts->zero_points &&
      (dtype_of(*parts->zero_points->tensor) != dtype ||
       count_of(*parts->zero_points->tensor) != count_of(*parts->scales.tensor))) {
    why = "its zero points do not agree with its scales";
    return std::nullopt;
  }
  return finish(editor, *parts, std::move(storage), k, n, orientation, shape);
}

}  // namespace phiquant::format
