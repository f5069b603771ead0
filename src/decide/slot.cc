#include "decide/slot.h"

#include <algorithm>

#include "core/glob.h"

namespace phiquant {

std::string_view report_role(const Slot& slot) {
  if (slot.key && slot.key->bias) return "other";
  switch (slot.kind) {
    case SlotKind::table:
      return "embedding";
    case SlotKind::conv:
      return "conv";
    case SlotKind::experts:
      return "experts";
    case SlotKind::linear:
      return slot.is(Role::lm_head) ? "lm_head" : slot.is(Role::router) ? "router" : "linear";
    case SlotKind::vector:
      return slot.is(Role::attn_norm) || slot.is(Role::mlp_norm) || slot.is(Role::final_norm)
                 ? "norm"
                 : "other";
    case SlotKind::other:
      break;
  }
  return "other";
}

bool matches_any(const std::vector<std::string>& globs, const Slot& slot) {
  return glob_match_any(globs, slot.tensor) ||
         std::any_of(slot.names.begin(), slot.names.end(),
                     [&](const std::string& name) { return glob_match_any(globs, name); });
}

}  // namespace phiquant
