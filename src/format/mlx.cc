#include "format/mlx.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "format/mlx_config.h"
#include "format/mlx_modules.h"
#include "format/mlx_policy.h"
#include "format/safetensors_files.h"
#include "format/side_files.h"
#include "phiquant/sources.h"

namespace phiquant {
namespace {

using namespace format;

constexpr uint64_t kShardBytes = uint64_t{5} << 30;

std::string_view report_role(Role role) {
  switch (role) {
    case Role::embed:
      return "embedding";
    case Role::lm_head:
      return "lm_head";
    case Role::expert_gate:
    case Role::expert_up:
    case Role::expert_down:
      return "experts";
    default:
      return is_mlx_linear(role) ? "linear" : "norm";
  }
}

Result<void> check(const Checkpoint& c, const QuantizeOptions& o) {
  const Decoder& d = c.decoder;
  if (uint64_t{d.head_size} * d.n_heads != d.hidden)
    return Error{Errc::unsupported,
                 fmt::format("{}: {} heads of {} are not the hidden size {}, which mlx_lm takes "
                             "them for",
                             c.folder.string(), d.n_heads, d.head_size, d.hidden)};
  for (const char* extension : {".safetensors", ".gguf", ".onnx"})
    if (o.output.extension() == extension)
      return Error{Errc::usage,
                   fmt::format("{}: an MLX model is a folder, not one file (give a folder)",
                               o.output.string())};
  PHIQUANT_TRY(check_mlx_class(c));
  if (o.context && *o.context > d.context)
    return Error{Errc::usage,
                 fmt::format("--context {}: the model has a context of {}", *o.context, d.context)};
  return {};
}

class MlxWriter {
 public:
  MlxWriter(const Checkpoint& checkpoint, const QuantizeOptions& options)
      : dtype_(wanted_dtype(checkpoint, options)) {
    plan.is_directory = true;
    plan.input_bytes = checkpoint.input_bytes;
  }

  void add(const MlxModule& m, const MlxChoice& choice) {
    if (choice.mode)
      add_quantized(m, *choice.mode, choice.reason);
    else
      add_float(m.path + ".weight", m.weight, report_role(m.role), choice.reason);
    for (const SourceTensor& bias : m.bias) add_float(m.path + ".bias", bias, "other", "");
  }

  Plan plan;
  uint64_t n_parameters = 0;

 private:
  static DType wanted_dtype(const Checkpoint& c, const QuantizeOptions& o) {
    switch (o.precision) {
      case Precision::fp16:
        return DType::f16;
      case Precision::bf16:
        return DType::bf16;
      case Precision::fp32:
        return DType::f32;
      default:
        return mlx_config_dtype(c);
    }
  }

  DType dtype_of(const SourceTensor& t) const {
    return dtype_ == DType::undefined ? t.dtype : dtype_;
  }

  TensorId add_tensor(std::string name, DType dtype, Shape shape) {
    const uint64_t size = tensor_bytes(dtype, shape).value_or(0);
    plan.tensors.push_back({std::move(name), dtype, std::move(shape), size, 0, 0});
    return static_cast<TensorId>(plan.tensors.size() - 1);
  }

  void add_row(const SourceTensor& t, std::string_view role, std::string action, unsigned bits,
               uint32_t block_size, std::string reason, uint64_t bytes_after) {
    PlanRow row;
    row.tensor = t.name;
    row.role = role;
    row.from = t.dtype;
    row.shape = t.shape;
    row.action = std::move(action);
    row.bits = bits;
    row.block_size = block_size;
    row.reason = std::move(reason);
    row.bytes_before = t.bytes->size_bytes();
    row.bytes_after = bytes_after;
    row.job = static_cast<uint32_t>(plan.jobs.size() - 1);
    plan.rows.push_back(std::move(row));
  }

