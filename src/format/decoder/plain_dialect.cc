// A decoder of standard operators only (opset 21): input_ids -> logits, without a cache. For
// runtimes that have no com.microsoft operators.
#include <limits>

#include <fmt/format.h>

#include "core/sources.h"
#include "format/decoder/onnx_parts.h"
#include "format/decoder/walk.h"

namespace phiquant::format {

namespace {

struct Shared {
  std::string cos, sin;  // [tokens, dims / 2]
  std::string mask;      // [tokens, tokens]: 0, or the lowest number
  // Of layers with block-sparse attention: [heads, tokens, tokens], heads by key heads where
  // several queries share one.
  std::string sparse_mask;
};

std::string write_unsqueeze(GraphWriter& w, const std::string& name, const std::string& input,
                            int64_t axis) {
  return w.add("Unsqueeze", name, {input, w.int64s({axis})});
}

std::string write_reshape(GraphWriter& w, const std::string& name, const std::string& input,
                          const std::vector<int64_t>& shape) {
  return w.add("Reshape", name, {input, w.int64s(shape)});
}

std::string write_transpose(GraphWriter& w, const std::string& name, const std::string& input,
                            const std::vector<int64_t>& order) {
  std::string out = name + "/output_0";
  set_ints(w.node("Transpose", name, {input}, {out}), "perm", order);
  return out;
}

// Rows 0 .. tokens of a table; past the original context, those of the long branch, which lie
// behind.
std::string write_table(GraphWriter& w, const std::string& name, bool is_cos,
                        const std::string& begin, const std::string& end) {
  const Rope& rope = w.decoder.rope;
  const uint64_t length = rope.long_branch ? rope.original_context : w.decoder.context;
  SourceTensor table = rope_table(rope, rope.short_branch, length, is_cos, name);
  if (rope.long_branch)
    table = concat_rows(
        name, {table, rope_table(rope, *rope.long_branch, w.decoder.context, is_cos, name)});
  return w.add("Slice", "/model/rope/" + name + "/Slice",
               {w.initializer(name, std::move(table)), begin, end, w.int64s({0})});
}

float lowest(DType dtype) { return dtype == DType::f16 ? -65504.0f : -3.3e38f; }

// The lowest of a number for what is not seen. Blocks nearby are the same for every head; those
// beyond depend on the head, and on the key alone.
struct SparseParts {
  std::string nearby;  // [tokens, tokens]
  std::string beyond;  // [heads, 1, tokens], heads as in Shared::sparse_mask
};

Shape beyond_shape(const Decoder& d, uint64_t n_tokens) {
  if (d.n_heads == d.n_kv_heads) return {d.n_heads, 1, n_tokens};
  return {d.n_kv_heads, d.n_heads / d.n_kv_heads, 1, n_tokens};
}

std::string join_sparse_mask(GraphWriter& w, const std::string& causal, const SparseParts& parts) {
  const std::string any = w.add("Max", "/model/mask/sparse/Max", {parts.nearby, parts.beyond});
  return w.add("Min", "/model/mask/sparse/Min", {causal, any});
}

// For a known number of tokens.
SparseParts write_fixed_sparse(GraphWriter& w, uint64_t n_tokens) {
  const Decoder& d = w.decoder;
  const BlockSparse b = *d.block_sparse;
  const float hidden = lowest(w.io);
  const auto nearby = [b, n_tokens, hidden](uint64_t first, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) {
      const uint64_t query = (first + i) / n_tokens / b.block_size,
                     key = (first + i) % n_tokens / b.block_size;
      out[i] = b.is_nearby(query, key) ? 0.0f : hidden;
    }
  };
  const auto beyond = [b, n_tokens, hidden, heads = d.n_heads](uint64_t first,
                                                               std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) {
      const auto head = static_cast<uint32_t>((first + i) / n_tokens);
      const uint64_t key = (first + i) % n_tokens / b.block_size;
      out[i] = b.is_beyond(key, b.shift(head, heads)) ? 0.0f : hidden;
    }
  };
  const auto table = [&](const char* name, Shape shape, const FillFloats& fill) {
    const uint64_t n = *element_count(shape);
    return w.initializer(name, {name, DType::f32, std::move(shape), computed_source(n, fill)});
  };
  return {table("sparse_mask_nearby", {n_tokens, n_tokens}, nearby),
          table("sparse_mask_beyond", beyond_shape(d, n_tokens), beyond)};
}

