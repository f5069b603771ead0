// Which options go together. The one table of fields (how one sees that a field of Request was
// given, and what messages and the command line call it) and the one table of rules; a loop over
// them refuses. What only a model can tell (its context, its heads) is checked where the model is.
#pragma once

#include <string_view>

#include "phiquant/error.h"
#include "phiquant/options.h"

namespace phiquant {

// A field of Request that the caller may leave alone.
struct Field {
  std::string_view flag;  // "--block-size"
  bool (*given)(const Request&);
  std::string_view value = "";  // " qdq": the only value that counts as given; "": any
};

namespace fields {

constexpr Field kScheme{"--scheme", [](const Request& r) { return !r.recipe.scheme.empty(); }};
constexpr Field kPrecision{
    "--precision", [](const Request& r) { return r.recipe.precision != Precision::automatic; }};
constexpr Field kBlockSize{"--block-size",
                           [](const Request& r) { return r.recipe.block_size.has_value(); }};
constexpr Field kSymmetric{"--symmetric",
                           [](const Request& r) { return r.recipe.symmetric == true; }};
constexpr Field kAsymmetric{"--asymmetric",
                            [](const Request& r) { return r.recipe.symmetric == false; }};
constexpr Field kSearch{"--search", [](const Request& r) { return r.recipe.search; }};
constexpr Field kNoProtect{"--no-protect", [](const Request& r) { return !r.recipe.protect; }};
constexpr Field kMixedLayers{"--mixed-layers",
                             [](const Request& r) { return r.recipe.mixed_layers; }};
constexpr Field kRecipe{"--recipe",
                        [](const Request& r) { return r.recipe.defaults == Defaults::builder; },
                        " builder"};
constexpr Field kInclude{"--include", [](const Request& r) { return !r.recipe.include.empty(); }};
constexpr Field kExclude{"--exclude", [](const Request& r) { return !r.recipe.exclude.empty(); }};
constexpr Field kEmbeddings{
    "--embeddings", [](const Request& r) { return r.recipe.embeddings != TableBits::automatic; }};
constexpr Field kLmHead{"--lm-head",
                        [](const Request& r) { return r.recipe.lm_head != TableBits::automatic; }};
constexpr Field kImatrix{"--imatrix", [](const Request& r) { return !r.recipe.imatrix.empty(); }};
constexpr Field kTensorType{"--tensor-type",
                            [](const Request& r) { return !r.recipe.tensor_types.empty(); }};
constexpr Field kTokenEmbeddingType{"--token-embedding-type", [](const Request& r) {
                                      return !r.recipe.token_embedding_type.empty();
                                    }};
constexpr Field kOutputTensorType{
    "--output-tensor-type", [](const Request& r) { return !r.recipe.output_tensor_type.empty(); }};
constexpr Field kPure{"--pure", [](const Request& r) { return r.recipe.pure; }};

constexpr Field kTextOnly{"--text-only", [](const Request& r) { return r.source.text_only; }};
constexpr Field kMergeLora{"--merge-lora",
                           [](const Request& r) { return r.source.merge_lora != MergeLora::none; }};

constexpr Field kFormat{
    "--format", [](const Request& r) { return r.output.format != OutputFormat::automatic; }};
constexpr Field kTarget{"--target",
                        [](const Request& r) { return r.output.onnx.target != Target::cpu; }};
constexpr Field kStyle{"--style",
                       [](const Request& r) { return r.output.onnx.style == Style::qdq; }, " qdq"};
constexpr Field kAccuracyLevel{
    "--accuracy-level", [](const Request& r) { return r.output.onnx.accuracy_level.has_value(); }};
constexpr Field kKeepIoTypes{
    "--keep-io-types", [](const Request& r) { return r.output.onnx.keep_io_types.has_value(); }};
constexpr Field kOpBlockList{"--op-block-list",
                             [](const Request& r) { return !r.output.onnx.op_block_list.empty(); }};
constexpr Field kSequenceLength{"--sequence-length", [](const Request& r) {
                                  return r.output.onnx.sequence_length.has_value();
                                }};
constexpr Field kViaF16{"--via-f16", [](const Request& r) { return r.output.gguf.via_f16; }};
constexpr Field kContext{"--context",
                         [](const Request& r) { return r.output.mlx.context.has_value(); }};

}  // namespace fields

// What the model turned out to be; `unread` before that is known.
enum class Input : uint8_t { unread, onnx, checkpoint };

// The request with everything settled that its own words imply: an output that ends in .gguf has
// that format; a scheme of GGUF or MLX has one precision. Then whatever can be refused before the
// input is read. `both_symmetries`: symmetric and asymmetric codes were asked for, which a Request
// cannot say. Errors: usage; each names the field and what to change.
Result<Request> settle(Request request, bool both_symmetries = false);

// Refuses what does not go with such an input. `format`: what it will become (automatic: what was
// asked for). `request` is settled. Errors: usage, likewise.
Result<void> check_legality(const Request& request, Input input, OutputFormat format);

}  // namespace phiquant
