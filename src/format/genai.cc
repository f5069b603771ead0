#include "format/genai.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "format/genai_config.h"
#include "format/genai_policy.h"
#include "format/onnx_layout.h"
#include "format/onnx_plan.h"
#include "format/onnx_policy.h"
#include "format/onnx_provenance.h"
#include "format/side_files.h"

namespace phiquant {
namespace {

using namespace format;

bool is_integer(Precision p) { return p == Precision::int4 || p == Precision::int8; }

OnnxModel empty_model(const Checkpoint& c, const QuantizeOptions& o) {
  OnnxModel model;
  model.proto.set_ir_version(10);
  model.proto.mutable_graph()->set_name("main_graph");
  const auto import = [&](const char* domain, int64_t version) {
    auto* opset = model.proto.add_opset_import();
    opset->set_domain(domain);
    opset->set_version(version);
  };
  import("", is_plain_onnx(o) ? 21 : 22);  // 21: the first with 4-bit DequantizeLinear
  if (!is_plain_onnx(o)) import("com.microsoft", 1);
  model.path = c.folder;
  model.files = c.files;
  model.input_bytes = c.input_bytes;
  return model;
}

// What a target without dynamic shapes leaves open.
Result<void> check_fixed_shapes(const QuantizeOptions& o) {
  const auto refuse = [&](const std::string& what) {
    return Error{Errc::usage, fmt::format("--target {}: {}", target_info(o.target).name, what)};
  };
  PHIQUANT_TRY(check_target(o.target, o.precision));
  if (o.format == OutputFormat::genai)
    return refuse(
        "ONNX Runtime GenAI runs there from binaries that Qualcomm's tools compile, with "
        "activations quantized by calibration data (leave out --format for a plain model of fixed "
        "shape)");
  if (!o.sequence_length)
    return refuse("takes no dynamic shapes (give --sequence-length N, the tokens of a call)");
  if (!is_integer(o.precision)) return {};
  if (o.style == Style::qdq)
    return refuse(
        "runs weights behind DequantizeLinear only between quantized activations, which need "
        "calibration data (leave out --style)");
  const uint32_t block = o.block_size.value_or(32);
  if ((block != 32 && block != 64) || !o.symmetric.value_or(true))
    return refuse("takes symmetric blocks of 32 or 64 (leave out --block-size and --asymmetric)");
  if (o.lm_head == TableBits::int8 || o.mixed_layers)
    return refuse("has no 8-bit weights (leave out --lm-head int8 and --mixed-layers)");
  return {};
}

Result<void> check_options(const QuantizeOptions& o) {
  if (target_info(o.target).fixed_shapes)
    PHIQUANT_TRY(check_fixed_shapes(o));
  else if (is_plain_onnx(o) && o.target != Target::cpu)
    return Error{
        Errc::usage,
        "--target: has no meaning with --format onnx, which is for every runtime (leave it out)"};
  if (o.sequence_length && !is_plain_onnx(o))
    return Error{Errc::usage,
                 "--sequence-length: a GenAI model takes texts of any length (only for --format "
                 "onnx and --target qnn)"};
  if (!is_plain_onnx(o)) PHIQUANT_TRY(check_target(o.target, o.precision));
  if (!is_plain_onnx(o) && o.output.extension() == ".onnx")
    return Error{Errc::usage,
                 fmt::format("{}: a GenAI model is a folder, not one .onnx file (give a folder as "
                             "output, or --format onnx)",
                             o.output.string())};
  if (o.mixed_layers && o.precision != Precision::int4)
    return Error{Errc::usage, "--mixed-layers: only for --precision int4 (leave it out)"};
  return {};
}

// A Constant node in front of `before`, named by its value as GraphWriter names them.
std::string add_shape(Editor& editor, const onnx::NodeProto& before,
                      const std::vector<int64_t>& values) {
  const std::string text = fmt::format("INT64/[{}]", fmt::join(values, ", "));
  onnx::NodeProto& node = editor.insert_before(editor.index->main(), before);
  node.set_op_type("Constant");
  node.set_name(editor.node_name("/model/constant_nodes/" + text));
  node.add_output(editor.value_name("/model/constants/" + text));
  auto* a = node.add_attribute();
  a->set_name("value");
  a->set_type(onnx::AttributeProto::TENSOR);
  *a->mutable_t() = make_tensor(node.output(0), DType::i64, {values.size()});
  a->mutable_t()->set_raw_data(
      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(int64_t)));
  return node.output(0);
}

void rename_value(Editor& editor, const std::string& from, const std::string& to) {
  for (const auto& use : std::vector<Use>(GraphIndex::uses(editor.index->main(), from)))
    use.node->set_input(use.input, to);
}

struct EmbeddingNodes {
  onnx::NodeProto *head = nullptr, *transpose = nullptr, *gather = nullptr;
};

EmbeddingNodes find_embedding(Editor& editor) {
  EmbeddingNodes found;
  for (auto& node : editor.index->main().nodes()) {
    if (node.name().starts_with("/lm_head/MatMul") && node.op_type() == "MatMulNBits")
      found.head = &node;
    if (node.name() == "/model/embed_tokens/Transpose") found.transpose = &node;
    if (node.name() == "/model/embed_tokens/Gather") found.gather = &node;
  }
  return found;
}

// The embedding reads the codes of the lm_head: [vocab, hidden * bits / 8] bytes, a row per token.
bool share_codes(Editor& editor, const Decoder& decoder) {
  const auto [head, transpose, gather] = find_embedding(editor);
  if (!head || !transpose || !gather) return false;
  Scope& main = editor.index->main();
  const int64_t bits = int_attribute(*head, "bits", 4),
                block = int_attribute(*head, "block_size", 32);
  const int64_t hidden = decoder.hidden, padded = (hidden + block - 1) / block * block;
  const std::string path = "/model/embed_tokens", rows = path + "/GatherBlockQuantized/output_0";
  const std::string result = padded == hidden ? rows : path + "/Slice/output_0";
  const std::string shape =
      add_shape(editor, *gather, {static_cast<int64_t>(decoder.vocab), padded * bits / 8});

  onnx::NodeProto& reshape = editor.insert_before(main, *gather);
  reshape.set_op_type("Reshape");
  reshape.set_name(path + "/Reshape");
  reshape.add_input(head->input(1));
  reshape.add_input(shape);
  reshape.add_output(path + "/Reshape/output_0");

  rename_value(editor, gather->output(0), result);
  gather->set_op_type("GatherBlockQuantized");
  gather->set_domain("com.microsoft");
  gather->set_name(path + "/GatherBlockQuantized");
  gather->clear_input();
  for (const std::string& input : {reshape.output(0), std::string("input_ids"), head->input(2)})
    gather->add_input(input);
  if (head->input_size() > 3) gather->add_input(head->input(3));
  gather->set_output(0, rows);
  add_int_attribute(*gather, "bits", bits);
  add_int_attribute(*gather, "block_size", block);
  add_int_attribute(*gather, "gather_axis", 0);
  add_int_attribute(*gather, "quantize_axis", 1);
  if (padded != hidden) {
    std::vector<std::string> inputs = {rows};
    for (const int64_t v : {int64_t{0}, hidden, int64_t{-1}})
      inputs.push_back(add_shape(editor, *gather, {v}));
    onnx::NodeProto& slice = editor.insert_after(main, *gather);
    slice.set_op_type("Slice");
    slice.set_name(path + "/Slice");
    for (const std::string& input : inputs) slice.add_input(input);
    slice.add_output(result);
  }
  const std::string table = transpose->input(0);
  editor.remove(*transpose);
  transpose->clear_input();
  editor.released(main, table);
  editor.apply();
  return true;
}

// Rows of the report: what the checkpoint held, not what the graph declares.
void finish_rows(Plan& plan, const GraphWriter& w, bool shares_codes) {
  for (PlanRow& row : plan.rows) {
    const auto it = w.sources().find(row.tensor);
    if (it == w.sources().end()) continue;
    row.from = it->second.dtype;
    row.bytes_before = it->second.bytes->size_bytes();
    if (row.role == "embedding" && shares_codes) row.reason = "shares the codes of lm_head";
    if (row.action == "keep" && row.bytes_after != 0)
      row.bytes_after = tensor_bytes(w.io, row.shape).value_or(row.bytes_before);
  }
}

void add_float_rows(Plan& plan, const GraphWriter& w) {
  for (const auto& [name, source] : w.sources()) {
    PlanRow row;
    row.tensor = name;
    row.role = name.find("norm") != std::string::npos ? "norm"
               : name.starts_with("lm_head")          ? "lm_head"
               : source.shape.size() == 2             ? "linear"
                                                      : "other";
    row.from = source.dtype;
    row.shape = source.shape;
    row.action = source.dtype == w.io ? "keep" : "cast";
    row.bits = dtype_bits(w.io);
    row.bytes_before = source.bytes->size_bytes();
    row.bytes_after = tensor_bytes(w.io, source.shape).value_or(0);
    plan.rows.push_back(std::move(row));
  }
}

Result<void> add_files(Plan& plan, const Checkpoint& c, const QuantizeOptions& o) {
  PHIQUANT_TRY(add_sidecars(plan, c));
  // Float32 attention runs on the CPU provider also where the target is CUDA: its cache is copied,
  // not shared.
  const bool shares_buffer = !(o.target == Target::cuda && o.precision == Precision::fp32);
  PHIQUANT_ASSIGN(std::string config, genai_config(c, target_info(o.target), shares_buffer));
  add_text_file(plan, "genai_config.json", std::move(config));
  return {};
}

// Before anything is divided by a block size.
Result<void> check_settings(const QuantizeOptions& o) {
  PHIQUANT_ASSIGN(const IntegerSettings settings, integer_settings(o));
  (void)settings;
  return {};
}

unsigned expert_bits(const Decoder& d, const QuantizeOptions& o, uint32_t block_size) {
  const bool blocks_fit = d.hidden % block_size == 0 && d.ffn % block_size == 0 &&
                          block_size >= 32 && block_size <= 128;
  const bool symmetric = o.symmetric.value_or(true) &&
                         (o.scheme.empty() || o.scheme == "matmul_nbits" || o.scheme == "search");
  if (is_plain_onnx(o) || !is_integer(o.precision) || o.style == Style::qdq ||
      o.target == Target::dml || !blocks_fit || !symmetric)
    return 0;
  return o.precision == Precision::int4 ? 4 : 8;
}

// The operator of block-sparse attention has kernels for CPU (float32, float16) and CUDA (float16,
// bfloat16), and wants the cache in one buffer.
Result<void> check_sparse_target(const Checkpoint& c, const QuantizeOptions& o) {
  if (!c.decoder.block_sparse) return {};
  PHIQUANT_TRY(check_block_sparse(c.decoder, c.folder.string()));
  const bool on_cuda = o.target == Target::cuda && o.precision != Precision::fp32;
  if (o.target == Target::cpu || on_cuda) return {};
  return Error{
      Errc::usage,
      fmt::format("--target {} --precision {}: ONNX Runtime computes the block-sparse attention of "
                  "{} on cpu (int4, int8, fp32) and cuda (int4, int8, fp16, bf16) only",
                  target_info(o.target).name, kPrecisionNames[static_cast<size_t>(o.precision)],
                  c.architecture)};
}

// What the user gets, and may not expect.
void add_warnings(Plan& plan, const QuantizeOptions& o, const DecoderOptions& decoder) {
  if (o.target == Target::cuda && o.precision == Precision::fp32)
    plan.warnings.push_back(
        "--target cuda --precision fp32: ONNX Runtime has no float32 attention for CUDA and runs "
        "it "
        "on the CPU (fp16 and bf16 run whole)");
  // Measured with ONNX Runtime 1.31; 4-bit experts compute in float32.
  if (o.target == Target::cpu && decoder.expert_bits == 8 && o.accuracy_level.value_or(4) != 4)
    plan.warnings.push_back(
        "--accuracy-level: ONNX Runtime rounds activations of 8-bit experts to 8 bits on the CPU "
        "whatever it says (set ORT_QMOE_CPU_QNBIT_GEMM=fp32 in the environment to change that)");
}

}  // namespace

