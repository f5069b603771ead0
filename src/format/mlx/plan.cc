#include "format/mlx/plan.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "decide/mix_mlx.h"
#include "format/mlx/config.h"
#include "format/mlx/modules.h"
#include "format/mlx/safetensors_files.h"
#include "format/side_files.h"
#include "quant/numeric/cast_source.h"

namespace phiquant {
namespace {

using namespace format;

constexpr uint64_t kShardBytes = uint64_t{5} << 30;

Result<void> check(const Checkpoint& c, const Request& o) {
  const Decoder& d = c.decoder;
  if (uint64_t{d.head_size} * d.n_heads != d.hidden)
    return Error{Errc::unsupported,
                 fmt::format("{}: {} heads of {} are not the hidden size {}, which mlx_lm takes "
                             "them for",
                             c.folder.string(), d.n_heads, d.head_size, d.hidden)};
  PHIQUANT_TRY(check_mlx_class(c));
  if (o.output.mlx.context && *o.output.mlx.context > d.context)
    return Error{Errc::usage, fmt::format("--context {}: the model has a context of {}",
                                          *o.output.mlx.context, d.context)};
  return {};
}

// A matrix or table of a module, or its norm; then its bias.
std::vector<Slot> slots_of(const std::vector<MlxModule>& modules) {
  std::vector<Slot> slots;
  const auto add = [&](const MlxModule& m, const SourceTensor& t, bool bias) {
    Slot slot;
    slot.key = WeightKey{m.role, m.layer, -1, bias};
    slot.kind = bias || !is_mlx_linear(m.role) ? SlotKind::vector
                : m.role == Role::embed        ? SlotKind::table
                : t.shape.size() > 2           ? SlotKind::experts
                                               : SlotKind::linear;
    slot.tensor = t.name;
    slot.names = {m.path, m.path + ".weight"};
    slot.shape = t.shape;
    slot.k = t.shape.back();
    slot.n = t.shape.size() > 1 ? t.shape[t.shape.size() - 2] : 1;
    slot.stack = t.shape.size() > 2 ? t.shape[0] : 1;
    slot.dtype = t.dtype;
    slot.bytes = t.bytes->size_bytes();
    slots.push_back(std::move(slot));
  };
  for (const MlxModule& m : modules) {
    add(m, m.weight, false);
    for (const SourceTensor& bias : m.bias) add(m, bias, true);
  }
  return slots;
}

class MlxWriter {
 public:
  MlxWriter(const Checkpoint& checkpoint, const Request& request)
      : dtype_(wanted_dtype(checkpoint, request.recipe.precision)) {
    plan.is_directory = true;
    plan.input_bytes = checkpoint.input_bytes;
  }

  void add(const Slot& slot, const Choice& choice, const MlxModule& m, const SourceTensor& t) {
    PlanRow row = plan_row(slot, choice);
    n_parameters += element_count(t.shape).value_or(0);
    if (choice.is_float())
      add_float(m.path + (slot.key->bias ? ".bias" : ".weight"), t, row);
    else
      add_quantized(m.path, t, choice, row);
    row.job = static_cast<uint32_t>(plan.jobs.size() - 1);
    plan.rows.push_back(std::move(row));
  }

  Plan plan;
  uint64_t n_parameters = 0;

