// The experts of com.microsoft::QMoE as one weight each: a checkpoint has them apart.
#include <fmt/format.h>

#include "core/checked_math.h"
#include "core/sources.h"
#include "format/onnx/decode.h"

namespace phiquant::format {
namespace {

// Every `step`-th row of a source of whole rows, from row `first` on.
class EveryNthRow final : public ByteSource {
 public:
  EveryNthRow(std::shared_ptr<const ByteSource> source, uint64_t row_bytes, uint64_t first,
              uint64_t step)
      : source_(std::move(source)), row_bytes_(row_bytes), first_(first), step_(step) {}
  uint64_t size_bytes() const override { return source_->size_bytes() / step_; }
  Result<void> read(uint64_t offset, std::span<std::byte> out) const override {
    while (!out.empty()) {
      const uint64_t row = offset / row_bytes_, at = offset % row_bytes_;
      const auto n = static_cast<size_t>(std::min<uint64_t>(out.size(), row_bytes_ - at));
      PHIQUANT_TRY(source_->read((row * step_ + first_) * row_bytes_ + at, out.first(n)));
      out = out.subspan(n);
      offset += n;
    }
    return {};
  }

 private:
  std::shared_ptr<const ByteSource> source_;
  uint64_t row_bytes_, first_, step_;
};

// Codes [experts, rows, k * bits / 8] and scales [experts, rows, blocks] (one block: [experts,
// rows]).
struct Experts {
  SourceTensor codes, scales;
  uint64_t count = 0, rows = 0, k = 0, block_size = 0;
  unsigned bits = 4;
};

std::optional<Experts> read_experts(Editor& editor, Scope& scope, const onnx::NodeProto& node,
                                    int input) {
  const auto codes = find_constant(scope, node.input(input)),
             scales = find_constant(scope, node.input(input + 1));
  if (!codes || !scales) return std::nullopt;
  Experts e{editor.source(*codes->tensor), editor.source(*scales->tensor)};
  const Shape &c = e.codes.shape, &s = e.scales.shape;
  const int64_t bits = int_attribute(node, "expert_weight_bits", 4);
  if (c.size() != 3 || (s.size() != 2 && s.size() != 3) || (bits != 4 && bits != 8) ||
      e.codes.dtype != DType::u8 || !is_weight_float(e.scales.dtype) || !e.codes.bytes ||
      !e.scales.bytes || s[0] != c[0] || s[1] != c[1] || c[0] * c[1] == 0)
    return std::nullopt;
  e.bits = static_cast<unsigned>(bits);
  e.count = c[0];
  e.rows = c[1];
  e.k = c[2] * 8 / e.bits;
  const uint64_t blocks = s.size() == 3 ? s[2] : 1;
  // Without a remainder a block never ends inside a row, which is what MatMulNBits' packing needs.
  if (blocks == 0 || e.k == 0 || e.k % blocks != 0) return std::nullopt;
  e.block_size = e.k / blocks;
  return e;
}

// Rows first, first + step, ... of one expert as [N, K] codes.
NamedWeight one_expert(const Experts& e, uint64_t expert, uint64_t first, uint64_t step,
                       std::string name) {
  const auto part = [&](const SourceTensor& tensor) {
    const uint64_t bytes = tensor.bytes->size_bytes() / e.count, row = bytes / e.rows;
    auto source = slice_source(tensor.bytes, expert * bytes, bytes);
    if (step > 1) source = std::make_shared<EveryNthRow>(std::move(source), row, first, step);
    Shape shape(tensor.shape.begin() + 1, tensor.shape.end());
    shape[0] /= step;
    return SourceTensor{tensor.name, tensor.dtype, std::move(shape), std::move(source)};
  };
  BlockStorage storage;
  storage.bits = e.bits;
  storage.block_size = e.block_size;
  storage.default_zero_point = 1 << (e.bits - 1);
  storage.codes = part(e.codes);
  storage.scales = part(e.scales);
  NamedWeight out;
  out.shape = {e.rows / step, e.k};
  out.size_bytes = storage.codes.bytes->size_bytes() + storage.scales.bytes->size_bytes();
  out.source = {std::move(name), e.k, e.rows / step, std::move(storage)};
  out.used_by = "QMoE";
  out.description = e.block_size == e.k ? fmt::format("int{} per channel", e.bits)
                                        : fmt::format("int{} block {}", e.bits, e.block_size);
  return out;
}

}  // namespace

void add_expert_weights(Editor& editor, std::vector<NamedWeight>& out) {
  for (const auto& scope : editor.index->scopes())
    for (const auto& node : scope->nodes()) {
      if (!is_microsoft_op(node, "QMoE") || int_attribute(node, "weights_prepacked", 0) != 0)
        continue;
      for (const int input : {2, 5, 8}) {
        // Zero points are inputs 11, 12 and 13.
        const int zeros = 11 + (input - 2) / 3;
        if (node.input_size() <= input + 1 ||
            (node.input_size() > zeros && !node.input(zeros).empty()))
          continue;
        const auto experts = read_experts(editor, *scope, node, input);
        if (!experts) continue;
        const bool pairs =
            input == 2 && int_attribute(node, "swiglu_fusion", 0) == 1 && experts->rows % 2 == 0;
        const std::string base = without_quantized_suffix(node.input(input));
        for (uint64_t e = 0; e < experts->count; ++e)
          for (uint64_t i = 0; i < (pairs ? 2u : 1u); ++i)
            out.push_back(one_expert(*experts, e, i, pairs ? 2 : 1,
                                     fmt::format("{}[{}]{}", base, e,
                                                 !pairs ? ""
                                                 : i    ? ".up"
                                                        : ".gate")));
      }
    }
}

}  // namespace phiquant::format
