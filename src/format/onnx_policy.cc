#include "format/onnx_policy.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/glob.h"
#include "core/nearest.h"

namespace phiquant::format {
namespace {

constexpr uint32_t kBlockSizes[] = {16, 32, 64, 128, 256};  // what the runtimes' kernels take

// A router picks experts: a rounding error there sends a token elsewhere.
const std::vector<std::string> kRouterPatterns = {"*router*", "*.gate.weight*", "*moe.gate*",
                                                  "*moe/gate/*"};

bool is_router(const Candidate& c) {
  return glob_match_any(kRouterPatterns, c.weight.tensor->name()) ||
         glob_match_any(kRouterPatterns, c.node->name());
}

bool passes_through(const onnx::NodeProto& node) {
  for (const char* op : {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Transpose",
                         "Slice", "Gather", "Add", "Sub", "Mul", "Div", "Tanh", "Clip"})
    if (is_op(node, op)) return true;
  return false;
}

// The node that makes the logits: from the output back through arithmetic that keeps one value per
// token and word.
const onnx::NodeProto* logits_node(const Scope& main,
                                   const std::set<const onnx::NodeProto*>& linears) {
  std::string name = "logits";
  if (!main.outputs.count(name)) return nullptr;
  for (int depth = 0; depth < 16; ++depth) {
    const auto it = main.producers.find(name);
    if (it == main.producers.end()) return nullptr;
    const onnx::NodeProto& node = *it->second;
    if (linears.count(&node)) return &node;
    if (!passes_through(node)) return nullptr;
    const auto input = std::find_if(
        node.input().begin(), node.input().end(),
        [&](const std::string& i) { return main.producers.count(i) && !main.constants.count(i); });
    if (input == node.input().end()) return nullptr;
    name = *input;
  }
  return nullptr;
}

}  // namespace

const onnx::NodeProto* find_logits_node(const GraphIndex& index) {
  std::set<const onnx::NodeProto*> products;
  for (const auto& node : index.main().nodes())
    if (is_op(node, "MatMul") || is_op(node, "Gemm") || is_op(node, "MatMulInteger") ||
        is_microsoft_op(node, "MatMulNBits"))
      products.insert(&node);
  return logits_node(index.main(), products);
}

void assign_roles(const GraphIndex& index, std::vector<Candidate>& candidates) {
  std::set<const onnx::NodeProto*> linears;
  std::set<uint64_t> vocabularies;
  for (Candidate& c : candidates) {
    if (c.role == Role::linear && c.refused.empty()) linears.insert(c.node);
    if (c.role == Role::embedding && c.refused.empty()) vocabularies.insert(c.n);
  }
  const onnx::NodeProto* head = logits_node(index.main(), linears);
  if (!head) {
    // No output by that name: the last of the widest matmuls, if it is as wide as an embedding is
    // long.
    const Candidate* widest = nullptr;
    for (const Candidate& c : candidates)
      if (linears.count(c.node) && (!widest || c.n >= widest->n)) widest = &c;
    if (widest && vocabularies.count(widest->n)) head = widest->node;
  }
  for (Candidate& c : candidates) {
    if (c.node == head && c.role == Role::linear)
      c.role = Role::lm_head;
    else if (c.role == Role::linear && is_router(c))
      c.role = Role::router;
  }
}

std::string refused_by_globs(const Candidate& c, const QuantizeOptions& o) {
  const auto matches = [&](const std::vector<std::string>& patterns) {
    return glob_match_any(patterns, c.node->name()) ||
           glob_match_any(patterns, c.weight.tensor->name()) ||
           glob_match_any(patterns, c.weight.base);
  };
  if (matches(o.exclude)) return "excluded";
  if (!o.include.empty() && !matches(o.include)) return "not included";
  return "";
}

Result<void> check_globs(Editor& editor, const std::vector<Candidate>& candidates) {
  std::set<std::string> names;
  for (const Candidate& c : candidates) {
    names.insert(c.weight.tensor->name());
    names.insert(c.weight.base);
    names.insert(c.node->name());
  }
  names.erase("");
  const auto matches = [&](const std::string& pattern) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& n) { return glob_match(pattern, n); });
  };
  for (const std::string& pattern : editor.options.include)
    if (!matches(pattern)) {
      const std::string hint = did_you_mean(pattern, names);
      return Error{Errc::usage,
                   fmt::format("--include '{}' matches no node and no weight{}", pattern,
                               hint.empty() ? " (phiquant inspect lists the names)" : hint)};
    }
  for (const std::string& pattern : editor.options.exclude)
    if (!matches(pattern))
      editor.warn(fmt::format("--exclude '{}' matches no node and no weight{}", pattern,
                              did_you_mean(pattern, names)));
  return {};
}

