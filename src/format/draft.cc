#include "format/draft.h"

#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

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

Error nothing_to_quantize(const std::filesystem::path& model, const std::vector<PlanRow>& rows) {
  constexpr size_t kShown = 8;
  std::vector<std::string> reasons;
  for (const PlanRow& row : rows) {
    if (reasons.size() == kShown) break;
    reasons.push_back(fmt::format("'{}': {}", row.tensor, row.reason));
  }
  if (rows.size() > kShown) reasons.push_back(fmt::format("and {} more", rows.size() - kShown));
  if (reasons.empty())
    reasons.emplace_back("no MatMul, Gemm, Gather or Conv has a constant float weight");
  return {Errc::unsupported,
          fmt::format(
              "{}: nothing to quantize: {} (try --precision fp16, or --precision int8 for Conv)",
              model.string(), fmt::join(reasons, "; "))};
}

}  // namespace phiquant
