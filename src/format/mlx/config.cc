#include "format/mlx/config.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <nlohmann/json.hpp>

#include "format/mlx/modules.h"

namespace phiquant::format {
namespace {

using json = nlohmann::ordered_json;

json parse(const std::string& text) {
  json value = json::parse(text, nullptr, false);  // the checkpoint's reader has checked it
  return value.is_object() ? value : json::object();
}

bool has(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && !it->is_null();
}

// What belongs to other parts than the text's, to names of files that are not written, or to an
// earlier quantization.
constexpr const char* kDropped[] = {"_name_or_path", "vision_config", "quantization",
                                    "quantization_config"};
constexpr const char* kDroppedOfMultimodal[] = {
    "auto_map",    "img_processor", "embd_layer",   "audio_processor",
    "vision_lora", "speech_lora",   "audio_config", "text_config",
};

void name_class(json& config, const MlxModel& model) {
  if (config.value("model_type", json()) == json(model.model_type)) return;
  config["model_type"] = model.model_type;
  config["architectures"] = json::array({model.class_name});
  for (const char* key : kDroppedOfMultimodal) config.erase(key);
}

// mlx_lm reads rope_theta, partial_rotary_factor and original_max_position_embeddings at the top
// only, and rope_scaling with the key "type"; newer configs have all of them in rope_parameters.
void spread_rope(json& config) {
  if (has(config, "rope_parameters")) {
    const json all = config["rope_parameters"];
    for (const char* key :
         {"rope_theta", "partial_rotary_factor", "original_max_position_embeddings"})
      if (has(all, key)) config[key] = all[key];
    config["rope_scaling"] = all;
    config.erase("rope_parameters");
  }
  if (!has(config, "rope_scaling") || !config["rope_scaling"].is_object()) return;
  json& scaling = config["rope_scaling"];
  if (!has(scaling, "type") && has(scaling, "rope_type")) scaling["type"] = scaling["rope_type"];
  if (!has(scaling, "long_factor")) {
    scaling = nullptr;
    return;
  }
  const char* original = "original_max_position_embeddings";
  if (!has(config, original) && has(scaling, original)) config[original] = scaling[original];
}

void set_mscales(json& scaling, const Rope& rope, bool is_short) {
  if (!has(scaling, "short_mscale"))
    scaling["short_mscale"] = static_cast<double>(rope.short_branch.attention_factor);
  if (!has(scaling, "long_mscale"))
    scaling["long_mscale"] = static_cast<double>(rope.long_branch->attention_factor);
  if (is_short) scaling["long_mscale"] = scaling["short_mscale"];
}

void choose_rope(json& config, const Decoder& d, std::optional<uint64_t> context) {
  if (!d.rope.long_branch || !has(config, "rope_scaling")) return;
  json& scaling = config["rope_scaling"];
  const bool is_short = context && *context <= d.rope.original_context;
  if (is_short && has(scaling, "short_factor")) scaling["long_factor"] = scaling["short_factor"];
  if (d.moe) set_mscales(scaling, d.rope, is_short);
}

// What mlx_lm's class has no defaults for, and the checkpoint's has.
void fill_defaults(json& config, const Decoder& d) {
  if (!d.block_sparse) return;
  const auto fill = [&](const char* key, const json& value) {
    if (!has(config, key)) config[key] = value;
  };
  fill("num_key_value_heads", d.n_kv_heads);
  fill("dense_attention_every_n_layers", d.block_sparse->dense_every);
  fill("gegelu_limit", d.activation_limit.value_or(std::numeric_limits<float>::max()));
  fill("layer_norm_epsilon", static_cast<double>(d.norm_eps));
}

json mode_json(const Choice& choice) {
  return {{"group_size", choice.params.block_size},
          {"bits", choice.params.bits},
          {"mode", choice.encoding->name}};
}

json quantization(const Choice& base, const std::vector<MlxException>& exceptions) {
  json section = mode_json(base);
  for (const MlxException& e : exceptions)
    section[e.path] = e.choice.is_float() ? json(false) : mode_json(e.choice);
  return section;
}

// generation_config.json's, where it names any: with these runtimes stop.
void take_eos(json& config, const std::string& generation_config) {
  if (generation_config.empty()) return;
  const json generation = parse(generation_config);
  const auto eos = generation.find("eos_token_id");
  if (eos == generation.end() || eos->is_null() || *eos == json(0) || *eos == json(false)) return;
  if (eos->is_array() && eos->empty()) return;
  config["eos_token_id"] = *eos;
}

}  // namespace

bool mlx_is_tied(const Checkpoint& c) {
  const MlxTying tying = mlx_model(c.decoder).tying;
  if (!c.decoder.tied_embeddings || tying == MlxTying::never) return false;
  if (tying == MlxTying::always) return true;
  const json config = parse(c.config_json);
  return !has(config, "tie_word_embeddings") || config["tie_word_embeddings"] != json(false);
}

DType mlx_config_dtype(const Checkpoint& c) {
  const json config = parse(c.config_json);
  const auto it = config.find("torch_dtype");
  if (it == config.end() || !it->is_string()) return DType::undefined;
  for (const DType dtype : {DType::f16, DType::bf16, DType::f32})
    if (it->get<std::string>() == dtype_name(dtype)) return dtype;
  return DType::undefined;
}

std::string mlx_config(const Checkpoint& c, bool tied, const std::optional<Choice>& base,
                       const std::vector<MlxException>& exceptions,
                       std::optional<uint64_t> context) {
  const MlxModel& model = mlx_model(c.decoder);
  json config = parse(c.config_json);
  for (const char* key : kDropped) config.erase(key);
  name_class(config, model);
  take_eos(config, c.generation_config_json);
  spread_rope(config);
  choose_rope(config, c.decoder, context);
  fill_defaults(config, c.decoder);
  // Names of Python files that are not written; transformers would ask whether to run them.
  if (model.is_code_only) config.erase("auto_map");
  if (model.tying != MlxTying::always &&
      config.value("tie_word_embeddings", json(false)) != json(tied))
    config["tie_word_embeddings"] = tied;
  if (base) {
    config["quantization"] = quantization(*base, exceptions);
    config["quantization_config"] = config["quantization"];
  }
  std::vector<std::pair<std::string, json>> sorted;
  for (auto& [key, value] : config.items()) sorted.emplace_back(key, value);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  json out = json::object();
  for (auto& [key, value] : sorted) out[key] = std::move(value);
  return out.dump(4, ' ', true, json::error_handler_t::replace);
}

}  // namespace phiquant::format