// The same of positions [tokens, 1] and [1, tokens] that are known at run time.
SparseParts write_sparse(GraphWriter& w, const std::string& query, const std::string& key) {
  const Decoder& d = w.decoder;
  const BlockSparse& b = *d.block_sparse;
  const std::string base = "/model/mask/sparse";
  const std::string size = w.int64(b.block_size);
  const std::string query_block = w.add("Div", base + "/query/Div", {query, size}),
                    key_block = w.add("Div", base + "/key/Div", {key, size});
  const std::string distance = w.add("Sub", base + "/Sub", {query_block, key_block});
  const std::string zero = w.float_scalar(0), hidden = w.float_scalar(lowest(w.io));
  SparseParts parts;
  parts.nearby = w.add(
      "Where", base + "/nearby/Where",
      {w.add("Less", base + "/nearby/Less", {distance, w.int64(b.local_blocks)}), zero, hidden});
  std::vector<int64_t> shifts;
  for (uint32_t head = 0; head < d.n_heads; ++head)
    shifts.push_back(static_cast<int64_t>(b.shift(head, d.n_heads) + 1));
  const Shape shape = beyond_shape(d, 1);
  const std::string shift =
      write_reshape(w, base + "/shift/Reshape", w.int64s(shifts), {shape.begin(), shape.end()});
  const std::string number = w.add("Add", base + "/beyond/Add", {key_block, shift});
  const std::string rest = w.add("Mod", base + "/beyond/Mod", {number, w.int64(b.vertical_stride)});
  parts.beyond = w.add("Where", base + "/beyond/Where",
                       {w.add("Equal", base + "/beyond/Equal", {rest, w.int64(0)}), zero, hidden});
  return parts;
}

// How many tokens back one sees, itself included; nullopt: all.
std::optional<uint64_t> window_of(const Decoder& d) {
  if (d.sliding_window && *d.sliding_window < d.context) return d.sliding_window;
  return std::nullopt;
}

// All of it as constants, for a known number of tokens.
Shared write_fixed_shared(GraphWriter& w, uint64_t n_tokens) {
  const Rope& rope = w.decoder.rope;
  const bool is_long = rope.long_branch && n_tokens > rope.original_context;
  const RopeBranch& branch = is_long ? *rope.long_branch : rope.short_branch;
  Shared s;
  s.cos = w.initializer("cos_cache", rope_table(rope, branch, n_tokens, true, "cos_cache"));
  s.sin = w.initializer("sin_cache", rope_table(rope, branch, n_tokens, false, "sin_cache"));
  const uint64_t window = window_of(w.decoder).value_or(n_tokens);
  const float hidden = lowest(w.io);
  const auto fill = [n_tokens, window, hidden](uint64_t first, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) {
      const uint64_t query = (first + i) / n_tokens, key = (first + i) % n_tokens;
      out[i] = key <= query && query - key < window ? 0.0f : hidden;
    }
  };
  s.mask = w.initializer("attention_mask", {"attention_mask",
                                            DType::f32,
                                            {n_tokens, n_tokens},
                                            computed_source(n_tokens * n_tokens, fill)});
  if (w.decoder.block_sparse)
    s.sparse_mask = join_sparse_mask(w, s.mask, write_fixed_sparse(w, n_tokens));
  return s;
}

Shared write_shared(GraphWriter& w) {
  const std::string shape = w.add("Shape", "/model/tokens/Shape", {"input_ids"});
  const std::string tokens = w.add("Gather", "/model/tokens/Gather", {shape, w.int64s({1})});
  std::string begin = w.int64s({0}), end = tokens;
  if (w.decoder.rope.long_branch) {
    const std::string original = w.int64s({static_cast<int64_t>(w.decoder.rope.original_context)});
    const std::string is_long = w.add("Greater", "/model/rope/Greater", {tokens, original});
    begin = w.add("Where", "/model/rope/Where", {is_long, original, begin});
    end = w.add("Add", "/model/rope/Add", {begin, tokens});
  }
  Shared s;
  s.cos = write_table(w, "cos_cache", true, begin, end);
  s.sin = write_table(w, "sin_cache", false, begin, end);
  const std::string count = w.add("Squeeze", "/model/mask/Squeeze", {tokens});
  const std::string order = w.add("Range", "/model/mask/Range", {w.int64(0), count, w.int64(1)});
  const std::string query = write_unsqueeze(w, "/model/mask/query/Unsqueeze", order, 1);
  const std::string key = write_unsqueeze(w, "/model/mask/key/Unsqueeze", order, 0);
  std::string seen = w.add("LessOrEqual", "/model/mask/LessOrEqual", {key, query});
  if (const auto tokens_seen = window_of(w.decoder)) {
    const auto window = static_cast<int64_t>(*tokens_seen);
    const std::string distance = w.add("Sub", "/model/mask/Sub", {query, key});
    const std::string near = w.add("Less", "/model/mask/Less", {distance, w.int64(window)});
    seen = w.add("And", "/model/mask/And", {seen, near});
  }
  s.mask =
      w.add("Where", "/model/mask/Where", {seen, w.float_scalar(0), w.float_scalar(lowest(w.io))});
  if (w.decoder.block_sparse)
    s.sparse_mask = join_sparse_mask(w, s.mask, write_sparse(w, query, key));
  return s;
}

