#include "cli/options.h"

#include <algorithm>
#include <array>

#include "cli/values.h"
#include "decide/integer_settings.h"
#include "decide/mix_gguf.h"
#include "decide/mix_mlx.h"
#include "format/formats.h"
#include "format/legality.h"
#include "quant/scheme.h"

namespace phiquant::cli {
namespace {

using R = Result<void>;
using S = std::string_view;

// ---- Setters shared by several rows ----

template <auto Member>
R set_flag(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.*Member, parse_flag(text));
  return {};
}
template <auto... Path>
R set_quantize_flag(Invocation& q, S text) {
  PHIQUANT_ASSIGN((q.quantize.*....*Path), parse_flag(text));
  return {};
}
template <auto... Path>
R set_size(Invocation& q, S text) {
  PHIQUANT_ASSIGN((q.quantize.*....*Path), parse_size(text));
  return {};
}
template <auto... Path>
R set_text(Invocation& q, S text) {
  (q.quantize.*....*Path) = text;
  return {};
}
template <auto... Path>
R append(Invocation& q, S text) {
  (q.quantize.*....*Path).emplace_back(text);
  return {};
}
template <auto... Path>
R set_table_bits(Invocation& q, S text) {
  (q.quantize.*....*Path) = text == "keep"   ? TableBits::keep
                            : text == "int8" ? TableBits::int8
                                             : TableBits::int4;
  return {};
}

R set_no_protect(Invocation& q, S text) {
  PHIQUANT_ASSIGN(const bool no_protect, parse_flag(text));
  q.quantize.recipe.protect = !no_protect;
  return {};
}
R set_precision(Invocation& q, S text) {
  const auto at = std::find(std::begin(kPrecisionNames), std::end(kPrecisionNames), text);
  q.quantize.recipe.precision = static_cast<Precision>(at - std::begin(kPrecisionNames));
  return {};
}
R set_format(Invocation& q, S text) {
  for (const Format& row : formats())
    if (row.name == text) q.quantize.output.format = row.format;
  return {};
}
R set_target(Invocation& q, S text) {
  const auto at = std::find(std::begin(kTargetNames), std::end(kTargetNames), text);
  q.quantize.output.onnx.target = static_cast<Target>(at - std::begin(kTargetNames));
  return {};
}
R set_merge_lora(Invocation& q, S text) {
  q.quantize.source.merge_lora = text == "vision"   ? MergeLora::vision
                                 : text == "speech" ? MergeLora::speech
                                                    : MergeLora::none;
  return {};
}
R set_block_size(Invocation& q, S text) {
  const auto size = parse_count(text, 16, 256);
  if (!size || (*size & (*size - 1)) != 0)
    return Error{Errc::usage, "wanted a power of two from 16 to 256 (try 32)"};
  q.quantize.recipe.block_size = static_cast<uint32_t>(*size);
  return {};
}
R set_sequence_length(Invocation& q, S text) {
  PHIQUANT_ASSIGN(const uint64_t length, parse_count(text, 1, 65536));
  q.quantize.output.onnx.sequence_length = static_cast<uint32_t>(length);
  return {};
}
R set_context(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.quantize.output.mlx.context, parse_count(text, 1, uint64_t{1} << 30));
  return {};
}
R set_accuracy_level(Invocation& q, S text) {
  PHIQUANT_ASSIGN(const uint64_t level, parse_count(text, 0, 4));
  q.quantize.output.onnx.accuracy_level = static_cast<int>(level);
  return {};
}
R set_threads(Invocation& q, S text) {
  PHIQUANT_ASSIGN(const uint64_t threads, parse_count(text, 1, 1024));
  q.quantize.run.threads = static_cast<unsigned>(threads);
  return {};
}
R set_symmetric(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.symmetric_given, parse_flag(text));
  // Of both, which settle() refuses, this one is named.
  if (q.symmetric_given) q.quantize.recipe.symmetric = true;
  return {};
}
R set_asymmetric(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.asymmetric_given, parse_flag(text));
  if (q.asymmetric_given && !q.symmetric_given) q.quantize.recipe.symmetric = false;
  return {};
}
R set_keep_io_types(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.quantize.output.onnx.keep_io_types, parse_flag(text));
  return {};
}
R set_max_memory(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.quantize.run.max_memory_bytes, parse_size(text));
  constexpr uint64_t kLeast = 16'000'000;  // a tile of each stage for one thread
  if (q.quantize.run.max_memory_bytes < kLeast) return Error{Errc::usage, "wanted at least 16M"};
  return {};
}
R set_max_file_size(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.quantize.output.max_file_size, parse_size(text));
  if (q.quantize.output.max_file_size == 0)
    return Error{Errc::usage, "wanted more than 0 (leave it out for no limit)"};
  return {};
}
R set_progress(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.progress, parse_flag(text));
  return {};
}
R set_color(Invocation& q, S text) {
  q.color = text == "auto"     ? ColorMode::automatic
            : text == "always" ? ColorMode::always
                               : ColorMode::never;
  return {};
}
R set_fail_below(Invocation& q, S text) {
  PHIQUANT_ASSIGN(q.fail_below_sqnr_db, parse_decimal(text));
  return {};
}
// A split at commas: "Add,Mul" is two op types.
R set_op_block_list(Invocation& q, S text) {
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) q.quantize.output.onnx.op_block_list.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return {};
}
R set_help(HelpMode mode, Invocation& q) {
  q.help = mode;
  return {};
}