 private:
  static DType wanted_dtype(const Checkpoint& c, Precision precision) {
    switch (precision) {
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

  TensorId add_tensor(std::string name, DType dtype, Shape shape, PlanRow& row) {
    const uint64_t size = tensor_bytes(dtype, shape).value_or(0);
    plan.tensors.push_back({std::move(name), dtype, std::move(shape), size, 0, 0});
    row.bytes_after += size;
    return static_cast<TensorId>(plan.tensors.size() - 1);
  }

  void add_float(std::string name, const SourceTensor& t, PlanRow& row) {
    const DType to = dtype_of(t);
    const TensorId out = add_tensor(std::move(name), to, t.shape, row);
    row.action = t.dtype == to ? "keep" : "cast";
    row.bits = dtype_bits(to);
    if (t.dtype == to)
      plan.jobs.push_back(CopyJob{t, out});
    else
      plan.jobs.push_back(CastJob{t, CastRule::ieee, out});
  }

  void add_quantized(const std::string& path, const SourceTensor& t, const Choice& choice,
                     PlanRow& row) {
    const DType dtype = dtype_of(t);
    const unsigned bits = choice.params.bits;
    const uint32_t group = choice.params.block_size;
    const bool affine = choice.encoding->name == "affine";
    RowJob job;
    job.source = dtype == t.dtype ? t : cast_source(t, dtype);
    job.source.name = t.name;
    job.scheme = choice.encoding->rows;
    job.params = {bits, group, dtype};
    Shape codes = t.shape, groups = t.shape;
    codes.back() = t.shape.back() * bits / 32;
    groups.back() = t.shape.back() / group;
    job.planes[0] = add_tensor(path + ".weight", DType::u32, codes, row);
    job.planes[1] = add_tensor(path + ".scales", affine ? dtype : DType::u8, groups, row);
    if (affine) job.planes[2] = add_tensor(path + ".biases", dtype, groups, row);
    plan.jobs.push_back(std::move(job));
  }

  DType dtype_;  // undefined: as stored
};

void add_warnings(Plan& plan, const Checkpoint& checkpoint, const Request& request) {
  plan.warnings = checkpoint.warnings;
  if (checkpoint.decoder.rope.long_branch && !request.output.mlx.context)
    plan.warnings.push_back(fmt::format(
        "mlx_lm uses the long rope factors at every length, which costs accuracy up to "
        "{} tokens (--context {} writes the short ones in their place)",
        checkpoint.decoder.rope.original_context, checkpoint.decoder.rope.original_context));
  if (checkpoint.decoder.block_sparse)
    plan.warnings.push_back(
        "mlx_lm 0.32.2 computes prompts of this model wrongly: its layers with block-sparse "
        "attention hide no later token of a block (models/phi3small.py adds a mask of true and "
        "false; nothing in the folder can help that)");
}

Result<Plan> write_mlx(const Checkpoint& checkpoint, const Request& request, bool tied,
                       const std::vector<MlxModule>& modules, const std::vector<Slot>& slots,
                       const std::vector<Choice>& choices) {
  MlxWriter writer(checkpoint, request);
  std::vector<MlxException> exceptions;
  size_t i = 0;
  for (const MlxModule& m : modules) {
    if (choices[i].is_override) exceptions.push_back({m.path, choices[i]});
    writer.add(slots[i], choices[i], m, m.weight);
    ++i;
    for (const SourceTensor& bias : m.bias) {
      writer.add(slots[i], choices[i], m, bias);
      ++i;
    }
  }
  Plan& plan = writer.plan;
  lay_out_safetensors(plan,
                      request.output.max_file_size ? request.output.max_file_size : kShardBytes,
                      writer.n_parameters);
  PHIQUANT_ASSIGN(const auto base, mlx_base(request.recipe));
  add_text_file(plan, "config.json",
                mlx_config(checkpoint, tied, base, exceptions, request.output.mlx.context));
  if (!checkpoint.generation_config_json.empty())
    add_text_file(plan, "generation_config.json", checkpoint.generation_config_json);
  PHIQUANT_TRY(add_sidecars(plan, checkpoint));
  add_warnings(plan, checkpoint, request);
  return std::move(plan);
}

}  // namespace

Result<Draft> draft_mlx(const Checkpoint& checkpoint, const Request& request, const Evidence&) {
  PHIQUANT_TRY(check(checkpoint, request));
  const bool tied = mlx_is_tied(checkpoint);
  PHIQUANT_ASSIGN(std::vector<MlxModule> modules, mlx_modules(checkpoint, tied));
  Draft draft;
  PHIQUANT_ASSIGN(draft.capability, mlx_capability(request.recipe, checkpoint.decoder, tied));
  draft.slots = slots_of(modules);
  draft.write = [&checkpoint, &request, tied, modules = std::move(modules),
                 slots = draft.slots](const std::vector<Choice>& choices) {
    return write_mlx(checkpoint, request, tied, modules, slots, choices);
  };
  return draft;
}

}  // namespace phiquant