// x / sqrt(mean(x^2) + eps) * weight, or LayerNormalization.
std::string write_plain_norm(GraphWriter& w, Role role, int32_t layer, const std::string& x) {
  const std::string name = norm_path(w.decoder, role, layer), path = "/model/" + name,
                    prefix = "model." + dotted(name);
  const std::string weight = w.vector({role, layer}, prefix + ".weight");
  if (w.decoder.norm == NormKind::layer) {
    std::vector<std::string> inputs = {x, weight};
    if (w.has(role, layer, true))
      inputs.push_back(w.vector({role, layer, -1, true}, prefix + ".bias"));
    const std::string out = path + "/output_0";
    onnx::NodeProto& node = w.node("LayerNormalization", path + "/LayerNorm", inputs, {out});
    set_float(node, "epsilon", w.decoder.norm_eps);
    add_int_attribute(node, "axis", -1);
    return out;
  }
  // Squares overflow float16.
  const bool widens = w.io == DType::f16;
  const std::string wide = widens ? w.cast(path + "/Cast", x, DType::f32) : x;
  const std::string square = w.add("Mul", path + "/Mul", {wide, wide});
  const std::string mean = w.add("ReduceMean", path + "/ReduceMean", {square, w.int64s({-1})});
  const std::string eps = w.scalar(widens ? DType::f32 : w.io, w.decoder.norm_eps);
  const std::string root =
      w.add("Sqrt", path + "/Sqrt", {w.add("Add", path + "/Add", {mean, eps})});
  std::string normal = w.add("Div", path + "/Div", {wide, root});
  if (widens) normal = w.cast(path + "/Cast_1", normal, w.io);
  return w.add("Mul", path + "/Mul_1", {normal, weight});
}

// Halves of the first `dims` values of each head are rotated against each other; the rest stays.
std::string write_rotation(GraphWriter& w, const std::string& path, const std::string& x,
                           const Shared& shared) {
  const int64_t half = w.decoder.rope.dims / 2, rest = w.decoder.head_size - 2 * half;
  std::vector<int64_t> sizes = {half, half};
  std::vector<std::string> parts = {path + "/Split/output_0", path + "/Split/output_1"};
  if (rest > 0) {
    sizes.push_back(rest);
    parts.push_back(path + "/Split/output_2");
  }
  const std::string split = w.int64s(sizes);
  add_int_attribute(w.node("Split", path + "/Split", {x, split}, parts), "axis", -1);
  const auto turn = [&](const char* op, const std::string& a, const std::string& b, int index) {
    const std::string at = fmt::format("{}/{}", path, index);
    return w.add(op, at + "/" + op,
                 {w.add("Mul", at + "/cos/Mul", {a, shared.cos}),
                  w.add("Mul", at + "/sin/Mul", {b, shared.sin})});
  };
  std::vector<std::string> turned = {turn("Sub", parts[0], parts[1], 0),
                                     turn("Add", parts[1], parts[0], 1)};
  if (rest > 0) turned.push_back(parts[2]);
  const std::string out = path + "/Concat/output_0";
  add_int_attribute(w.node("Concat", path + "/Concat", turned, {out}), "axis", -1);
  return out;
}

class PlainDialect {
 public:
  using Value = std::string;
  PlainDialect(GraphWriter& writer, std::optional<uint32_t> n_tokens)
      : w_(writer), n_tokens_(n_tokens) {}

