#include "format/onnx/provenance.h"

namespace phiquant::format {
namespace {

constexpr const char* kProducer = "phiquant";

void set_metadata(onnx::ModelProto& model, const std::string& key, const std::string& value) {
  for (auto& entry : *model.mutable_metadata_props())
    if (entry.key() == key) {
      entry.set_value(value);
      return;
    }
  auto* entry = model.add_metadata_props();
  entry->set_key(key);
  entry->set_value(value);
}

void remove_metadata(onnx::ModelProto& model, const std::string& key) {
  auto& list = *model.mutable_metadata_props();
  for (int i = list.size() - 1; i >= 0; --i)
    if (list.Get(i).key() == key) list.DeleteSubrange(i, 1);
}

template <class List>
void keep_known(List& list, const Scope& scope) {
  for (int i = list.size() - 1; i >= 0; --i)
    if (!scope.defines(list.Get(i).name())) list.DeleteSubrange(i, 1);
}

}  // namespace

void add_provenance(Editor& editor, const std::string& scheme, uint32_t block_size,
                    std::optional<bool> symmetric) {
  onnx::ModelProto& model = editor.model.proto;
  if (model.producer_name() != kProducer && !model.producer_name().empty())
    set_metadata(model, "phiquant.source_producer",
                 model.producer_version().empty()
                     ? model.producer_name()
                     : model.producer_name() + " " + model.producer_version());
  model.set_producer_name(kProducer);
  model.set_producer_version(PHIQUANT_VERSION);
  set_metadata(model, "phiquant.precision",
               std::string(kPrecisionNames[static_cast<size_t>(editor.options.recipe.precision)]));
  for (const char* key : {"phiquant.scheme", "phiquant.block_size", "phiquant.symmetric"})
    remove_metadata(model, key);
  if (!scheme.empty()) set_metadata(model, "phiquant.scheme", scheme);
  if (block_size != 0) set_metadata(model, "phiquant.block_size", std::to_string(block_size));
  if (symmetric) set_metadata(model, "phiquant.symmetric", *symmetric ? "true" : "false");
}

void drop_stale_value_infos(Editor& editor) {
  for (const auto& scope : editor.index->scopes()) {
    if (scope->graph)
      keep_known(*scope->graph->mutable_value_info(), *scope);
    else
      keep_known(*scope->function->mutable_value_info(), *scope);
  }
}

}  // namespace phiquant::format
