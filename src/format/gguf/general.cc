#include "format/gguf/general.h"

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "format/gguf/model_card.h"
#include "format/gguf/model_name.h"

namespace phiquant::format {
namespace {

using json = nlohmann::json;
using Keys = std::vector<GgufKeyValue>;

// The reader of the checkpoint has checked it.
json parse(const std::string& text) {
  json value = text.empty() ? json() : json::parse(text, nullptr, false);
  return value.is_object() ? value : json::object();
}

uint64_t count_values(const SourceTensor& tensor) {
  uint64_t n = 1;
  for (const auto dim : tensor.shape) n *= static_cast<uint64_t>(dim);
  return n;
}

struct Parameters {
  uint64_t n_shared = 0, n_expert = 0, n_experts = 0;
};

// As the converter counts the tensors of its file: the rope's factors too, experts divided by their
// number.
Parameters count_parameters(const Checkpoint& c) {
  Parameters out;
  uint64_t n_of_experts = 0;
  for (const auto& [key, tensor] : c.weights)
    (key.expert >= 0 ? n_of_experts : out.n_shared) += count_values(tensor);
  if (c.decoder.rope.long_branch) out.n_shared += c.decoder.rope.dims / 2 * uint64_t{2};
  if (c.decoder.moe) {
    out.n_experts = c.decoder.moe->n_experts;
    out.n_expert = n_of_experts / std::max<uint64_t>(1, out.n_experts);
  }
  return out;
}

void put_sampling(const json& generation, Keys& out) {
  const auto put = [&](const char* key, const char* name, bool whole) {
    const auto it = generation.find(name);
    if (it == generation.end() || !it->is_number()) return;
    if (!whole)
      out.push_back({key, static_cast<float>(it->get<double>())});
    else if (it->is_number_integer() && it->get<int64_t>() >= INT32_MIN &&
             it->get<int64_t>() <= INT32_MAX)
      out.push_back({key, it->get<int32_t>()});
  };
  if (const auto it = generation.find("sequence"); it != generation.end() && it->is_string())
    out.push_back({"general.sampling.sequence", it->get<std::string>()});
  put("general.sampling.top_k", "top_k", true);
  put("general.sampling.top_p", "top_p", false);
  put("general.sampling.min_p", "min_p", false);
  put("general.sampling.xtc_probability", "xtc_probability", false);
  put("general.sampling.xtc_threshold", "xtc_threshold", false);
  put("general.sampling.temp", "temperature", false);
  put("general.sampling.penalty_last_n", "penalty_last_n", true);
  put("general.sampling.penalty_repeat",
      generation.contains("penalty_repeat") ? "penalty_repeat" : "repetition_penalty", false);
  put("general.sampling.mirostat", "mirostat", true);
  put("general.sampling.mirostat_tau", "mirostat_tau", false);
  put("general.sampling.mirostat_eta", "mirostat_eta", false);
}

// The folder's own name, also of "." and of a path that ends with a slash.
std::string folder_name(const Checkpoint& c) {
  std::error_code ignored;
  auto path = std::filesystem::absolute(c.folder, ignored).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  return path.filename().string();
}

void take_id(const ModelId& id, ModelId& out) {
  const auto take = [](const std::string& from, std::string& to) {
    if (to.empty()) to = from;
  };
  take(title_of_id(id.name), out.name);
  take(title_of_id(id.organization), out.organization);
  take(id.basename, out.basename);
  take(id.finetune, out.finetune);
  take(id.version, out.version);
  take(id.size_label, out.size_label);
}

// llama.cpp, on a name with "phi-3" or "phi3" in it, looks up four tokens by their text and ends
// with an exception where one is missing, as from Phi-4's vocabulary (src/llama-vocab.cpp).
std::string safe_name(std::string name, const Vocabulary& vocabulary) {
  const auto has = [&](std::string_view text) {
    return std::find(vocabulary.pieces.begin(), vocabulary.pieces.end(), text) !=
           vocabulary.pieces.end();
  };
  if (has("</s>") && has("<unk>") && has("<s>") && has("<|endoftext|>")) return name;
  for (size_t i = 0; i + 4 <= name.size(); ++i) {
    const bool phi =
        (name[i] | 0x20) == 'p' && (name[i + 1] | 0x20) == 'h' && (name[i + 2] | 0x20) == 'i';
    if (!phi) continue;
    if (name[i + 3] == '3')
      name.insert(i + 3, " ");
    else if (name.compare(i + 3, 2, "-3") == 0)
      name[i + 3] = ' ';
  }
  return name;
}

}  // namespace

uint64_t original_context(const Checkpoint& c) {
  if (c.decoder.rope.original_context) return c.decoder.rope.original_context;
  const json config = parse(c.config_json);
  const json stated = config.value("original_max_position_embeddings", json());
  return stated.is_number_unsigned() && stated.get<uint64_t>() > 0 &&
                 stated.get<uint64_t>() <= c.decoder.context
             ? stated.get<uint64_t>()
             : c.decoder.context;
}

std::vector<GgufKeyValue> general_keys(const Checkpoint& c, const Vocabulary& vocabulary) {
  Keys out;
  const Parameters n = count_parameters(c);
  const uint64_t n_params = n.n_shared + n.n_expert * std::max<uint64_t>(1, n.n_experts);
  out.push_back({"general.type", std::string("model")});
  put_sampling(parse(c.generation_config_json), out);
  ModelId id = id_of_card(c.card);
  const json path = parse(c.config_json).value("_name_or_path", json());
  if (path.is_string()) {
    const auto& text = path.get_ref<const std::string&>();
    // More slashes: a path on somebody's computer.
    if (!text.empty() && text.size() <= 256 && std::count(text.begin(), text.end(), '/') <= 1)
      take_id(parse_model_id(text, n_params), id);
  }
  take_id(parse_model_id(folder_name(c), n_params), id);
  if (id.size_label.empty()) id.size_label = size_label(n.n_shared, n.n_expert, n.n_experts);
  const auto put = [&](const char* key, std::string text) {
    if (!text.empty()) out.push_back({key, std::move(text)});
  };
  put("general.name", safe_name(id.name, vocabulary));
  put("general.author", author_of_card(c.card));
  put("general.version", id.version);
  put("general.organization", id.organization);
  put("general.finetune", id.finetune);
  put("general.basename", id.basename);
  put("general.description", description_of_card(c.card));
  put("general.size_label", id.size_label);
  for (GgufKeyValue& key : keys_of_card(c.card, n_params)) out.push_back(std::move(key));
  return out;
}

}  // namespace phiquant::format