  void add_float(std::string name, const SourceTensor& t, std::string_view role,
                 std::string reason) {
    const DType to = dtype_of(t);
    const TensorId out = add_tensor(std::move(name), to, t.shape);
    const bool keep = t.dtype == to;
    if (keep)
      plan.jobs.push_back(CopyJob{t, out});
    else
      plan.jobs.push_back(CastJob{t, CastRule::ieee, out});
    n_parameters += element_count(t.shape).value_or(0);
    add_row(t, role, keep ? "keep" : "cast", dtype_bits(to), 0, std::move(reason),
            plan.tensors[out].size_bytes);
  }

  void add_quantized(const MlxModule& m, const MlxMode& mode, const std::string& reason) {
    const SourceTensor& t = m.weight;
    const DType dtype = dtype_of(t);
    const bool affine = mode.scheme->name == "affine";
    RowJob job;
    job.source = dtype == t.dtype ? t : cast_source(t, dtype);
    job.source.name = t.name;
    job.scheme = mode.scheme;
    job.params = {mode.bits, mode.group_size, dtype};
    Shape codes = t.shape, groups = t.shape;
    codes.back() = t.shape.back() * mode.bits / 32;
    groups.back() = t.shape.back() / mode.group_size;
    job.planes[0] = add_tensor(m.path + ".weight", DType::u32, codes);
    job.planes[1] = add_tensor(m.path + ".scales", affine ? dtype : DType::u8, groups);
    if (affine) job.planes[2] = add_tensor(m.path + ".biases", dtype, groups);
    uint64_t bytes = 0;
    for (const TensorId id : job.planes)
      if (id != kNoTensor) bytes += plan.tensors[id].size_bytes;
    plan.jobs.push_back(std::move(job));
    n_parameters += element_count(t.shape).value_or(0);
    add_row(t, report_role(m.role), std::string(mode.scheme->name), mode.bits, mode.group_size,
            reason, bytes);
  }

  DType dtype_;  // undefined: as stored
};

}  // namespace

Result<Plan> plan_mlx(const Checkpoint& checkpoint, const QuantizeOptions& options,
                      const OnnxPlanExtras& extras) {
  PHIQUANT_TRY(check(checkpoint, options));
  const bool tied = mlx_is_tied(checkpoint);
  PHIQUANT_ASSIGN(const std::vector<MlxModule> modules, mlx_modules(checkpoint, tied));
  PHIQUANT_ASSIGN(const MlxPlanning planning,
                  plan_modes(options, checkpoint.decoder, tied, modules, extras.keep_float));
  MlxWriter writer(checkpoint, options);
  for (size_t i = 0; i < modules.size(); ++i) writer.add(modules[i], planning.choices[i]);
  Plan& plan = writer.plan;
  lay_out_safetensors(plan, options.max_file_size ? options.max_file_size : kShardBytes,
                      writer.n_parameters);
  add_text_file(plan, "config.json",
                mlx_config(checkpoint, tied, modules, planning, options.context));
  if (!checkpoint.generation_config_json.empty())
    add_text_file(plan, "generation_config.json", checkpoint.generation_config_json);
  PHIQUANT_TRY(add_sidecars(plan, checkpoint));
  plan.warnings = checkpoint.warnings;
  if (checkpoint.decoder.rope.long_branch && !options.context)
    plan.warnings.push_back(fmt::format(
        "mlx_lm uses the long rope factors at every length, which costs accuracy up to "
        "{} tokens (--context {} writes the short ones in their place)",
        checkpoint.decoder.rope.original_context, checkpoint.decoder.rope.original_context));
  if (checkpoint.decoder.block_sparse)
    plan.warnings.push_back(
        "mlx_lm 0.32.2 computes prompts of this model wrongly: its layers with block-sparse "
        "attention hide no later token of a block (models/phi3small.py adds a mask of true and "
        "false; nothing in the folder can help that)");
  return std::move(plan);
}

}  // namespace phiquant
