#include "decide/decide.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "core/glob.h"
#include "core/nearest.h"

namespace phiquant {

std::string reason_to_stay(const Slot& slot, const Recipe& recipe, const Evidence& evidence) {
  if (!slot.must_stay.empty()) return slot.must_stay;
  if (matches_any(recipe.exclude, slot)) return "excluded";
  if (!recipe.include.empty() && !matches_any(recipe.include, slot)) return "not included";
  return evidence.non_finite.contains(slot.tensor) ? "holds NaN or infinity" : "";
}

namespace {

Result<Choice> choose(const Slot& slot, const Recipe& recipe, const Capability& capability,
                      const Evidence& evidence, const Choice* head) {
  if (slot.kind == SlotKind::vector) return capability.rule(slot, head);
  if (std::string reason = reason_to_stay(slot, recipe, evidence); !reason.empty())
    return stay_float(std::move(reason), true);
  PHIQUANT_ASSIGN(Choice choice, capability.rule(slot, head));
  if (!capability.fit || choice.shares_head) return choice;
  return capability.fit(slot, std::move(choice));
}

// A glob that matches nothing is a mistake: of --include an error, of --exclude a warning.
Result<void> check_globs(std::span<const Slot> slots, const Recipe& recipe,
                         std::vector<std::string>& warnings) {
  // A format that drafts no slots matches globs by itself.
  if (slots.empty() || (recipe.include.empty() && recipe.exclude.empty())) return {};
  std::set<std::string> names;
  for (const Slot& slot : slots) {
    if (slot.kind == SlotKind::vector) continue;
    names.insert(slot.tensor);
    names.insert(slot.names.begin(), slot.names.end());
  }
  names.erase("");
  const auto matches = [&](const std::string& glob) {
    return std::any_of(names.begin(), names.end(),
                       [&](const std::string& name) { return glob_match(glob, name); });
  };
  for (const std::string& glob : recipe.include)
    if (!matches(glob)) {
      const std::string hint = did_you_mean(glob, names);
      return Error{Errc::usage,
                   fmt::format("--include '{}' matches no node and no weight{}", glob,
                               hint.empty() ? " (phiquant inspect lists the names)" : hint)};
    }
  for (const std::string& glob : recipe.exclude)
    if (!matches(glob))
      warnings.push_back(fmt::format("--exclude '{}' matches no node and no weight{}", glob,
                                     did_you_mean(glob, names)));
  return {};
}

}  // namespace

Result<Decisions> decide(std::span<const Slot> slots, const Recipe& recipe,
                         const Capability& capability, const Evidence& evidence) {
  Decisions out;
  PHIQUANT_TRY(check_globs(slots, recipe, out.warnings));
  std::vector<Choice>& choices = out.choices;
  choices.resize(slots.size());
  const Choice* head = nullptr;
  for (size_t i = 0; i < slots.size(); ++i) {
    if (slots[i].is_tied) continue;
    PHIQUANT_ASSIGN(choices[i], choose(slots[i], recipe, capability, evidence, nullptr));
    if (slots[i].is(Role::lm_head)) head = &choices[i];
  }
  // An embedding that is the lm_head too may share what that has become.
  for (size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i].is_tied) continue;
    PHIQUANT_ASSIGN(choices[i], capability.rule(slots[i], head));
    if (choices[i].shares_head) continue;
    PHIQUANT_ASSIGN(choices[i], choose(slots[i], recipe, capability, evidence, head));
  }
  return out;
}

}  // namespace phiquant
