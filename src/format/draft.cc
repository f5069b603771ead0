#include "format/draft.h"

#include <utility>

#include "decide/decide.h"

namespace phiquant {

Result<Plan> plan_draft(Result<Draft> draft, const Request& request, const Evidence& evidence) {
  if (!draft) return std::move(draft).error();
  PHIQUANT_ASSIGN(const Decisions decisions,
                  decide(draft->slots, request.recipe, draft->capability, evidence));
  PHIQUANT_ASSIGN(Plan plan, draft->write(decisions.choices));
  plan.warnings.insert(plan.warnings.end(), decisions.warnings.begin(), decisions.warnings.end());
  return plan;
}

PlanRow plan_row(const Slot& slot, const Choice& choice) {
  PlanRow row;
  row.tensor = slot.tensor;
  row.node = slot.node;
  row.role = report_role(slot);
  row.from = slot.dtype;
  row.shape = slot.shape;
  row.action = action_of(choice);
  row.bits = choice.params.bits;
  row.block_size = choice.params.block_size;
  row.reason = choice.reason;
  row.bytes_before = slot.bytes;
  return row;
}

}  // namespace phiquant