  void begin() {
    const std::string batch = n_tokens_ ? "1" : "batch_size",
                      length = n_tokens_ ? std::to_string(*n_tokens_) : "sequence_length";
    w_.input("input_ids", DType::i64, {batch, length});
    w_.output("logits", w_.io == DType::bf16 ? DType::f32 : w_.io,
              {batch, length, std::to_string(w_.decoder.vocab)});
    shared_ = n_tokens_ ? write_fixed_shared(w_, *n_tokens_) : write_shared(w_);
  }
  void embed() { stream_ = write_embedding(w_); }
  Value norm(Role role, int32_t layer) { return write_plain_norm(w_, role, layer, stream_); }
  bool packs_qkv() const { return false; }
  Value linear(const WeightKey& key, const Value& x) { return w_.linear(key, x); }
  Value rope(int32_t layer, Role role, const Value& x) {
    const bool is_q = role == Role::attn_q;
    return write_rotation(
        w_, layer_path(layer, is_q ? "attn/q_rotary" : "attn/k_rotary"),
        split_heads(layer, is_q ? "q" : "k", x, is_q ? w_.decoder.n_heads : w_.decoder.n_kv_heads),
        shared_);
  }
  Value attention(int32_t layer, const std::vector<Value>& qkv);
  Value activate(int32_t layer, const Value& x) { return write_activation(w_, layer, x); }
  Value multiply(int32_t layer, const Value& a, const Value& b) {
    return w_.add("Mul", layer_path(layer, "mlp/Mul"), {a, b});
  }
  Value mix_experts(int32_t layer, const Value& x) { return write_moe(w_, layer, x); }
  void add(int32_t layer, const char* part, const Value& x) {
    stream_ = w_.add("Add", layer_path(layer, std::string(part) + "_residual/Add"), {stream_, x});
  }
  void head(const Value& x) { write_head(w_, x); }

 private:
  // [batch, heads, tokens, size]
  Value split_heads(int32_t layer, const std::string& name, const Value& x, int64_t n) {
    const std::string at = layer_path(layer, "attn/" + name);
    const int64_t size = w_.decoder.head_size;
    const std::string split = write_reshape(w_, at + "/Reshape", x, {0, 0, n, size});
    return write_transpose(w_, at + "/Transpose", split, {0, 2, 1, 3});
  }

  GraphWriter& w_;
  std::optional<uint32_t> n_tokens_;
  Shared shared_;
  Value stream_;
};

std::string PlainDialect::attention(int32_t layer, const std::vector<std::string>& qkv) {
  const Decoder& d = w_.decoder;
  const int64_t heads = d.n_heads, kv = d.n_kv_heads, size = d.head_size, group = heads / kv;
  const std::string path = layer_path(layer, "attn");
  // Heads of keys that several queries share get a dimension of their own, over which the product
  // broadcasts.
  std::string q = qkv[0], v = split_heads(layer, "v", qkv[2], kv);
  std::string keys = write_transpose(w_, path + "/keys/Transpose", qkv[1], {0, 1, 3, 2});
  if (group > 1) {
    q = write_reshape(w_, path + "/q_group/Reshape", q, {0, kv, group, -1, size});
    keys = write_unsqueeze(w_, path + "/keys/Unsqueeze", keys, 2);
    v = write_unsqueeze(w_, path + "/v/Unsqueeze", v, 2);
  }
  const std::string scores = w_.add(
      "Mul", path + "/scores/Mul",
      {w_.add("MatMul", path + "/scores/MatMul", {q, keys}), w_.float_scalar(attention_scale(d))});
  const bool is_sparse = d.block_sparse && d.block_sparse->has(layer);
  const std::string masked =
      w_.add("Add", path + "/scores/Add", {scores, is_sparse ? shared_.sparse_mask : shared_.mask});
  const std::string weights = path + "/Softmax/output_0";
  add_int_attribute(w_.node("Softmax", path + "/Softmax", {masked}, {weights}), "axis", -1);
  std::string out = w_.add("MatMul", path + "/values/MatMul", {weights, v});
  if (group > 1) out = write_reshape(w_, path + "/out_group/Reshape", out, {0, heads, -1, size});
  out = write_transpose(w_, path + "/out/Transpose", out, {0, 2, 1, 3});
  return write_reshape(w_, path + "/out/Reshape", out, {0, 0, heads * size});
}

}  // namespace

void write_plain_decoder(GraphWriter& w, std::optional<uint32_t> n_tokens) {
  PlainDialect dialect(w, n_tokens);
  walk_decoder(w.decoder, dialect);
}

}  // namespace phiquant::format
