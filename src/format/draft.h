// What a format would store of a model, before anything is decided.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "decide/capability.h"
#include "decide/choice.h"
#include "decide/evidence.h"
#include "decide/slot.h"
#include "format/plan.h"
#include "phiquant/error.h"
#include "phiquant/options.h"

namespace phiquant {

// The three steps of a conversion: the format drafts, decide() chooses for each slot, the format
// writes. Model and request outlive the draft, which refers to them.
struct Draft {
  std::vector<Slot> slots;
  Capability capability;
  // The plan of the final form; `choices` has one for each slot. Called once.
  std::function<Result<Plan>(const std::vector<Choice>& choices)> write;
};

// All three steps, of a format's draft. Errors: of the draft, decide() and the writer.
Result<Plan> plan_draft(Result<Draft> draft, const Request& request, const Evidence& evidence);

// The row of the report about a slot: what it was and what was chosen. Where the bytes go, and how
// many, is the format's to add.
PlanRow plan_row(const Slot& slot, const Choice& choice);

// Error unsupported of an integer precision that leaves every weight as it is: with the first rows'
// reasons.
Error nothing_to_quantize(const std::filesystem::path& model, const std::vector<PlanRow>& rows);

}  // namespace phiquant