// ---- The table ----

constexpr Option kOptions[] = {
    {kOnQuantize, true, "--output", 'o', Kind::path, "OUT", "", "",
     "Folder to make, or one file ending in .onnx or .gguf",
     "A folder gets model.onnx and, if large, model.onnx.data. It appears whole or not at all. A "
     "name that ends in .gguf means --format gguf.",
     [](Invocation& q, S text) -> R {
       q.quantize.output.path = text;
       return {};
     }},
    {kOnQuantize, true, fields::kPrecision.flag, 'p', Kind::choice, "P", "int4 int8 fp16 bf16 fp32", "",
     "What to make: int4, int8, fp16, bf16 or fp32",
     "int4 and int8 quantize the weights of linear layers; fp16 and bf16 convert the whole graph; "
     "fp32 turns quantized "
     "and 16-bit models back into plain float.",
     set_precision},
    {kOnQuantize, true, fields::kScheme.flag, 0, Kind::scheme, "NAME", "", "by precision and style",
     "Exact quantization rule, see 'phiquant list'", "",
     [](Invocation& q, S text) -> R {
       q.quantize.recipe.scheme = text;
       return {};
     }},
    {kOnQuantize, true, fields::kBlockSize.flag, 0, Kind::value, "N", "", "32",
     "Values that share a scale: 16, 32, ... 256", "Smaller blocks are more accurate and larger.",
     set_block_size},
    {kOnQuantize, false, fields::kSymmetric.flag, 0, Kind::flag, "", "", "the scheme's default",
     "Codes without a zero point", "", set_symmetric},
    {kOnQuantize, false, fields::kAsymmetric.flag, 0, Kind::flag, "", "", "",
     "Codes with a zero point per block", "", set_asymmetric},
    {kOnQuantize, false, fields::kAccuracyLevel.flag, 0, Kind::value, "N", "", "4",
     "MatMulNBits arithmetic: 0 (unset) to 4 (int8)",
     "1 fp32, 2 fp16, 3 bf16, 4 int8 activations; 0 leaves the attribute out.", set_accuracy_level},
    {kOnQuantize, true, fields::kStyle.flag, 0, Kind::choice, "STYLE", "contrib qdq", "contrib",
     "Operators: contrib (MatMulNBits) or qdq (standard)",
     "contrib needs ONNX Runtime; qdq uses DequantizeLinear, for runtimes with standard operators "
     "only (int4: opset "
     "21).",
     [](Invocation& q, S text) -> R {
       q.quantize.output.onnx.style = text == "qdq" ? Style::qdq : Style::contrib;
       return {};
     }},
    {kOnQuantize, true, fields::kSearch.flag, 0, Kind::flag, "", "", "",
     "Search better scales (slower, data-free)",
     "Weighted least squares over candidate scales of each block.",
     set_quantize_flag<&Request::recipe, &Recipe::search>},
    {kOnQuantize, false, fields::kNoProtect.flag, 0, Kind::flag, "", "", "",
     "int4: quantize lm_head to int4 too",
     "By default lm_head gets 8 bits, because 4 bits there ruin some Phi models.",
     set_no_protect, "--uniform"},
    {kOnQuantize, true, fields::kTarget.flag, 0, Kind::choice, "EP", "cpu cuda dml webgpu qnn", "cpu",
     "Checkpoints: where the graph is to run",
     "The execution provider of ONNX Runtime. cpu: int4, int8, fp32; cuda: int4, int8, fp16, bf16, "
     "fp32; dml and webgpu: int4, fp16; qnn: int4, fp16 as a plain model of fixed shape, with "
     "--sequence-length.",
     set_target},
    {kOnQuantize, false, fields::kSequenceLength.flag, 0, Kind::value, "N", "", "any",
     "Checkpoints: fix the shapes of a plain ONNX model",
     "For --format onnx and --target qnn: the graph takes one text of exactly N tokens; shorter "
     "ones are filled up behind their end. Rotary tables and the mask become constants.",
     set_sequence_length},
    {kOnQuantize, false, fields::kRecipe.flag, 0, Kind::choice, "NAME", "default builder", "default",
     "Checkpoints: our defaults, or the model builder's",
     "builder makes what ONNX Runtime GenAI's model builder makes with the same options: int4 "
     "for all layers, tied embeddings "
     "quantized.",
     [](Invocation& q, S text) -> R {
       q.quantize.recipe.defaults = text == "builder" ? Defaults::builder : Defaults::ours;
       return {};
     }},
    {kOnQuantize, true, fields::kFormat.flag, 0, Kind::format, "FORMAT", "", "genai for checkpoints",
     "Checkpoints: what to write, see 'phiquant list'",
     "genai: for ONNX Runtime GenAI; gguf: for llama.cpp; mlx: a folder for MLX. onnx writes "
     "standard operators from "
     "input_ids to logits, without a cache; with --style qdq for every runtime. A GGUF file "
     "becomes another one, or any of these.",
     set_format},
    {kOnQuantize, false, fields::kMixedLayers.flag, 0, Kind::flag, "", "", "",
     "Checkpoints, int4: 8 bits for sensitive layers",
     "The qkv and down projections of the first and last eighth of the layers and of every third "
     "between.",
     set_quantize_flag<&Request::recipe, &Recipe::mixed_layers>},
    {kOnQuantize, false, fields::kTextOnly.flag, 0, Kind::flag, "", "", "",
     "Checkpoints: take the text part of a multimodal model", "",
     set_quantize_flag<&Request::source, &SourceOptions::text_only>},
    {kOnQuantize, false, fields::kMergeLora.flag, 0, Kind::choice, "NAME", "none vision speech", "none",
     "Checkpoints: adapter to merge into the weights", "For Phi-4-multimodal, with --text-only.",
     set_merge_lora},
    {kOnQuantize, false, fields::kImatrix.flag, 0, Kind::path, "FILE", "", "",
     "GGUF: importance of columns, from llama-imatrix",
     "Its GGUF and its older format are read. Every scheme with codes of its own uses it, except "
     "q8_0.",
     [](Invocation& q, S text) -> R {
       q.quantize.recipe.imatrix = text;
       return {};
     }},
    {kOnQuantize, false, fields::kTensorType.flag, 0, Kind::list, "GLOB=TYPE", "", "by the scheme",
     "GGUF: type of the tensors whose name matches",
     "Names as GGUF has them: blk.0.ffn_down.weight. May be given many times; the first match "
     "wins.",
     append<&Request::recipe, &Recipe::tensor_types>},
    {kOnQuantize, false, fields::kTokenEmbeddingType.flag, 0, Kind::value, "TYPE", "", "by the scheme",
     "GGUF: type of token_embd.weight", "", set_text<&Request::recipe, &Recipe::token_embedding_type>},
    {kOnQuantize, false, fields::kOutputTensorType.flag, 0, Kind::value, "TYPE", "", "by the scheme",
     "GGUF: type of output.weight", "Of token_embd.weight where there is no output.weight.",
     set_text<&Request::recipe, &Recipe::output_tensor_type>},
    {kOnQuantize, false, fields::kPure.flag, 0, Kind::flag, "", "", "",
     "GGUF: every weight gets the scheme's base type", "As llama-quantize --pure.",
     set_quantize_flag<&Request::recipe, &Recipe::pure>},
    {kOnQuantize, false, fields::kViaF16.flag, 0, Kind::flag, "", "", "", "GGUF: round weights to f16 first",
     "The bytes are then those of a conversion through an F16 file; without it weights are "
     "quantized as they are stored, which is closer.",
     set_quantize_flag<&Request::output, &OutputSpec::gguf, &GgufSettings::via_f16>},
    {kOnQuantize, false, fields::kContext.flag, 0, Kind::value, "TOKENS", "", "",
     "MLX: the most tokens it will be used with",
     "mlx_lm uses the long rope factors of Phi-3.5 and Phi-4-mini at every length. Where TOKENS is "
     "not above the original length, the short ones, which are right there, stand in their place.",
     set_context},
    {kOnQuantize, false, fields::kInclude.flag, 0, Kind::list, "GLOB", "", "everything that can be quantized",
     "Only nodes or tensors whose name matches",
     "* stands for any text, ? for one character. May be given many times. A glob that matches "
     "nothing is an error.",
     append<&Request::recipe, &Recipe::include>},
    {kOnQuantize, true, fields::kExclude.flag, 0, Kind::list, "GLOB", "", "",
     "Leave matching nodes or tensors as they are", "May be given many times; wins over --include.",
     append<&Request::recipe, &Recipe::exclude>},
    {kOnQuantize, false, fields::kEmbeddings.flag, 0, Kind::choice, "BITS", "keep int8 int4", "keep",
     "Embedding tables: keep, int8 or int4", "", set_table_bits<&Request::recipe, &Recipe::embeddings>},
    {kOnQuantize, false, fields::kLmHead.flag, 0, Kind::choice, "BITS", "keep int8 int4", "int8 under int4",
     "The last linear layer: keep, int8 or int4", "", set_table_bits<&Request::recipe, &Recipe::lm_head>},
    {kOnQuantize, false, fields::kKeepIoTypes.flag, 0, Kind::toggle, "", "", "yes",
     "fp16, bf16: graph inputs and outputs stay fp32", "", set_keep_io_types},
    {kOnQuantize, false, fields::kOpBlockList.flag, 0, Kind::list, "OP,...", "", "",
     "fp16, bf16: more op types that stay fp32",
     "Added to the built-in list. May be given many times.", set_op_block_list},
    {kOnQuantize, false, "--strict", 0, Kind::flag, "", "", "",
     "Fail on NaN or infinite weights and on fp16 overflow",
     "Without it such weights are kept as they are, or saturated, and reported. Exit code 5.",
     set_quantize_flag<&Request::run, &RunOptions::strict>},
    {kOnQuantize | kOnCompare, false, "--threads", 0, Kind::value, "N", "", "all cores",
     "Worker threads", "The output does not depend on it.", set_threads},
    {kOnQuantize, false, "--max-memory", 0, Kind::value, "SIZE", "", "400M",
     "Bound on buffers, 16M or more",
     "Sizes: K, M, G, T are powers of 1000; Ki, Mi, Gi, Ti powers of 1024.", set_max_memory},
    {kOnQuantize, false, "--external-data-threshold", 0, Kind::value, "SIZE", "", "1024",
     "Smaller tensors stay inside model.onnx",
     "0 moves all into the data file but integers and other values that shape inference reads.",
     set_size<&Request::output, &OutputSpec::onnx, &OnnxSettings::external_data_threshold>},
    {kOnQuantize, false, "--max-file-size", 0, Kind::value, "SIZE", "", "no limit",
     "Split external data over files of this size",
     "A tensor is never split. GGUF: OUT is a folder of parts, as llama-gguf-split names and cuts "
     "them.",
     set_max_file_size},
    {kOnQuantize, true, "--dry-run", 0, Kind::flag, "", "", "",
     "Show the plan and exact sizes; write nothing",
     "Reads headers only. Also prints the peak memory and the free disk space.",
     set_quantize_flag<&Request::run, &RunOptions::dry_run>},
    {kOnQuantize, true, "--report", 0, Kind::path, "FILE.json", "", "", "Write the report as JSON",
     "Its fields are described in docs/cli.md.",
     [](Invocation& q, S text) -> R {
       q.report = text;
       return {};
     }},
    {kOnQuantize, true, "--force", 0, Kind::flag, "", "", "",
     "Replace an existing output (or report)", "The old one stands until the new one is complete.",
     set_quantize_flag<&Request::run, &RunOptions::force>},
    {kOnQuantize | kOnInspect, false, "--follow-symlinks", 0, Kind::flag, "", "", "",
     "Accept external data behind links that leave the folder",
     "Links inside a Hugging Face cache always work.",
     set_quantize_flag<&Request::source, &SourceOptions::follow_symlinks>},
    {kOnQuantize, false, "--measure-error", 0, Kind::toggle, "", "", "yes",
     "SQNR, cosine and largest error of each tensor",
     "Costs some CPU time; the output is the same.", set_quantize_flag<&Request::run, &RunOptions::measure_error>},
    {kOnCompare, true, "--fail-below-sqnr", 0, Kind::value, "DB", "", "",
     "Exit with 5 if a pair of tensors is below DB decibels", "The result is printed all the same.",
     set_fail_below},
    {kOnEveryVerb, true, "--json", 0, Kind::flag, "", "", "", "Print the result as JSON", "",
     set_flag<&Invocation::json>},
    {kOnQuantize | kOnInspect | kOnCompare, true, "--quiet", 'q', Kind::flag, "", "", "",
     "Errors only: no summary, steps or warnings",
     "Results of inspect, compare, --dry-run and --json are still printed.",
     set_flag<&Invocation::quiet>},
    {kOnQuantize | kOnInspect | kOnCompare, true, "--verbose", 'v', Kind::flag, "", "", "",
     "Every tensor, and details", "", set_flag<&Invocation::verbose>},
    {kOnQuantize | kOnCompare, false, "--progress", 0, Kind::toggle, "", "", "on a terminal",
     "Show a progress bar on stderr", "", set_progress},
    {kOnEveryVerb | kOnProgram, false, "--color", 0, Kind::choice, "WHEN", "auto always never",
     "auto", "Colour of messages on stderr", "auto: on a terminal, unless NO_COLOR is set.",
     set_color},
    {kOnProgram, true, "--generate", 0, Kind::choice, "KIND", "man bash zsh fish", "",
     "Print the man page or shell completions", "",
     [](Invocation& q, S text) -> R {
       q.generate = text;
       return {};
     }},
    {kOnProgram, true, "--version", 'V', Kind::flag, "", "", "", "Print the version", "",
     set_flag<&Invocation::version>},
    {kOnEveryVerb | kOnProgram, true, "-h", 0, Kind::flag, "", "", "",
     "This page: the options most used", "",
     [](Invocation& q, S) { return set_help(HelpMode::brief, q); }},
    {kOnEveryVerb | kOnProgram, true, "--help", 0, Kind::flag, "", "", "",
     "All options, exit codes and examples", "",
     [](Invocation& q, S) { return set_help(HelpMode::full, q); }},
};

}  // namespace

