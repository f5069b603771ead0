#include "format/onnx/edit.h"

#include <cassert>
#include <cstring>

#include "core/half.h"
#include "core/input_file.h"

namespace phiquant::format {
namespace {

template <class T>
void append_bytes(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Typed int32_data holds every type of up to 32 bits, one element an entry; 4- and 2-bit types two
// or four.
std::string int32_bytes(const onnx::TensorProto& tensor, DType dtype) {
  std::string out;
  const unsigned bits = dtype_bits(dtype);
  for (const int32_t v : tensor.int32_data()) {
    if (bits == 32)
      append_bytes(out, v);
    else if (bits == 16)
      append_bytes(out, static_cast<uint16_t>(v));
    else
      append_bytes(out, static_cast<uint8_t>(v));
  }
  return out;
}

const void* identity(const Scope& scope) {
  return scope.graph ? static_cast<const void*>(scope.graph)
                     : static_cast<const void*>(scope.function);
}

template <class List>
void erase_named(List& list, const std::string& name) {
  for (int i = 0; i < list.size(); ++i)
    if (list.Get(i).name() == name) {
      list.DeleteSubrange(i, 1);
      return;
    }
}

std::string unique(const std::string& wanted, std::unordered_set<std::string>& taken) {
  std::string name = wanted;
  for (int i = 1; !taken.insert(name).second; ++i) name = wanted + "_" + std::to_string(i);
  return name;
}

}  // namespace

std::string inline_bytes(const onnx::TensorProto& tensor) {
  if (tensor.has_raw_data()) return tensor.raw_data();
  const DType dtype = dtype_from_onnx(tensor.data_type());
  std::string out;
  if (tensor.float_data_size())
    for (const float v : tensor.float_data()) append_bytes(out, v);
  else if (tensor.double_data_size())
    for (const double v : tensor.double_data()) append_bytes(out, v);
  else if (tensor.int64_data_size())
    for (const int64_t v : tensor.int64_data()) append_bytes(out, v);
  else if (tensor.uint64_data_size()) {
    for (const uint64_t v : tensor.uint64_data()) {
      if (dtype == DType::u32)
        append_bytes(out, static_cast<uint32_t>(v));
      else
        append_bytes(out, v);
    }
  } else
    out = int32_bytes(tensor, dtype);
  return out;
}

Shape shape_of(const onnx::TensorProto& tensor) {
  Shape shape;
  for (const int64_t d : tensor.dims()) shape.push_back(static_cast<uint64_t>(d));
  return shape;
}

onnx::TensorProto make_tensor(const std::string& name, DType dtype, const Shape& shape) {
  onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(onnx_from_dtype(dtype));
  for (const uint64_t d : shape) tensor.add_dims(static_cast<int64_t>(d));
  return tensor;
}

onnx::ValueInfoProto* find_value_info(
    google::protobuf::RepeatedPtrField<onnx::ValueInfoProto>& list, const std::string& name) {
  for (auto& info : list)
    if (info.name() == name) return &info;
  return nullptr;
}

Editor::Editor(OnnxModel m, const Request& o, const Evidence& e)
    : model(std::move(m)),
      options(o),
      evidence(e),
      index(std::make_unique<GraphIndex>(model.proto)) {
  value_names_ = index->value_names();
  node_names_ = index->node_names();
}

// ---- Sources
// -------------------------------------------------------------------------------------------

SourceTensor Editor::source(const onnx::TensorProto& tensor) {
  if (const auto i = payload_index(tensor)) {
    SourceTensor s = model.payloads[*i].source;
    s.name = tensor.name();
    return s;
  }
  return {tensor.name(), dtype_from_onnx(tensor.data_type()), shape_of(tensor),
          memory_source(inline_bytes(tensor))};
}

const DecodedWeight* Editor::decoded(const onnx::TensorProto& tensor) const {
  const auto i = payload_index(tensor);
  if (!i) return nullptr;
  const auto it = decoded_.find(*i);
  return it == decoded_.end() ? nullptr : &it->second;
}

void Editor::set_source(onnx::TensorProto& tensor, SourceTensor source_tensor) {
  model.payloads.push_back({std::move(source_tensor), kNoTensor});
  set_payload_index(tensor, static_cast<uint32_t>(model.payloads.size() - 1));
}

void Editor::make_payload(onnx::TensorProto& tensor) {
  if (!payload_index(tensor)) set_source(tensor, source(tensor));
}

void Editor::retype(onnx::TensorProto& tensor, DType to) {
  make_payload(tensor);
  tensor.set_data_type(onnx_from_dtype(to));
}

void Editor::set_decoded(onnx::TensorProto& tensor, DecodedWeight weight) {
  model.payloads.push_back({});
  const auto i = static_cast<uint32_t>(model.payloads.size() - 1);
  set_payload_index(tensor, i);
  decoded_.emplace(i, std::move(weight));
}

// ---- New constants
// -------------------------------------------------------------------------------------

void Editor::add_constant(Scope& scope, const onnx::TensorProto* near, onnx::TensorProto tensor) {
  ScopeEdits& edits = edits_[&scope];
  if (scope.graph) {
    edits.tensors.push_back({near, std::move(tensor)});
    return;
  }
  onnx::NodeProto& node = *edits.front.emplace_back(std::make_unique<onnx::NodeProto>());
  node.set_op_type("Constant");
  node.set_name(node_name(tensor.name() + "_constant"));
  node.add_output(tensor.name());
  auto* a = node.add_attribute();
  a->set_name("value");
  a->set_type(onnx::AttributeProto::TENSOR);
  *a->mutable_t() = std::move(tensor);
}

TensorId Editor::add_tensor(Scope& scope, const onnx::TensorProto* near, const std::string& name,
                            DType dtype, Shape shape) {
  const auto id = static_cast<TensorId>(plan.tensors.size());
  onnx::TensorProto tensor = make_tensor(name, dtype, shape);
  model.payloads.push_back({{}, id});
  set_payload_index(tensor, static_cast<uint32_t>(model.payloads.size() - 1));
  const uint64_t size = *tensor_bytes(dtype, shape);
  plan.tensors.push_back({name, dtype, std::move(shape), size, 0, 0});
  add_constant(scope, near, std::move(tensor));
  return id;
}

std::string Editor::add_float_scalar(Scope& scope, const std::string& name, DType dtype,
                                     float value) {
  onnx::TensorProto tensor = make_tensor(value_name(name), dtype, {});
  std::string bytes;
  if (dtype == DType::f16)
    append_bytes(bytes, f16_from_f32(value));
  else if (dtype == DType::bf16)
    append_bytes(bytes, bf16_from_f32(value));
  else
    append_bytes(bytes, value);
  tensor.set_raw_data(bytes);
  const std::string result = tensor.name();
  add_constant(scope, nullptr, std::move(tensor));
  return result;
}

std::string Editor::add_int64_vector(Scope& scope, const std::string& name,
                                     const std::vector<int64_t>& values) {
  onnx::TensorProto tensor = make_tensor(value_name(name), DType::i64, {values.size()});
  std::string bytes;
  for (const int64_t v : values) append_bytes(bytes, v);
  tensor.set_raw_data(bytes);
  const std::string result = tensor.name();
  add_constant(scope, nullptr, std::move(tensor));
  return result;
}

// ---- Names and nodes
// -----------------------------------------------------------------------------------

std::string Editor::value_name(const std::string& wanted) { return unique(wanted, value_names_); }
std::string Editor::node_name(const std::string& wanted) {
  return wanted.empty() ? wanted : unique(wanted, node_names_);
}

onnx::NodeProto& Editor::insert_before(Scope&, const onnx::NodeProto& node) {
  return *before_[&node].emplace_back(std::make_unique<onnx::NodeProto>());
}
onnx::NodeProto& Editor::insert_after(Scope&, const onnx::NodeProto& node) {
  return *after_[&node].emplace_back(std::make_unique<onnx::NodeProto>());
}
onnx::NodeProto& Editor::append_front(Scope& scope) {
  return *edits_[&scope].front.emplace_back(std::make_unique<onnx::NodeProto>());
}
void Editor::remove(const onnx::NodeProto& node) { removed_.insert(&node); }

void Editor::released(Scope& scope, const std::string& name) {
  if (Scope* definer = GraphIndex::defining(&scope, name))
    released_.push_back({identity(*definer), name});
}

// ---- Applying
// ------------------------------------------------------------------------------------------

void Editor::rebuild_nodes(Scope& scope) {
  Nodes out;
  const auto move_in = [&out](NodeList& list) {
    for (auto& node : list) out.Add()->Swap(node.get());
  };
  ScopeEdits& edits = edits_[&scope];
  move_in(edits.front);
  for (auto& node : scope.nodes()) {
    if (const auto it = before_.find(&node); it != before_.end()) move_in(it->second);
    const auto after = after_.find(&node);
    if (!removed_.count(&node)) out.Add()->Swap(&node);
    if (after != after_.end()) move_in(after->second);
  }
  scope.nodes().Swap(&out);
}

void Editor::rebuild_initializers(Scope& scope,
                                  const std::unordered_set<const onnx::TensorProto*>& dead) {
  if (!scope.graph) return;
  std::unordered_map<const onnx::TensorProto*, std::vector<NewTensor*>> placed;
  std::vector<NewTensor*> rest;
  auto& list = *scope.graph->mutable_initializer();
  std::unordered_set<const onnx::TensorProto*> present;
  for (const auto& t : list) present.insert(&t);
  for (NewTensor& t : edits_[&scope].tensors)
    if (present.count(t.near))
      placed[t.near].push_back(&t);
    else
      rest.push_back(&t);
  google::protobuf::RepeatedPtrField<onnx::TensorProto> out;
  for (auto& t : list) {
    if (const auto it = placed.find(&t); it != placed.end())
      for (NewTensor* added : it->second) out.Add()->Swap(&added->tensor);
    if (!dead.count(&t)) out.Add()->Swap(&t);
  }
  for (NewTensor* added : rest) out.Add()->Swap(&added->tensor);
  list.Swap(&out);
}

void Editor::rebuild_all(const std::unordered_set<const onnx::TensorProto*>& dead) {
  for (const auto& scope : index->scopes()) {
    rebuild_initializers(*scope, dead);
    rebuild_nodes(*scope);
  }
  before_.clear();
  after_.clear();
  edits_.clear();
  removed_.clear();
  index = std::make_unique<GraphIndex>(model.proto);
}

void Editor::prune_value(Scope& scope, const std::string& name, Values& work,
                         std::unordered_set<const onnx::TensorProto*>& dead) {
  if (!GraphIndex::unused(scope, name)) return;
  const auto producer = scope.producers.find(name);
  if (producer == scope.producers.end()) {
    const auto constant = scope.constants.find(name);
    if (constant == scope.constants.end() || !scope.graph) return;
    dead.insert(constant->second);
    erase_named(*scope.graph->mutable_input(), name);  // old models list every initializer there
    return;
  }
  const onnx::NodeProto& node = *producer->second;
  if (removed_.count(&node)) return;
  for (const auto& output : node.output())
    if (!output.empty() && !GraphIndex::unused(scope, output)) return;
  remove(node);
  for (const auto& input : node.input()) {
    Scope* definer = GraphIndex::defining(&scope, input);
    if (!definer) continue;
    auto& uses = definer->uses[input];
    std::erase_if(uses, [&](const Use& use) { return use.node == &node; });
    work.emplace_back(definer, input);
  }
}

void Editor::prune() {
  Values work;
  for (const Released& r : released_)
    for (const auto& scope : index->scopes())
      if (identity(*scope) == r.graph) work.emplace_back(scope.get(), r.name);
  released_.clear();
  std::unordered_set<const onnx::TensorProto*> dead;
  while (!work.empty()) {
    const auto [scope, name] = work.back();
    work.pop_back();
    prune_value(*scope, name, work, dead);
  }
  if (!dead.empty() || !removed_.empty()) rebuild_all(dead);
}

void Editor::apply() {
  rebuild_all({});
  prune();
}

void Editor::reindex() {
  index = std::make_unique<GraphIndex>(model.proto);
  value_names_ = index->value_names();
  node_names_ = index->node_names();
}

// ---- Requirements
// --------------------------------------------------------------------------------------

namespace {

void import_domain(google::protobuf::RepeatedPtrField<onnx::OperatorSetIdProto>& imports,
                   const std::string& domain, int64_t version) {
  for (const auto& import : imports)
    if (import.domain() == domain) return;
  auto* import = imports.Add();
  import->set_domain(domain);
  import->set_version(version);
}

}  // namespace

void Editor::require_domain(const Scope& scope, const std::string& domain, int64_t version) {
  import_domain(*model.proto.mutable_opset_import(), domain, version);
  const Scope* root = &scope;
  while (root->parent) root = root->parent;
  if (root->function) import_domain(*root->function->mutable_opset_import(), domain, version);
}

int64_t Editor::opset() const {
  for (const auto& import : model.proto.opset_import())
    if (import.domain().empty() || import.domain() == "ai.onnx") return import.version();
  return 1;
}

uint32_t Editor::add_job(Job job) {
  plan.jobs.push_back(std::move(job));
  return static_cast<uint32_t>(plan.jobs.size() - 1);
}

void Editor::warn(std::string message) {
  if (warned_.insert(message).second) plan.warnings.push_back(std::move(message));
}

}  // namespace phiquant::format
