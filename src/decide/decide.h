// The one place where it is decided what each weight becomes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "decide/capability.h"
#include "decide/choice.h"
#include "decide/evidence.h"
#include "decide/slot.h"
#include "phiquant/error.h"
#include "phiquant/options.h"

namespace phiquant {

// Why a slot stays float whatever a rule would make of it; "" otherwise.
std::string reason_to_stay(const Slot& slot, const Recipe& recipe, const Evidence& evidence);

struct Decisions {
  std::vector<Choice> choices;        // one for each slot, in their order
  std::vector<std::string> warnings;  // globs of --exclude that match nothing
};

// What keeps a weight float, in this order: it cannot be anything else (Slot::must_stay), --exclude
// and --include, NaN or infinity; the rest is the format's rule, fitted to what the format holds.
// Errors: those of rule and fit · usage, where an --include glob matches nothing (with near names).
Result<Decisions> decide(std::span<const Slot> slots, const Recipe& recipe,
                         const Capability& capability, const Evidence& evidence);

}  // namespace phiquant
