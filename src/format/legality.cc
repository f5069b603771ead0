#include "format/legality.h"

#include <array>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "decide/integer_settings.h"
#include "decide/mix_gguf.h"
#include "decide/mix_mlx.h"
#include "format/genai/targets.h"
#include "quant/scheme.h"

namespace phiquant {
namespace {

using namespace fields;

template <class... E>
constexpr unsigned set_of(E... members) {
  return ((1u << static_cast<unsigned>(members)) | ...);
}

// ---- What the rules ask about a request

struct Facts {
  const Request& request;
  Input input;
  OutputFormat format;
  bool both_symmetries;
  std::string scheme;  // as asked; once the input is known, of what is made of integers the default
  const Scheme* block = find_block_scheme(scheme);
  const GraphScheme* graph = find_graph_scheme(scheme);
  const GgufFileType* gguf = find_gguf_file_type(scheme);
  const MlxScheme* mlx = find_mlx_scheme(scheme);
  const format::TargetInfo& target = format::target_info(request.output.onnx.target);

  unsigned bits() const { return request.recipe.precision == Precision::int4 ? 4 : 8; }
  bool block_has_bits() const { return block && block->bits_mask & (1u << bits()); }
  // The precision of a scheme that has one only.
  Precision goes_with() const {
    if (format == OutputFormat::gguf && gguf) return gguf->nearest;
    if (format == OutputFormat::mlx && mlx) return mlx->precision;
    return graph ? graph->precision : request.recipe.precision;
  }
};

std::string_view name_of(Precision p) {
  return p == Precision::automatic ? "" : kPrecisionNames[static_cast<size_t>(p)];
}

// Schemes for the same operator that offer as many bits.
std::vector<std::string_view> alternatives(const Facts& f) {
  std::vector<std::string_view> names;
  for (const Scheme& other : block_schemes())
    if (f.block && other.packing == f.block->packing && (other.bits_mask & (1u << f.bits())))
      names.push_back(other.name);
  return names;
}

// ---- The rules

constexpr size_t kMaxFields = 14;

// Refuses the first of `fields` that was given, where the request is of the kinds named and `also`
// holds. The order is that of the messages: of two that apply the first one is shown.
struct Rule {
  unsigned inputs, formats, precisions;      // bits of what is concerned
  std::array<const Field*, kMaxFields> any;  // empty: whatever was given
  bool (*also)(const Facts&);                // null: always
  // {flag}, {precision}, {scheme}, {goes_with}, {bits}, {alternatives}, {target}, {legal_pairs},
  // {source} and {output} stand for what was asked.
  std::string_view words;
};

constexpr unsigned kUnread = set_of(Input::unread), kOnnxIn = set_of(Input::onnx),
                   kCheckpointIn = set_of(Input::checkpoint);
constexpr unsigned kEvery = ~0u;
constexpr unsigned kGguf = set_of(OutputFormat::gguf), kMlx = set_of(OutputFormat::mlx),
                   kGenai = set_of(OutputFormat::genai), kPlain = set_of(OutputFormat::onnx);
constexpr unsigned kGraphs = ~(kGguf | kMlx);  // ONNX in a folder of GenAI or alone
constexpr unsigned kIntegers = set_of(Precision::int4, Precision::int8);
constexpr unsigned kHalves = set_of(Precision::fp16, Precision::bf16);
constexpr unsigned kFloats = kHalves | set_of(Precision::fp32);
constexpr unsigned kInt4 = set_of(Precision::int4);

bool is_bad_pair(const Facts& f) { return !format::runs(f.target, f.request.recipe.precision); }
bool has_extension(const Facts& f, std::initializer_list<std::string_view> extensions) {
  for (const std::string_view e : extensions)
    if (f.request.output.path.extension() == e) return true;
  return false;
}

// clang-format off
constexpr Rule kRules[] = {
    // Options and schemes of other formats.
    {kUnread, kGraphs, kEvery, {&kScheme},
     [](const Facts& f) { return f.gguf && !f.graph && !f.block; },
     "{flag} {scheme}: is a GGUF file type (add --format gguf)"},
    {kUnread, ~kGguf, kEvery,
     {&kImatrix, &kTensorType, &kTokenEmbeddingType, &kOutputTensorType, &kPure, &kViaF16}, nullptr,
     "{flag}: only for --format gguf (leave it out)"},
    {kUnread, kGguf, kEvery, {&kInclude, &kExclude}, nullptr,
     "{flag}: not for --format gguf (use --tensor-type GLOB=f16)"},
    {kUnread, kGguf, kEvery,
     {&kBlockSize, &kSymmetric, &kAsymmetric, &kAccuracyLevel, &kStyle, &kSearch, &kNoProtect,
      &kEmbeddings, &kLmHead, &kKeepIoTypes, &kOpBlockList, &kMixedLayers, &kRecipe, &kTarget},
     nullptr,
     "{flag}: has no meaning with --format gguf, whose --scheme says it all (leave it out)"},
    {kUnread, kGguf, kEvery, {&kScheme}, [](const Facts& f) { return !f.gguf; },
     "{flag} {scheme}: is no GGUF file type (see 'phiquant list')"},
    {kUnread, kGguf, kEvery, {&kScheme},
     [](const Facts& f) { return f.goes_with() != f.request.recipe.precision; },
     "{flag} {scheme}: goes with --precision {goes_with}, not {precision} (leave --precision out)"},
    {kUnread, kGguf, kFloats, {&kImatrix}, nullptr,
     "{flag}: floats have no use for it (leave it out)"},
    {kUnread, ~kMlx, kEvery, {&kScheme},
     [](const Facts& f) { return f.mlx && !f.graph && !f.block && !f.gguf; },
     "{flag} {scheme}: is one of MLX (add --format mlx)"},
    {kUnread, ~kMlx, kEvery, {&kContext}, nullptr, "{flag}: only for --format mlx (leave it out)"},
    {kUnread, kMlx, kEvery, {&kKeepIoTypes}, nullptr,
     "{flag}: has no meaning with --format mlx (leave it out)"},
    {kUnread, kMlx, kEvery, {&kScheme}, [](const Facts& f) { return !f.mlx; },
     "{flag} {scheme}: is not one of MLX (see 'phiquant list')"},
    {kUnread, kMlx, kEvery, {&kScheme},
     [](const Facts& f) { return f.goes_with() != f.request.recipe.precision; },
     "{flag} {scheme}: goes with --precision {goes_with}, not {precision} (leave --precision out)"},

    // Precisions.
    {kUnread, kEvery, kEvery, {}, [](const Facts& f) { return !kPrecision.given(f.request); },
     "--precision: missing (one of int4, int8, fp16, bf16, fp32)"},
    {kUnread, kEvery, kEvery, {}, [](const Facts& f) { return f.both_symmetries; },
     "--symmetric and --asymmetric: contradict each other (leave one out)"},
    {kUnread, kEvery, ~kIntegers,
     {&kBlockSize, &kSymmetric, &kAsymmetric, &kAccuracyLevel, &kStyle, &kSearch, &kNoProtect},
     nullptr,
     "{flag}: has no meaning with --precision {precision} (it is for int4 and int8; leave it out)"},
    {kUnread, kEvery, ~kIntegers, {&kEmbeddings},
     [](const Facts& f) { return f.request.recipe.embeddings != TableBits::keep; },
     "{flag}: has no meaning with --precision {precision} (it is for int4 and int8; leave it out)"},
    {kUnread, kEvery, ~kIntegers, {&kLmHead},
     [](const Facts& f) { return f.request.recipe.lm_head != TableBits::keep; },
     "{flag}: has no meaning with --precision {precision} (it is for int4 and int8; leave it out)"},
    {kUnread, kEvery, ~kHalves, {&kKeepIoTypes, &kOpBlockList}, nullptr,
     "{flag}: has no meaning with --precision {precision} (it is for fp16 and bf16; leave it out)"},

    // Schemes of ONNX graphs: first those in blocks, then the others.
    {kUnread, kGraphs, kIntegers, {&kScheme},
     [](const Facts& f) { return f.block && !f.block_has_bits() && f.block->float_zero_points; },
     "{flag} {scheme}: has no {bits}-bit form, for MatMulNBits takes float zero points with 4 bits "
     "only (use {alternatives}, or see 'phiquant list')"},
    {kUnread, kGraphs, kIntegers, {&kScheme},
     [](const Facts& f) { return f.block && !f.block_has_bits(); },
     "{flag} {scheme}: has no {bits}-bit form (use {alternatives}, or see 'phiquant list')"},
    {kUnread, kGraphs, ~kIntegers, {&kScheme}, [](const Facts& f) { return f.block != nullptr; },
     "{flag} {scheme}: not for --precision {precision} (see 'phiquant list')"},
    {kUnread, kGraphs, kEvery, {&kScheme},
     [](const Facts& f) { return f.block && f.block->packing == Packing::n_major; },
     "{flag} {scheme}: is for embedding tables only (use --embeddings {precision})"},
    {kUnread, kGraphs, kEvery, {&kSymmetric},
     [](const Facts& f) { return f.block && !f.block->symmetric; },
     "{flag}: scheme {scheme} is always asymmetric (leave {flag} out)"},
    {kUnread, kGraphs, kEvery, {&kAsymmetric},
     [](const Facts& f) { return f.block && !f.block->asymmetric; },
     "{flag}: scheme {scheme} is always symmetric (leave {flag} out)"},
    {kUnread, kGraphs, kEvery, {&kStyle},
     [](const Facts& f) { return f.block && f.block->packing == Packing::nbits; },
     "{flag}: scheme {scheme} is for MatMulNBits only (leave --scheme out)"},
    {kUnread, kGraphs, kEvery, {&kScheme}, [](const Facts& f) { return !f.block && !f.graph; },
     "{flag} {scheme}: unknown (see 'phiquant list')"},
    {kUnread, kGraphs, kEvery, {&kScheme},
     [](const Facts& f) { return !f.block && f.graph->precision != f.request.recipe.precision; },
     "{flag} {scheme}: is for --precision {goes_with}, not {precision}"},
    {kUnread, kGraphs, kEvery, {&kBlockSize}, [](const Facts& f) { return f.graph != nullptr; },
     "{flag}: scheme {scheme} has no blocks (leave {flag} out)"},
    {kUnread, kGraphs, kEvery, {&kAccuracyLevel}, [](const Facts& f) { return f.graph != nullptr; },
     "{flag}: scheme {scheme} makes no MatMulNBits (leave it out)"},
    {kUnread, kGraphs, kEvery, {&kSearch},
     [](const Facts& f) { return !f.scheme.empty() && f.scheme != "search"; },
     "{flag} and --scheme {scheme}: contradict each other (leave one out)"},
    {kUnread, kGraphs, ~kInt4, {&kNoProtect}, nullptr,
     "{flag}: only for --precision int4 (other precisions protect nothing; leave it out)"},
    {kUnread, kGraphs, kEvery, {&kNoProtect},
     [](const Facts& f) { return kLmHead.given(f.request); },
     "{flag} and --lm-head: contradict each other (leave one out)"},
    {kUnread, kGraphs, kEvery, {&kAccuracyLevel},
     [](const Facts& f) { return kStyle.given(f.request); },
     "{flag}: an attribute of MatMulNBits, which --style qdq does not use (leave one out)"},

    // From an ONNX model.
    {kOnnxIn, kEvery, kEvery,
     {&kTarget, &kRecipe, &kMixedLayers, &kTextOnly, &kSequenceLength, &kMergeLora}, nullptr,
     "{source}: --target, --recipe, --format, --mixed-layers, --sequence-length, --text-only and "
     "--merge-lora are for checkpoint folders (with config.json and safetensors)"},
    {kOnnxIn, ~kPlain, kEvery, {&kFormat}, nullptr,
     "{source}: --target, --recipe, --format, --mixed-layers, --sequence-length, --text-only and "
     "--merge-lora are for checkpoint folders (with config.json and safetensors)"},
    {kOnnxIn, kEvery, kFloats, {&kScheme}, nullptr,
     "--precision {precision} takes no --scheme, --block-size, --symmetric, --accuracy-level, "
     "--search or --style (they shape integer weights)"},

    // From a checkpoint: a folder for ONNX Runtime GenAI.
    {kCheckpointIn, kGenai, kEvery, {},
     [](const Facts& f) { return f.target.fixed_shapes && is_bad_pair(f); },
     "--target {target} --precision {precision}: no runtime loads that (legal pairs are "
     "{legal_pairs})"},
    {kCheckpointIn, kGenai, kEvery, {}, [](const Facts& f) { return f.target.fixed_shapes; },
     "--target {target}: ONNX Runtime GenAI runs there from binaries that Qualcomm's tools "
     "compile, with activations quantized by calibration data (leave out --format for a plain "
     "model of fixed shape)"},
    {kCheckpointIn, kGenai, kEvery, {&kSequenceLength}, nullptr,
     "{flag}: a GenAI model takes texts of any length (only for --format onnx and --target qnn)"},
    {kCheckpointIn, kGenai, kEvery, {}, is_bad_pair,
     "--target {target} --precision {precision}: no runtime loads that (legal pairs are "
     "{legal_pairs})"},
    {kCheckpointIn, kGenai, kEvery, {}, [](const Facts& f) { return has_extension(f, {".onnx"}); },
     "{output}: a GenAI model is a folder, not one .onnx file (give a folder as output, or "
     "--format onnx)"},

    // A plain ONNX model.
    {kCheckpointIn, kPlain, kEvery, {},
     [](const Facts& f) { return f.target.fixed_shapes && is_bad_pair(f); },
     "--target {target} --precision {precision}: no runtime loads that (legal pairs are "
     "{legal_pairs})"},
    {kCheckpointIn, kPlain, kEvery, {},
     [](const Facts& f) {
       return f.target.fixed_shapes && !kSequenceLength.given(f.request);
     },
     "--target {target}: takes no dynamic shapes (give --sequence-length N, the tokens of a call)"},
    {kCheckpointIn, kPlain, kIntegers, {&kStyle},
     [](const Facts& f) { return f.target.fixed_shapes; },
     "--target {target}: runs weights behind DequantizeLinear only between quantized activations, "
     "which need calibration data (leave out --style)"},
    {kCheckpointIn, kPlain, kIntegers, {&kBlockSize, &kAsymmetric},
     [](const Facts& f) {
       const uint32_t block = f.request.recipe.block_size.value_or(32);
       return f.target.fixed_shapes &&
              ((block != 32 && block != 64) || kAsymmetric.given(f.request));
     },
     "--target {target}: takes symmetric blocks of 32 or 64 (leave out --block-size and "
     "--asymmetric)"},
    {kCheckpointIn, kPlain, kIntegers, {&kLmHead, &kMixedLayers},
     [](const Facts& f) {
       return f.target.fixed_shapes && (f.request.recipe.lm_head == TableBits::int8 ||
                                        kMixedLayers.given(f.request));
     },
     "--target {target}: has no 8-bit weights (leave out --lm-head int8 and --mixed-layers)"},
    {kCheckpointIn, kPlain, kEvery, {&kTarget},
     [](const Facts& f) { return !f.target.fixed_shapes; },
     "{flag}: has no meaning with --format onnx, which is for every runtime (leave it out)"},

    // Both of them.
    {kCheckpointIn, kGenai | kPlain, ~kInt4, {&kMixedLayers}, nullptr,
     "{flag}: only for --precision int4 (leave it out)"},

    // What --style makes of integers where no scheme is named.
    {kOnnxIn | kCheckpointIn, kGraphs, kIntegers, {&kSearch},
     [](const Facts& f) { return f.scheme != "search"; },
     "{flag} and --scheme {scheme} exclude each other (leave one out)"},
    {kOnnxIn | kCheckpointIn, kGraphs, kIntegers, {&kBlockSize},
     [](const Facts& f) { return !f.block; }, "{flag} has no meaning for --scheme {scheme}"},
    {kOnnxIn | kCheckpointIn, kGraphs, kIntegers, {&kAccuracyLevel},
     [](const Facts& f) { return !f.block || f.block->packing != Packing::nbits; },
     "{flag} is an attribute of MatMulNBits, which --scheme {scheme} does not make"},

    // A folder for MLX.
    {kCheckpointIn, kMlx, kEvery, {},
     [](const Facts& f) { return has_extension(f, {".safetensors", ".gguf", ".onnx"}); },
     "{output}: an MLX model is a folder, not one file (give a folder)"},
    {kCheckpointIn, kMlx, kEvery, {&kTarget, &kStyle, &kSearch}, nullptr,
     "{flag}: not for --format mlx (leave it out)"},
    {kCheckpointIn, kMlx, kEvery, {&kSymmetric, &kAsymmetric}, nullptr,
     "--symmetric and --asymmetric: not for --format mlx (leave it out)"},
    {kCheckpointIn, kMlx, kEvery, {&kAccuracyLevel}, nullptr,
     "{flag}: not for --format mlx (leave it out)"},
    {kCheckpointIn, kMlx, kEvery, {&kMixedLayers}, nullptr,
     "{flag} (there is --scheme mixed_4_6): not for --format mlx (leave it out)"},
    {kCheckpointIn, kMlx, kEvery, {&kOpBlockList}, nullptr,
     "{flag}: not for --format mlx (leave it out)"},
};
// clang-format on

// ---- The loop

Error refusal(const Rule& rule, const Field* field, const Facts& f) {
  return {
      Errc::usage,
      fmt::format(fmt::runtime(rule.words),
                  fmt::arg("flag", field ? fmt::format("{}{}", field->flag, field->value) : ""),
                  fmt::arg("precision", name_of(f.request.recipe.precision)),
                  fmt::arg("scheme", f.scheme), fmt::arg("goes_with", name_of(f.goes_with())),
                  fmt::arg("bits", f.bits()),
                  fmt::arg("alternatives", fmt::format("{}", fmt::join(alternatives(f), " or "))),
                  fmt::arg("target", f.target.name), fmt::arg("legal_pairs", format::legal_pairs()),
                  fmt::arg("source", f.request.source.path.string()),
                  fmt::arg("output", f.request.output.path.string()))};
}

// The first of the rule's fields that was given; null: none.
const Field* given_field(const Rule& rule, const Request& request) {
  for (const Field* field : rule.any)
    if (field && field->given(request)) return field;
  return nullptr;
}

Result<void> check(const Facts& f) {
  for (const Rule& rule : kRules) {
    if (!(rule.inputs & set_of(f.input)) || !(rule.formats & set_of(f.format)) ||
        !(rule.precisions & set_of(f.request.recipe.precision)))
      continue;
    // `also` may rely on its field: it is asked last.
    const Field* field = given_field(rule, f.request);
    if ((rule.any[0] && !field) || (rule.also && !rule.also(f))) continue;
    return refusal(rule, field, f);
  }
  return {};
}

}  // namespace

Result<Request> settle(Request request, bool both_symmetries) {
  OutputFormat& format = request.output.format;
  if (format == OutputFormat::automatic && request.output.path.extension() == ".gguf")
    format = OutputFormat::gguf;
  Precision& precision = request.recipe.precision;
  const Facts asked{request, Input::unread, format, both_symmetries, request.recipe.scheme};
  if (precision == Precision::automatic &&
      (format == OutputFormat::gguf || format == OutputFormat::mlx))
    precision = asked.goes_with();
  PHIQUANT_TRY(check(asked));
  return request;
}

Result<void> check_legality(const Request& request, Input input, OutputFormat format) {
  const bool is_integer = set_of(request.recipe.precision) & kIntegers && set_of(format) & kGraphs;
  return check(
      {request, input, format, false,
       is_integer ? scheme_of(request.recipe, request.output.onnx) : request.recipe.scheme});
}

}  // namespace phiquant
