#include "format/gguf/model_card.h"

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/core.h>
#include <fmt/ranges.h>

namespace phiquant::format {
namespace {

using Keys = std::vector<GgufKeyValue>;
constexpr std::string_view kHub = "huggingface.co/";

// Of the first of these names that the card has a text for; lists are joined, as the converter does
// with licences.
std::string first_text(const ModelCard& card, std::initializer_list<const char*> names) {
  for (const char* name : names)
    if (const auto texts = card.texts(name); !texts.empty())
      return fmt::format("{}", fmt::join(texts, ","));
  return {};
}

void put(Keys& out, std::string key, std::string text) {
  if (!text.empty()) out.push_back({std::move(key), std::move(text)});
}

// "<organization>/<name>" of a page on the hub; "" of any other address.
std::string_view id_in_address(std::string_view address) {
  for (const std::string_view scheme : {"http://", "https://"})
    if (address.starts_with(scheme) && address.substr(scheme.size()).starts_with(kHub)) {
      const std::string_view id = address.substr(scheme.size() + kHub.size());
      const size_t slash = id.find('/');
      const bool is_id = slash != std::string_view::npos && slash > 0 && slash + 1 < id.size() &&
                         id.find('/', slash + 1) == std::string_view::npos;
      return is_id ? id : std::string_view();
    }
  return {};
}

bool is_address(std::string_view text) {
  return text.starts_with("http://") || text.starts_with("https://") || text.starts_with("ssh://");
}

// One base model or data set, from its id, its address, or a mapping that says it all.
void put_relative(Keys& out, const std::string& prefix, const CardEntry& entry, uint64_t n_params) {
  if (!entry.fields.empty()) {
    for (const char* name : {"name", "author", "version", "organization", "description", "url",
                             "doi", "uuid", "repo_url"})
      if (const auto it = entry.fields.find(name); it != entry.fields.end())
        put(out, prefix + name, it->second);
    return;
  }
  const std::string_view id = is_address(entry.text) ? id_in_address(entry.text) : entry.text;
  const ModelId parts = parse_model_id(id, n_params);
  put(out, prefix + "name", title_of_id(parts.name));
  put(out, prefix + "version", parts.version);
  put(out, prefix + "organization", title_of_id(parts.organization));
  if (is_address(entry.text))
    put(out, prefix + "repo_url", entry.text);
  else if (!parts.organization.empty())
    put(out, prefix + "repo_url",
        fmt::format("https://{}{}/{}", kHub, parts.organization, parts.name));
}

void put_relatives(Keys& out, const char* kind, const ModelCard& card,
                   std::initializer_list<const char*> names, uint64_t n_params) {
  for (const char* name : names) {
    const auto it = card.values.find(name);
    if (it == card.values.end()) continue;
    const auto& entries = it->second;
    out.push_back({fmt::format("general.{}.count", kind), static_cast<uint32_t>(entries.size())});
    for (size_t i = 0; i < entries.size(); ++i)
      put_relative(out, fmt::format("general.{}.{}.", kind, i), entries[i], n_params);
    return;
  }
}

void put_list(Keys& out, const char* key, const ModelCard& card,
              std::initializer_list<const char*> names) {
  GgufArray list{GgufType::string, {}};
  for (const char* name : names)
    for (std::string& text : card.texts(name)) list.values.emplace_back(std::move(text));
  if (!list.values.empty()) out.push_back({key, std::move(list)});
}

}  // namespace

ModelId id_of_card(const ModelCard& card) {
  ModelId id;
  id.organization = first_text(card, {"organization", "model_organization"});
  id.basename = first_text(card, {"basename", "model_basename", "model_type"});
  id.finetune = first_text(card, {"finetune", "model_finetune"});
  id.version = first_text(card, {"version", "model_version"});
  id.size_label = first_text(card, {"size_label", "model_size_label"});
  return id;
}

std::string author_of_card(const ModelCard& card) {
  return first_text(card, {"author", "model_author", "model_creator"});
}

std::string description_of_card(const ModelCard& card) {
  return first_text(card, {"description", "model_description"});
}

std::vector<GgufKeyValue> keys_of_card(const ModelCard& card, uint64_t n_params) {
  Keys out;
  put(out, "general.license", first_text(card, {"license"}));
  put(out, "general.license.name", first_text(card, {"license_name"}));
  put(out, "general.license.link", first_text(card, {"license_link"}));
  put(out, "general.source.url", first_text(card, {"url", "model_url"}));
  put(out, "general.source.doi", first_text(card, {"doi", "model_doi"}));
  put(out, "general.source.uuid", first_text(card, {"uuid", "model_uuid"}));
  put(out, "general.source.repo_url", first_text(card, {"repo_url", "model_repo_url"}));
  put_relatives(out, "base_model", card, {"base_model", "base_models", "base_model_sources"},
                n_params);
  put_relatives(out, "dataset", card, {"datasets", "dataset", "dataset_sources"}, n_params);
  put_list(out, "general.tags", card, {"tags", "pipeline_tag"});
  put_list(out, "general.languages", card, {"languages", "language"});
  return out;
}

}  // namespace phiquant::format
