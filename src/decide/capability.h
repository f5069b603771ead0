// What one format on one provider can hold, and what it makes where nothing was asked for.
#pragma once

#include <functional>
#include <span>

#include "decide/choice.h"
#include "decide/slot.h"
#include "phiquant/error.h"

namespace phiquant {

struct Capability {
  // What the recipe and the format's own habits make of a slot that nothing else decides
  // (mix_*.cc). Asked once for each slot, in their order, those of tied embeddings last. `head`:
  // what became of the lm_head that a tied embedding is; null for all others.
  std::function<Result<Choice>(const Slot&, const Choice* head)> rule;
  // The choice in the form that the format and its runtime can hold, or a float with the reason.
  // Applies to every choice, whoever made it. Null: everything that `rule` says is held.
  std::function<Result<Choice>(const Slot&, Choice)> fit;
};

}  // namespace phiquant
