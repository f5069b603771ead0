// Order: tensors lie in the data files as they come in the graph. Tensors of a mebibyte and more
// start on a page, so that runtimes can map them and writers use direct I/O; smaller ones on 64
// bytes. Tensors below the threshold, and those that the format cannot move (attributes, sparse
// tensors, Constant nodes of functions), stay in model.onnx.
#include "format/onnx/layout.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/checked_math.h"

namespace phiquant::format {
namespace {

constexpr uint64_t kPage = 4096, kSmallAlignment = 64, kLargeTensor = uint64_t{1} << 20;
constexpr const char* kModelFile = "model.onnx";

struct Placed {
  TensorAt at;
  uint32_t payload = 0;
  TensorId out = kNoTensor;
};

// Whether a runtime's shape inference reads the values, which it does from inside the model only:
// integers, as a rule, and a few float parameters.
bool gives_shape(const Scope& scope, const std::string& name, DType dtype) {
  if (dtype == DType::i64 || dtype == DType::i32) return true;
  const auto reads = [](const onnx::NodeProto& node) {
    return is_op(node, "Resize") || is_op(node, "Upsample") || is_op(node, "Range") ||
           is_op(node, "OneHot");
  };
  const auto& uses = GraphIndex::uses(scope, name);
  return std::any_of(uses.begin(), uses.end(), [&](const Use& use) { return reads(*use.node); });
}

// The loader leaves tensors below kStripBytes in the protobuf; a lower threshold moves them too.
void strip_small(Editor& editor) {
  const uint64_t threshold = editor.options.output.onnx.external_data_threshold;
  if (threshold >= kStripBytes) return;
  for (const auto& scope : editor.index->scopes())
    for (const auto& [name, tensor] : scope->constants) {
      const DType dtype = dtype_from_onnx(tensor->data_type());
      const uint64_t size = tensor_bytes(dtype, shape_of(*tensor)).value_or(0);
      if (scope->graph && size != 0 && size >= threshold && !gives_shape(*scope, name, dtype))
        editor.make_payload(*tensor);
    }
}

// Tensors of Constant nodes that are to move become initializers, because runtimes expect external
// data only there.
void lift_constants(Editor& editor) {
  for (const auto& scope : editor.index->scopes()) {
    if (!scope->graph) continue;
    for (auto& node : scope->nodes()) {
      onnx::TensorProto* tensor = constant_tensor(node);
      if (!tensor || node.output_size() != 1 || scope->outputs.count(node.output(0))) continue;
      const uint64_t size =
          tensor_bytes(dtype_from_onnx(tensor->data_type()), shape_of(*tensor)).value_or(0);
      if (size == 0 || size < editor.options.output.onnx.external_data_threshold ||
          !payload_index(*tensor))
        continue;
      tensor->set_name(node.output(0));
      editor.add_constant(*scope, nullptr, std::move(*tensor));
      editor.remove(node);
    }
  }
  editor.apply();
}

TensorId add_job(Editor& editor, const onnx::TensorProto& tensor, CastRule rule) {
  const auto id = static_cast<TensorId>(editor.plan.tensors.size());
  const DType dtype = dtype_from_onnx(tensor.data_type());
  Shape shape = shape_of(tensor);
  const uint64_t size = tensor_bytes(dtype, shape).value_or(0);
  editor.plan.tensors.push_back({tensor.name(), dtype, std::move(shape), size, 0, 0});
  if (const DecodedWeight* decoded = editor.decoded(tensor)) {
    editor.add_job(DecodeJob{decoded->source, decoded->orientation, rule, id});
    return id;
  }
  SourceTensor source = editor.source(tensor);
  if (source.dtype == dtype)
    editor.add_job(CopyJob{std::move(source), id});
  else
    editor.add_job(CastJob{std::move(source), rule, id});
  return id;
}

// Every marker of the graph with its place in Plan::tensors.
std::vector<Placed> collect(Editor& editor, CastRule rule) {
  std::vector<Placed> out;
  std::unordered_set<uint32_t> seen;
  for (const TensorAt& at : all_tensors(editor.model.proto)) {
    auto payload = payload_index(*at.tensor);
    if (!payload) continue;
    if (!seen.insert(*payload).second && editor.model.payloads[*payload].produced == kNoTensor) {
      // The same bytes twice (a copied node): two places in the output.
      if (const DecodedWeight* decoded = editor.decoded(*at.tensor))
        editor.set_decoded(*at.tensor, *decoded);
      else
        editor.set_source(*at.tensor, editor.source(*at.tensor));
      payload = payload_index(*at.tensor);
    }
    TensorId id = editor.model.payloads[*payload].produced;
    if (id == kNoTensor) id = add_job(editor, *at.tensor, rule);
    out.push_back({at, *payload, id});
  }
  return out;
}

class DataFiles {
 public:
  DataFiles(Plan& plan, uint64_t max_size) : plan_(plan), max_size_(max_size) {}