Result<Plan> plan_genai(const Checkpoint& checkpoint, const QuantizeOptions& options,
                        const OnnxPlanExtras& extras) {
  PHIQUANT_TRY(check_options(options));
  if (options.sequence_length && *options.sequence_length > checkpoint.decoder.context)
    return Error{Errc::usage, fmt::format("--sequence-length {}: the model's context is {} tokens",
                                          *options.sequence_length, checkpoint.decoder.context)};
  if (!is_plain_onnx(options)) PHIQUANT_TRY(check_sparse_target(checkpoint, options));
  const TargetInfo& target = target_info(options.target);
  const QuantizeOptions settled = settle(options, target, checkpoint.decoder);
  const bool quantizes = is_integer(options.precision);
  if (quantizes) {
    PHIQUANT_TRY(check_settings(settled));
  }
  OnnxPlanExtras all = extras;
  Editor editor(empty_model(checkpoint, options), settled, all);
  GraphWriter writer(editor, checkpoint, target, io_dtype(target, options.precision));
  writer.quantized = quantizes;
  writer.is_standard = is_plain_onnx(options);
  const EmbeddingPlan embedding = embedding_plan(checkpoint.decoder, settled);
  DecoderOptions decoder{embedding.form, 0, settled.block_size.value_or(32)};
  if (checkpoint.decoder.moe)
    decoder.expert_bits = expert_bits(checkpoint.decoder, settled, decoder.expert_block_size);
  PHIQUANT_TRY(is_plain_onnx(options)
                   ? write_plain_decoder(writer, embedding.form, options.sequence_length)
                   : write_decoder(writer, decoder));
  editor.reindex();
  if (quantizes) {
    all.node_bits = node_bits(writer, settled);
    PHIQUANT_TRY(plan_integers(editor, false));
    const bool shared = embedding.shares_codes && share_codes(editor, checkpoint.decoder);
    finish_rows(editor.plan, writer, shared);
  } else {
    add_float_rows(editor.plan, writer);
    add_provenance(editor, "", 0, std::nullopt);
  }
  PHIQUANT_TRY(lay_out(editor, CastRule::ieee));
  Plan& plan = editor.plan;
  if (!is_plain_onnx(options)) {
    PHIQUANT_TRY(add_files(plan, checkpoint, options));
    add_warnings(plan, options, decoder);
  }
  plan.warnings.insert(plan.warnings.begin(), checkpoint.warnings.begin(),
                       checkpoint.warnings.end());
  return std::move(plan);
}

}  // namespace phiquant