// ---- Settings
// ------------------------------------------------------------------------------------------

std::vector<AffineScheme> affine_schemes() {
  return {
      {"qdq_channel", "int8, a scale per output channel, DequantizeLinear", Form::qdq_affine, true},
      {"qdq_tensor", "int8, a scale per tensor, DequantizeLinear", Form::qdq_affine, false},
      {"dynamic", "int8 per tensor, activations quantized at run time, as quantize_dynamic",
       Form::dynamic, false},
      {"dynamic_channel", "the same with a scale per output channel (per_channel=True)",
       Form::dynamic, true}};
}

namespace {

std::string default_scheme(const QuantizeOptions& o) {
  if (o.style == Style::qdq) return o.precision == Precision::int4 ? "qdq" : "qdq_channel";
  return o.search ? "search" : "matmul_nbits";
}

Result<void> set_scheme(const QuantizeOptions& o, const std::string& name, IntegerSettings& s) {
  std::vector<std::string> known;
  for (const AffineScheme& scheme : affine_schemes()) {
    known.push_back(scheme.name);
    if (name != scheme.name) continue;
    s.linear = scheme.form;
    s.per_channel = scheme.per_channel;
    if (s.bits != 8)
      return Error{Errc::usage, fmt::format("--scheme {} is for --precision int8 only", name)};
    return {};
  }
  for (const Scheme& scheme : block_schemes())
    if (scheme.packing != Packing::n_major) known.emplace_back(scheme.name);
  const Scheme* scheme = find_block_scheme(name);
  if (!scheme || scheme->packing == Packing::n_major)
    return Error{Errc::usage, fmt::format("--scheme {}: no such scheme{} (known: {})", name,
                                          did_you_mean(name, known), fmt::join(known, ", "))};
  s.scheme = scheme;
  s.linear = scheme->packing == Packing::nbits ? Form::nbits : Form::qdq_blocks;
  if (!(scheme->bits_mask & (1u << s.bits))) {
    std::vector<std::string_view> others;
    for (const Scheme& other : block_schemes())
      if (other.packing == scheme->packing && (other.bits_mask & (1u << s.bits)))
        others.push_back(other.name);
    return Error{
        Errc::usage,
        fmt::format("--scheme {} has no {}-bit form{} (try --scheme {}, or another --precision)",
                    name, s.bits,
                    scheme->float_zero_points
                        ? ": MatMulNBits takes float zero points with 4-bit codes only"
                        : "",
                    fmt::join(others, " or "))};
  }
  if (o.style == Style::qdq && s.linear == Form::nbits)
    return Error{
        Errc::usage,
        fmt::format("--scheme {} makes MatMulNBits, which --style qdq excludes (try --scheme qdq)",
                    name)};
  return {};
}

Result<void> check_pairs(const QuantizeOptions& o, const IntegerSettings& s) {
  if (o.search && s.name != "search")
    return Error{
        Errc::usage,
        fmt::format("--search and --scheme {} exclude each other (leave one out)", s.name)};
  if (o.block_size && !s.scheme)
    return Error{Errc::usage, fmt::format("--block-size has no meaning for --scheme {}", s.name)};
  if (std::find(std::begin(kBlockSizes), std::end(kBlockSizes), s.block_size) ==
      std::end(kBlockSizes))
    return Error{Errc::usage,
                 fmt::format("--block-size {}: found {}, wanted one of {}", s.block_size,
                             s.block_size, fmt::join(kBlockSizes, ", "))};
  if (s.scheme && s.symmetric && !s.scheme->symmetric)
    return Error{Errc::usage,
                 fmt::format("--scheme {} is always asymmetric (leave out --symmetric)", s.name)};
  if (s.scheme && !s.symmetric && !s.scheme->asymmetric)
    return Error{Errc::usage,
                 fmt::format("--scheme {} is always symmetric (leave out --asymmetric)", s.name)};
  if (s.accuracy_level < 0 || s.accuracy_level > 4)
    return Error{Errc::usage, fmt::format("--accuracy-level {}: wanted 0 to 4", s.accuracy_level)};
  if (o.accuracy_level && s.linear != Form::nbits)
    return Error{
        Errc::usage,
        fmt::format(
            "--accuracy-level is an attribute of MatMulNBits, which --scheme {} does not make",
            s.name)};
  return {};
}

}  // namespace