  void place(OutTensor& tensor) {
    const uint64_t alignment = tensor.size_bytes >= kLargeTensor ? kPage : kSmallAlignment;
    uint64_t offset =
        plan_.files.size() > 1 ? *checked_round_up(plan_.files.back().size_bytes, alignment) : 0;
    const bool full = max_size_ != 0 && offset != 0 &&
                      (offset > max_size_ || tensor.size_bytes > max_size_ - offset);
    if (plan_.files.size() == 1 || full) {
      const size_t n = plan_.files.size() - 1;
      plan_.files.push_back(
          {n == 0 ? fmt::format("{}.data", kModelFile) : fmt::format("{}.data.{}", kModelFile, n),
           0,
           {}});
      offset = 0;
    }
    tensor.file = static_cast<uint32_t>(plan_.files.size() - 1);
    tensor.offset = offset;
    plan_.files.back().size_bytes = offset + tensor.size_bytes;
  }

 private:
  Plan& plan_;
  uint64_t max_size_;
};

bool stays_inline(const Placed& p, const OutTensor& tensor, const Request& options,
                  bool is_directory) {
  return !is_directory || p.at.in_function || p.at.place != TensorPlace::initializer ||
         tensor.size_bytes == 0 || tensor.size_bytes < options.output.onnx.external_data_threshold;
}

void attach_jobs_to_rows(Plan& plan) {
  std::unordered_map<std::string, uint32_t> jobs;
  for (uint32_t j = 0; j < plan.jobs.size(); ++j)
    std::visit([&](const auto& job) { jobs.emplace(job.source.name, j); }, plan.jobs[j]);
  for (PlanRow& row : plan.rows) {
    if (row.job || row.action == "keep") continue;
    if (const auto it = jobs.find(row.tensor); it != jobs.end()) row.job = it->second;
  }
}

}  // namespace

Result<void> lay_out(Editor& editor, CastRule rule) {
  Plan& plan = editor.plan;
  plan.is_directory = editor.options.output.path.extension() != ".onnx";
  if (editor.options.output.max_file_size != 0 && !plan.is_directory)
    return Error{Errc::usage,
                 fmt::format("{}: --max-file-size needs a folder as output, not one .onnx file",
                             editor.options.output.path.string())};
  if (plan.is_directory) {
    strip_small(editor);
    lift_constants(editor);
  }
  const std::vector<Placed> placed = collect(editor, rule);

  plan.files.push_back({plan.is_directory ? kModelFile : "", 0, {}});
  std::vector<PayloadPlace> places(editor.model.payloads.size());
  DataFiles data(plan, editor.options.output.max_file_size);
  for (const Placed& p : placed) {
    OutTensor& tensor = plan.tensors[p.out];
    PayloadPlace& place = places[p.payload];
    place.size_bytes = tensor.size_bytes;
    if (stays_inline(p, tensor, editor.options, plan.is_directory)) continue;
    data.place(tensor);
    place = {tensor.size_bytes, false, plan.files[tensor.file].path, tensor.offset};
  }
  auto spliced = splice_payloads(editor.model.proto, places);
  if (!spliced) {
    if (plan.is_directory) return std::move(spliced).error();
    return Error{Errc::usage, fmt::format("{}: the model does not fit into one .onnx file, whose "
                                          "limit is 2 GiB (give a folder as "
                                          "output, for external data)",
                                          editor.options.output.path.string())};
  }
  std::unordered_map<uint32_t, TensorId> by_payload;
  for (const Placed& p : placed) by_payload.emplace(p.payload, p.out);
  for (const Hole& hole : spliced->holes)
    plan.tensors[by_payload.at(hole.payload)].offset = hole.offset;
  plan.files[0].size_bytes = spliced->size_bytes;
  plan.files[0].literals = std::move(spliced->literals);
  plan.input_bytes = editor.model.input_bytes;
  attach_jobs_to_rows(plan);
  return {};
}

}  // namespace phiquant::format
