#include "model/onnx/loader.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <onnx/defs/schema.h>

#include "core/input_file.h"
#include "core/text.h"
#include "model/onnx/external.h"
#include "model/onnx/sniff.h"

namespace phiquant {
namespace fs = std::filesystem;
namespace {

Result<fs::path> model_in_folder(const fs::path& folder, const OnnxLoadOptions& options) {
  std::vector<std::string> found;
  std::error_code status;
  for (fs::directory_iterator it(folder, status), end; !status && it != end; it.increment(status)) {
    std::error_code ignored;
    if (it->path().extension() == ".onnx" && !it->is_directory(ignored))
      found.push_back(it->path().filename().string());
  }
  if (status) return Error{Errc::io, fmt::format("{}: {}", folder.string(), status.message())};
  std::sort(found.begin(), found.end());
  if (found.empty())
    return Error{Errc::io, fmt::format("{}: no .onnx file in this folder", folder.string())};
  const bool preferred = std::find(found.begin(), found.end(), "model.onnx") != found.end();
  if (found.size() > 1 && !preferred)
    return Error{
        Errc::usage,
        fmt::format("{}: {} .onnx files and none is model.onnx (name one: {})", folder.string(),
                    found.size(), printable(fmt::format("{}", fmt::join(found, ", "))))};
  const fs::path path = folder / (preferred ? "model.onnx" : found.front());
  if (!options.follow_symlinks && fs::exists(path, status)) {
    PHIQUANT_ASSIGN(const bool stays, stays_with_model(folder, path));
    if (!stays)
      return Error{Errc::unsupported,
                   fmt::format("{}: a link that leaves the folder (--follow-symlinks accepts it)",
                               path.string())};
  }
  return path;
}

// Versions that the onnx library linked in knows.
Result<void> check_versions(const OnnxModel& model) {
  const onnx::ModelProto& m = model.proto;
  const auto fail = [&](Errc code, const std::string& what) {
    return Error{code, fmt::format("{}: {}", model.path.string(), what)};
  };
  if (!m.has_graph() && !m.has_ir_version())
    return fail(Errc::corrupt, "not an ONNX model: neither a graph nor an ir_version");
  if (!m.has_ir_version() || m.ir_version() < 1)
    return fail(Errc::corrupt, "ir_version is missing");
  if (!m.has_graph()) return fail(Errc::corrupt, "the graph is missing (incomplete download?)");
  if (m.ir_version() > onnx::Version::IR_VERSION)
    return fail(Errc::unsupported, fmt::format("ir_version {} is newer than the newest known, {}",
                                               m.ir_version(), int{onnx::Version::IR_VERSION}));
  // Before version 3 the operator set was implied.
  if (m.opset_import().empty() && m.ir_version() >= 3)
    return fail(Errc::corrupt, "opset_import is missing (incomplete download?)");
  const auto& ranges = onnx::OpSchemaRegistry::DomainToVersionRange::Instance().Map();
  for (const auto& opset : m.opset_import()) {
    const auto range = ranges.find(opset.domain() == "ai.onnx" ? "" : opset.domain());
    const std::string name = opset.domain().empty() ? "ai.onnx" : printable(opset.domain());
    if (opset.version() < 1)
      return fail(Errc::corrupt,
                  fmt::format("opset {} of {} is not a version", opset.version(), name));
    if (range != ranges.end() && opset.version() > range->second.second)
      return fail(Errc::unsupported,
                  fmt::format("opset {} of {} is newer than the newest known, {}", opset.version(),
                              name, range->second.second));
  }
  return {};
}

// External tensors below kStripBytes go into the model, so that shapes and scalars are found there
// wherever the file keeps them; payloads are numbered anew.
Result<void> inline_small(OnnxModel& model) {
  std::vector<Payload> kept;
  Result<void> status;
  for_each_tensor(model.proto, [&](onnx::TensorProto& tensor) {
    const auto index = payload_index(tensor);
    if (!index || !status) return;
    Payload& payload = model.payloads[*index];
    const uint64_t size = payload.source.bytes->size_bytes();
    if (size >= kStripBytes) {
      set_payload_index(tensor, static_cast<uint32_t>(kept.size()));
      kept.push_back(std::move(payload));
      return;
    }
    std::string bytes(size, '\0');
    status = payload.source.bytes->read(0, std::as_writable_bytes(std::span(bytes)));
    tensor.clear_external_data();
    tensor.clear_data_location();
    tensor.set_raw_data(std::move(bytes));
  });
  PHIQUANT_TRY(status);
  model.payloads = std::move(kept);
  return {};
}

// A Constant node's tensor seldom has a name: it is called after the node's output.
void name_constants(const google::protobuf::RepeatedPtrField<onnx::NodeProto>& nodes,
                    std::vector<Payload>& payloads) {
  for (const auto& node : nodes)
    for (const auto& attribute : node.attribute()) {
      if (attribute.has_g()) name_constants(attribute.g().node(), payloads);
      for (const auto& graph : attribute.graphs()) name_constants(graph.node(), payloads);
      if (node.op_type() != "Constant" || node.output_size() != 1 || !attribute.has_t()) continue;
      if (const auto index = payload_index(attribute.t()))
        payloads[*index].source.name = node.output(0);
    }
}

}  // namespace

Result<OnnxModel> load_onnx(const fs::path& path, const OnnxLoadOptions& options) {
  fs::path file_path = path;
  std::error_code status;
  if (fs::is_directory(path, status)) {
    PHIQUANT_ASSIGN(file_path, model_in_folder(path, options));
  }
  PHIQUANT_ASSIGN(const auto file, InputFile::open(file_path));
  if (file->size_bytes() == 0)
    return Error{Errc::corrupt, fmt::format("{}: {}", file_path.string(), *not_onnx_because({}))};
  PHIQUANT_ASSIGN(const auto bytes, file->map());
  if (const auto why = not_onnx_because(bytes.first(std::min<size_t>(bytes.size(), 256))))
    return Error{Errc::corrupt, fmt::format("{}: {}", file_path.string(), *why)};
  auto stripped = strip_payloads(file, bytes);
  file->drop_mapped_pages();
  if (!stripped) return std::move(stripped).error();
  PHIQUANT_TRY(check_versions(stripped->model));
  PHIQUANT_TRY(resolve_external(*stripped, options.follow_symlinks));
  OnnxModel& model = stripped->model;
  PHIQUANT_TRY(inline_small(model));
  name_constants(model.proto.graph().node(), model.payloads);
  for (const auto& function : model.proto.functions())
    name_constants(function.node(), model.payloads);
  return std::move(model);
}

}  // namespace phiquant