Result<IntegerSettings> integer_settings(const QuantizeOptions& o) {
  IntegerSettings s;
  s.bits = o.precision == Precision::int4 ? 4 : 8;
  s.name = o.scheme.empty() ? default_scheme(o) : o.scheme;
  PHIQUANT_TRY(set_scheme(o, s.name, s));
  s.block_size = o.block_size.value_or(32);
  s.symmetric = o.symmetric.value_or(s.scheme ? s.scheme->symmetric : true);
  s.accuracy_level = o.accuracy_level.value_or(4);
  PHIQUANT_TRY(check_pairs(o, s));
  return s;
}

unsigned head_bits(const IntegerSettings& s, const QuantizeOptions& o) {
  switch (o.lm_head) {
    case TableBits::int8:
      return 8;
    case TableBits::int4:
      return s.scheme ? 4 : 8;
    case TableBits::keep:
    case TableBits::automatic:
      break;
  }
  return s.bits == 4 && !o.uniform ? 8 : s.bits;
}

// ---- Treatment
// -----------------------------------------------------------------------------------------

namespace {

Treatment keep(std::string reason) {
  Treatment t;
  t.reason = std::move(reason);
  return t;
}

Treatment affine(Form form, bool per_channel, bool symmetric, std::string reason) {
  Treatment t;
  t.form = form;
  t.params.bits = 8;
  t.params.block_size = 0;
  t.params.symmetric = symmetric;
  t.per_channel = per_channel;
  t.action = form == Form::dynamic ? (per_channel ? "dynamic_channel" : "dynamic")
                                   : (per_channel ? "qdq_channel" : "qdq_tensor");
  t.reason = std::move(reason);
  return t;
}

Treatment blocks(Form form, const Scheme* scheme, unsigned bits, const IntegerSettings& s,
                 DType dtype, std::string reason) {
  Treatment t;
  t.form = form;
  t.scheme = scheme;
  const bool symmetric = s.symmetric ? scheme->symmetric : !scheme->asymmetric;
  t.params = {bits, s.block_size, symmetric, dtype};
  t.action = scheme->name;
  t.reason = std::move(reason);
  return t;
}

Treatment treat_linear(const Candidate& c, const IntegerSettings& s, unsigned bits,
                       std::string reason) {
  if (s.linear == Form::nbits || s.linear == Form::qdq_blocks) {
    if (s.linear == Form::qdq_blocks && bits == 8 && s.bits == 4)
      return affine(Form::qdq_affine, true, true,
                    std::move(reason));  // runs wherever int4 blocks do
    // Runtimes take float zero points with 4-bit codes only.
    const bool offered =
        (s.scheme->bits_mask & (1u << bits)) && !(s.scheme->float_zero_points && bits != s.bits);
    const Scheme* scheme = offered ? s.scheme : find_block_scheme("matmul_nbits");
    return blocks(s.linear, scheme, bits, s, c.weight.dtype, std::move(reason));
  }
  return affine(s.linear, s.per_channel, s.symmetric, std::move(reason));
}

Treatment treat_head(const Candidate& c, const IntegerSettings& s, const QuantizeOptions& o) {
  if (o.lm_head == TableBits::keep) return keep("--lm-head keep");
  const unsigned bits = head_bits(s, o);
  if (o.lm_head == TableBits::int4 && bits == 8)
    return treat_linear(c, s, 8, "8-bit, this scheme has no 4-bit form");
  if (o.lm_head != TableBits::automatic)
    return treat_linear(c, s, bits, bits == s.bits ? "" : fmt::format("--lm-head int{}", bits));
  return treat_linear(
      c, s, bits,
      bits == s.bits ? "" : "lm_head stays at 8 bits to protect quality (--uniform to change)");
}

Treatment treat_embedding(const Candidate& c, const IntegerSettings& s, const QuantizeOptions& o) {
  if (o.embeddings == TableBits::automatic || o.embeddings == TableBits::keep)
    return keep("embeddings stay float (--embeddings int8 or int4 to change)");
  const unsigned bits = o.embeddings == TableBits::int4 ? 4 : 8;
  if (s.linear == Form::dynamic)
    return affine(Form::dynamic, false, s.symmetric,
                  bits == 4 ? "8-bit, this scheme has no 4-bit form" : "");
  if (s.linear == Form::nbits)
    return blocks(Form::gather, find_block_scheme("gather"), bits, s, c.weight.dtype, "");
  if (bits == 8) return affine(Form::qdq_affine, true, s.symmetric, "");
  return blocks(Form::qdq_blocks, find_block_scheme("gather"), bits, s, c.weight.dtype, "");
}

}  // namespace

