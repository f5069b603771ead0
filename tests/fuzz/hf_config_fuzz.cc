// Any text as config.json and as tokenizer.json: refused, or a decoder whose numbers make sense.
#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "fuzz/require.h"
#include "model/arch/arch.h"
#include "model/checkpoint/hf_config.h"
#include "model/checkpoint/json_reader.h"
#include "model/tokenizer/tokenizer_json.h"

namespace phiquant {
namespace {

void check(const Decoder& d, const Architecture& arch) {
  require(d.n_layers && d.hidden && d.n_heads && d.n_kv_heads && d.head_size && d.ffn && d.vocab &&
              d.context,
          "sizes are set");
  require(d.n_heads % d.n_kv_heads == 0, "query heads share key heads evenly");
  require(d.norm_eps >= 0, "epsilon is a number");
  const Rope& rope = d.rope;
  require(rope.dims >= 2 && rope.dims % 2 == 0 && rope.dims <= d.head_size,
          "rotated dimensions are even");
  require(rope.short_branch.factors.size() == rope.dims / 2, "one factor for each pair");
  require(!rope.long_branch || rope.long_branch->factors.size() == rope.dims / 2,
          "one long factor for each pair");
  require(rope.long_branch.has_value() == (rope.original_context > 0),
          "long factors come with their context");
  for (const float scale : {d.embedding_scale, d.logit_scale, d.attention_scale.value_or(1),
                            d.activation_limit.value_or(1)})
    require(std::isfinite(scale) && scale > 0, "scales are numbers above 0");
  require(std::all_of(d.unused_tokens.begin(), d.unused_tokens.end(),
                      [&](uint32_t id) { return id < d.vocab; }),
          "unused tokens are tokens");
  require(!d.block_sparse || (d.block_sparse->block_size && d.block_sparse->local_blocks &&
                              d.block_sparse->vertical_stride),
          "blocks have sizes");
  for (const auto& rules : {arch.tensors, arch.alternatives})
    for (const TensorRule& rule : rules)
      for (const Dim dim : rule.dims.d)
        require(dim == Dim::none || dim == Dim::rank || dim_size(dim, d) > 0,
                "every shape is known");
}

}  // namespace
}  // namespace phiquant

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phiquant;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)summarize_tokenizer("t", text, {"<s>"});
  const auto json = parse_json("c", text);
  if (!json || !json->is_object()) return 0;
  const ConfigView config(*json, "c");
  for (const Architecture& arch : architectures()) {
    if (!arch.decoder) continue;
    const auto decoder = arch.decoder(config);
    if (decoder)
      check(*decoder, arch);
    else
      require(!decoder.error().message.empty(), "errors say something");
  }
  return 0;
}
