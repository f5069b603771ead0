// Commands and exit codes: the other tables of options.h; and how an option is
// shown.
#include <algorithm>
#include <iterator>

#include "cli/options.h"

namespace phiquant::cli {
namespace {

constexpr VerbInfo kVerbs[] = {
    {Verb::quantize, kOnQuantize, "quantize", "IN -o OUT --precision P", 1,
     "Convert a model to another precision",
     "Reads the ONNX model IN (a file, or a folder holding one) and writes OUT. A Phi checkpoint "
     "(a "
     "folder with config.json and safetensors, as downloaded) becomes a folder for ONNX Runtime "
     "GenAI. The plan is made "
     "from headers; "
     "weights are then streamed, so memory stays small whatever the model's size. The output is "
     "complete or "
     "untouched, and its bytes do not depend on the machine or on the number of threads.",
     "phiquant quantize model.onnx -o phi-int4 --precision int4\n"
     "phiquant quantize phi/ -o phi-int4.onnx -p int4 --block-size 128 --asymmetric\n"
     "phiquant quantize phi/ -o phi-fp16 -p fp16 --op-block-list Softmax,LayerNormalization "
     "--strict\n"
     "phiquant quantize phi/ -o phi-int4 -p int4 --dry-run\n"
     "phiquant quantize Phi-3.5-mini-instruct/ -o phi-genai -p int4 --target cpu"},
    {Verb::inspect, kOnInspect, "inspect", "MODEL", 1, "Show what a model holds",
     "Prints what a model says about itself: properties, tensors and, of an ONNX graph, inputs, "
     "outputs and operators; with the precisions that each tensor can be converted to. MODEL is "
     "anything that compare takes. Reads headers only.",
     "phiquant inspect model.onnx\nphiquant inspect Phi-4-mini-instruct/\n"
     "phiquant inspect phi-int4 --json"},
    {Verb::compare, kOnCompare, "compare", "A B", 2, "Measure how far B's weights are from A's",
     "Pairs the weights of two models, dequantizes both and prints SQNR, cosine and largest error "
     "of each pair. A is the original, B the quantized model; each is an ONNX file or a folder "
     "with one, a GenAI folder, a checkpoint folder, a GGUF file or an MLX folder. Weights of a "
     "language model are paired by what they are for, others by name.",
     "phiquant compare model.onnx phi-int4\nphiquant compare Phi-4-mini-instruct/ phi4-int4/\n"
     "phiquant compare model.onnx phi-int4 --fail-below-sqnr "
     "15"},
    {Verb::list, kOnList, "list", "", 0, "List schemes, formats and SIMD levels",
     "Prints what --scheme accepts, the file formats, and the instruction sets that this CPU "
     "offers. The environment "
     "variable PHIQUANT_SIMD forces one of them; the output is the same bytes with each.",
     "phiquant list\nphiquant list --json"},
};

constexpr ExitCode kExitCodes[] = {
    {0, "done"},
    {1, "a file could not be read or written, or the disk is full"},
    {2, "the command line is wrong, or the output exists already"},
    {3, "the input breaks its own format"},
    {4, "the input is sound, but this program cannot handle it"},
    {5, "a check failed: --strict, --fail-below-sqnr, nothing to compare"},
    {130, "cancelled by Ctrl-C or SIGTERM"},
};

}  // namespace

std::span<const VerbInfo> verbs() { return kVerbs; }
std::span<const ExitCode> exit_codes() { return kExitCodes; }

const VerbInfo& verb_info(Verb verb) {
  return *std::find_if(std::begin(kVerbs), std::end(kVerbs),
                       [&](const VerbInfo& v) { return v.verb == verb; });
}

const VerbInfo* find_verb(std::string_view name) {
  for (const VerbInfo& verb : kVerbs)
    if (verb.name == name) return &verb;
  return nullptr;
}

std::string option_syntax(const Option& option) {
  std::string text;
  if (option.short_name) text = std::string("-") + option.short_name + ", ";
  if (option.kind == Kind::toggle)
    text.append("--[no-]").append(option.name.substr(2));
  else
    text += option.name;
  if (!option.value_name.empty()) text.append(" ").append(option.value_name);
  return text;
}

}  // namespace phiquant::cli
