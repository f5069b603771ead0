#include "format/genai/config.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace phiquant::format {
namespace {

using json = nlohmann::ordered_json;

// The two files that state ids and search defaults; generation_config.json wins.
struct Configs {
  json config, generation;

  const json* find(const char* key) const {
    for (const json* file : {&generation, &config})
      if (const auto it = file->find(key); it != file->end() && !it->is_null()) return &*it;
    return nullptr;
  }
};

json parse(const std::string& text) {
  json value = text.empty()
                   ? json::object()
                   : json::parse(text, nullptr, false);  // the checkpoint's reader has checked it
  return value.is_object() ? value : json::object();
}

json ids(const std::vector<int64_t>& list) { return list.size() == 1 ? json(list[0]) : json(list); }

// eos: what generation_config or else config names, and the tokenizer's own, with which chats end a
// turn.
json eos_ids(const Checkpoint& c, const Configs& files) {
  std::vector<int64_t> list;
  if (const json* stated = files.find("eos_token_id")) {
    for (const json& id : stated->is_array() ? *stated : json::array({*stated}))
      if (id.is_number_integer()) list.push_back(id.get<int64_t>());
    const auto& own = c.tokens.tokenizer_eos;
    if (!own || std::find(list.begin(), list.end(), *own) != list.end()) return *stated;
  }
  if (c.tokens.tokenizer_eos) list.insert(list.begin(), *c.tokens.tokenizer_eos);
  return ids(list);
}

json one_id(const Configs& files, const char* key, const std::optional<int64_t>& of_tokenizer,
            int64_t otherwise) {
  if (const json* stated = files.find(key)) return *stated;
  return of_tokenizer.value_or(otherwise);
}

// Model types whose runtime code is that of a plain decoder; every other checkpoint that gets here
// is a phi3 block.
std::string runtime_type(const Checkpoint& c) {
  std::string name = c.architecture.substr(0, c.architecture.find("For"));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char ch) { return static_cast<char>(std::tolower(ch)); });
  for (const char* known : {"phi", "phi3", "phimoe", "phi3small"})
    if (name == known) return name;
  return "phi3";
}

void add_tags(const Checkpoint& c, json& model) {
  constexpr std::pair<const char*, std::string_view> kTags[] = {
      {"bot_token_id", "<tool_call>"},  {"bot_token_id", "<|tool_call|>"},
      {"eot_token_id", "</tool_call>"}, {"eot_token_id", "<|/tool_call|>"},
      {"bor_token_id", "<think>"},      {"eor_token_id", "</think>"},
  };
  for (const auto& [key, tag] : kTags)
    if (const auto it = c.tokens.tags.find(std::string(tag));
        it != c.tokens.tags.end() && !model.contains(key))
      model[key] = it->second;
}

json decoder_section(const Checkpoint& c, const TargetInfo& target) {
  const Decoder& d = c.decoder;
  json options = json::array();
  if (!target.provider_options.empty())
    options.push_back({{std::string(target.name), json::parse(target.provider_options)}});
  json inputs = {{"input_ids", "input_ids"}, {"attention_mask", "attention_mask"}};
  if (!target.rotary_in_attention) inputs["position_ids"] = "position_ids";
  inputs["past_key_names"] = "past_key_values.%d.key";
  inputs["past_value_names"] = "past_key_values.%d.value";
  json section = {
      {"session_options", {{"log_id", "onnxruntime-genai"}, {"provider_options", options}}},
      {"filename", "model.onnx"},
      {"head_size", d.head_size},
      {"hidden_size", d.hidden},
      {"inputs", inputs},
      {"outputs",
       {{"logits", "logits"},
        {"present_key_names", "present.%d.key"},
        {"present_value_names", "present.%d.value"}}},
      {"num_attention_heads", d.n_heads},
      {"num_hidden_layers", d.n_layers},
      {"num_key_value_heads", d.n_kv_heads},
  };
  // The window's size is stated; no layer slides, as the cache holds every position.
  if (d.sliding_window && target.names_sliding_window)
    section["sliding_window"] = {{"window_size", *d.sliding_window},
                                 {"slide_key_value_cache", false},
                                 {"slide_inputs", false},
                                 {"layers", json::array()},
                                 {"cache_slack", 0}};
  return section;
}

json search_section(const Checkpoint& c, const Configs& files, bool shares_buffer) {
  const auto value = [&](const char* key, json otherwise) {
    const json* stated = files.find(key);
    return stated ? *stated : otherwise;
  };
  const auto of_config = [&](const char* key, json otherwise) {
    const auto it = files.config.find(key);
    return it != files.config.end() && !it->is_null() ? *it : otherwise;
  };
  return {
      {"diversity_penalty", of_config("diversity_penalty", 0.0)},
      {"do_sample", value("do_sample", false)},
      {"early_stopping", true},
      {"length_penalty", of_config("length_penalty", 1.0)},
      {"max_length", c.decoder.context},
      {"min_length", 0},
      {"no_repeat_ngram_size", of_config("no_repeat_ngram_size", 0)},
      {"num_beams", of_config("num_beams", 1)},
      {"num_return_sequences", of_config("num_return_sequences", 1)},
      {"past_present_share_buffer", shares_buffer},
      {"repetition_penalty", of_config("repetition_penalty", 1.0)},
      {"temperature", value("temperature", 1.0)},
      {"top_k", value("top_k", 50)},
      {"top_p", value("top_p", 1.0)},
  };
}

}  // namespace

Result<std::string> genai_config(const Checkpoint& c, const TargetInfo& target,
                                 bool shares_buffer) {
  const Configs files{parse(c.config_json), parse(c.generation_config_json)};
  const json eos = eos_ids(c, files);
  const json first_eos = eos.is_array() && !eos.empty() ? eos[0] : eos;
  const int64_t pad = first_eos.is_number_integer() ? first_eos.get<int64_t>() : 0;
  json model = {
      {"bos_token_id", one_id(files, "bos_token_id", c.tokens.tokenizer_bos, 1)},
      {"context_length", c.decoder.context},
      {"decoder", decoder_section(c, target)},
      {"eos_token_id", eos},
      {"pad_token_id", one_id(files, "pad_token_id", c.tokens.tokenizer_pad, pad)},
      {"type", runtime_type(c)},
      {"vocab_size", c.decoder.vocab},
  };
  add_tags(c, model);
  return json{{"model", model}, {"search", search_section(c, files, shares_buffer)}}.dump(4);
}

}  // namespace phiquant::format