Treatment treatment(const Candidate& c, const IntegerSettings& s, const Editor& editor) {
  if (!c.refused.empty()) return keep(c.refused);
  if (std::string reason = refused_by_globs(c, editor.options); !reason.empty())
    return keep(std::move(reason));
  if (editor.extras.keep_float.count(c.weight.tensor->name())) return keep("holds NaN or infinity");
  if (const auto it = editor.extras.node_bits.find(c.node->name());
      it != editor.extras.node_bits.end())
    return it->second.bits == 0 ? keep(it->second.reason)
                                : treat_linear(c, s, it->second.bits, it->second.reason);
  switch (c.role) {
    case Role::router:
      return keep("routers are never quantized");
    case Role::linear:
      return treat_linear(c, s, s.bits, "");
    case Role::lm_head:
      return treat_head(c, s, editor.options);
    case Role::embedding:
      return treat_embedding(c, s, editor.options);
    case Role::conv:
      if (s.bits == 4) return keep("Conv has no 4-bit form (try --precision int8)");
      return affine(s.linear == Form::dynamic ? Form::dynamic : Form::qdq_affine,
                    s.linear != Form::dynamic && (s.scheme || s.per_channel), s.symmetric, "");
    default:
      return keep("not a weight that is quantized");
  }
}

PlanRow plan_row(const Candidate& c, const Treatment& t) {
  PlanRow row;
  row.tensor = c.weight.tensor->name();
  row.node = c.node->name();
  row.role = role_name(c.role);
  row.from = dtype_from_onnx(c.weight.tensor->data_type());
  row.shape = shape_of(*c.weight.tensor);
  row.action = t.action;
  row.bits = t.form == Form::keep ? 0 : t.params.bits;
  row.block_size = t.scheme ? t.params.block_size : 0;
  row.reason = t.reason;
  row.bytes_before = row.bytes_after = tensor_bytes(row.from, row.shape).value_or(0);
  return row;
}

}  // namespace phiquant::format
