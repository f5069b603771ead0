#include <array>
#include <system_error>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "model/arch/arch.h"
#include "model/checkpoint.h"
#include "model/checkpoint/folder.h"
#include "model/checkpoint/fp8_weights.h"
#include "model/checkpoint/hf_config.h"
#include "model/checkpoint/json_reader.h"
#include "model/checkpoint/mlx_weights.h"
#include "model/checkpoint/weights.h"
#include "model/tokenizer/tokenizer_check.h"
#include "model/tokenizer/vocabulary.h"

namespace phiquant {
namespace fs = std::filesystem;
namespace {

constexpr const char* kConfig = "config.json";
constexpr const char* kGenerationConfig = "generation_config.json";
constexpr uint64_t kMaxConfigBytes = 4'000'000;

Result<nlohmann::json> parse_object(const std::string& where, const std::string& text) {
  PHIQUANT_ASSIGN(auto json, parse_json(where, text));
  if (!json.is_object()) return Error{Errc::corrupt, fmt::format("{}: not a JSON object", where)};
  return json;
}

Result<std::string> class_name(const ConfigView& config) {
  const auto* list = config.find("architectures");
  if (!list) return std::string();
  if (!list->is_array() || list->empty() || !list->front().is_string())
    return config.wrong("architectures", "a list of texts");
  return list->front().get<std::string>();
}

Result<const Architecture*> choose_architecture(const ConfigView& config,
                                                const CheckpointOptions& options, Checkpoint& out) {
  PHIQUANT_ASSIGN(const std::string name, class_name(config));
  PHIQUANT_ASSIGN(const auto type, config.optional_text("model_type"));
  out.model_type = type.value_or("");
  PHIQUANT_ASSIGN(const Architecture* arch, find_architecture(config, name, out.model_type));
  out.architecture = arch->class_name;
  if (arch->multimodal && !options.text_only)
    return config.error(Errc::unsupported,
                        fmt::format("{} takes images or sound besides text, and only the text part "
                                    "can be converted (--text-only does that)",
                                    arch->class_name));
  if (!arch->multimodal && options.merge_lora != MergeLora::none)
    return Error{Errc::usage,
                 fmt::format("--merge-lora: {} has no adapters of its own", arch->class_name)};
  return arch;
}

Result<void> refuse_quantized(const ConfigView& config) {
  PHIQUANT_ASSIGN(const auto section, config.section("quantization_config"));
  if (!section) return {};
  PHIQUANT_ASSIGN(const bool is_fp8, describes_fp8(*section));
  if (is_fp8) return {};
  PHIQUANT_ASSIGN(const auto method, section->optional_text("quant_method"));
  return config.error(
      Errc::unsupported,
      fmt::format(
          "the weights are already quantized ('{}'): take the checkpoint that they were made from",
          printable(method.value_or("unknown method"))));
}

}  // namespace

std::string_view role_name(Role role) {
  constexpr std::array<std::string_view, 19> kNames = {
      "embed",     "attn_norm",   "attn_qkv",   "attn_q",  "attn_k",   "attn_v", "attn_out",
      "mlp_norm",  "mlp_gate_up", "mlp_gate",   "mlp_up",  "mlp_down", "router", "expert_gate",
      "expert_up", "expert_down", "final_norm", "lm_head", "ignored"};
  static_assert(kNames.size() == static_cast<size_t>(Role::ignored) + 1);
  return kNames[static_cast<size_t>(role)];
}

bool looks_like_checkpoint(const fs::path& folder) {
  std::error_code status;
  if (!fs::is_directory(folder, status)) return false;
  const CheckpointFolder files(folder, false);
  if (!files.has(kConfig)) return false;
  const auto names = files.list();
  if (!names) return false;
  for (const std::string& name : *names)
    if (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json") ||
        is_pickle_name(name))
      return true;
  return false;
}

Result<Checkpoint> open_checkpoint(const fs::path& path, const CheckpointOptions& options) {
  std::error_code status;
  if (!fs::is_directory(path, status))
    return Error{
        Errc::io,
        fmt::format("{}: {}", path.string(),
                    status
                        ? status.message()
                        : "not a folder (wanted the checkpoint's folder, with its config.json)")};
  CheckpointFolder folder(path, options.follow_symlinks);
  if (!folder.has(kConfig))
    return Error{Errc::io, fmt::format("{}: no config.json (is this the checkpoint's folder?)",
                                       path.string())};
  Checkpoint out;
  out.folder = path;
  PHIQUANT_ASSIGN(out.config_json, folder.read_text(kConfig, kMaxConfigBytes));
  PHIQUANT_ASSIGN(const nlohmann::json config_json,
                  parse_object(folder.where(kConfig), out.config_json));
  const ConfigView config(config_json, folder.where(kConfig));
  PHIQUANT_ASSIGN(const Architecture* arch, choose_architecture(config, options, out));
  PHIQUANT_ASSIGN(const auto mlx, mlx_quantization(config));
  if (!mlx) PHIQUANT_TRY(refuse_quantized(config));
  PHIQUANT_ASSIGN(out.decoder, arch->decoder(config));
  PHIQUANT_ASSIGN(auto found, find_tensors(folder, out.warnings));
  if (mlx) {
    PHIQUANT_TRY(join_mlx_tensors(*arch, out.decoder, *mlx, found));
  } else {
    PHIQUANT_ASSIGN(out.left_out, join_fp8_tensors(config, found));
  }
  if (mlx) out.quantized_by = "MLX";
  for (FoundTensor& tensor : found) out.places.emplace(tensor.entry.name, std::move(tensor.place));
  PHIQUANT_TRY(assign_weights(*arch, config, found, options.merge_lora,
                              config.has("tie_word_embeddings"), out));
  PHIQUANT_TRY(settle_tied_embeddings(out));
  nlohmann::json generation_json;
  std::optional<ConfigView> generation;
  if (folder.has(kGenerationConfig)) {
    PHIQUANT_ASSIGN(out.generation_config_json,
                    folder.read_text(kGenerationConfig, kMaxConfigBytes));
    PHIQUANT_ASSIGN(generation_json,
                    parse_object(folder.where(kGenerationConfig), out.generation_config_json));
    generation.emplace(generation_json, folder.where(kGenerationConfig));
  }
  PHIQUANT_TRY(read_tokenizer(folder, config, generation ? &*generation : nullptr, out));
  out.vocabulary_reader = read_vocabulary;
  out.card = read_model_card(path, options.follow_symlinks);
  out.files = folder.files();
  out.input_bytes = folder.input_bytes();
  return out;
}

}  // namespace phiquant