std::span<const Option> options() { return kOptions; }

std::vector<const Option*> options_of(unsigned verb_bit) {
  std::vector<const Option*> found;
  for (const Option& option : kOptions)
    if (option.verbs & verb_bit) found.push_back(&option);
  return found;
}

std::vector<std::string> choices_of(const Option& option) {
  std::vector<std::string> words;
  if (option.kind == Kind::scheme) {
    for (const Scheme& scheme : block_schemes()) words.emplace_back(scheme.name);
    for (const GraphScheme& scheme : graph_schemes()) words.emplace_back(scheme.name);
    for (const GgufFileType& type : gguf_file_types())
      if (!find_graph_scheme(type.name)) words.emplace_back(type.name);
    for (const MlxScheme& mlx : mlx_schemes())
      if (!find_gguf_file_type(mlx.name)) words.emplace_back(mlx.name);
  }
  if (option.kind == Kind::format)
    for (const Format& row : formats()) words.emplace_back(row.name);
  for (std::string_view rest = option.choices; !rest.empty();) {
    const size_t blank = std::min(rest.find(' '), rest.size());
    words.emplace_back(rest.substr(0, blank));
    rest.remove_prefix(std::min(blank + 1, rest.size()));
  }
  return words;
}

}  // namespace phiquant::cli
