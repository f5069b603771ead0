#include "pipeline/weight_pairs.h"

#include <map>
#include <set>
#include <type_traits>

#include <fmt/format.h>

namespace phiquant {
namespace {

struct Piece {
  WeightPart part;
  std::optional<WeightKey> key;
  size_t order = 0;  // of the whole weight in its model
};

// The weights of one model that are still without a partner.
using Pieces = std::vector<Piece>;
using ByKey = std::map<WeightKey, const Piece*>;

Pieces pieces_of(const ModelWeights& model) {
  Pieces out;
  for (size_t i = 0; i < model.weights.size(); ++i) {
    const NamedWeight& w = model.weights[i];
    if (w.key && w.key->role == Role::ignored) continue;
    out.push_back({{&w, 0, w.source.n}, w.key, i});
  }
  return out;
}

ByKey by_key(const Pieces& pieces) {
  ByKey out;
  for (const Piece& piece : pieces)
    if (piece.key) out.emplace(*piece.key, &piece);
  return out;
}

struct Fusion {
  Role whole;
  std::vector<Role> parts;  // in the order of the rows
};
const Fusion kFusions[] = {
    {Role::attn_qkv, {Role::attn_q, Role::attn_k, Role::attn_v}},
    {Role::mlp_gate_up, {Role::mlp_gate, Role::mlp_up}},
};

// Cuts the fused weights of `pieces` where the other model has the parts, and not the whole.
void cut_fused(Pieces& pieces, const Pieces& others) {
  const ByKey other = by_key(others);
  Pieces out;
  for (const Piece& piece : pieces) {
    Pieces cut;
    for (const Fusion& fusion : kFusions) {
      if (!piece.key || piece.key->role != fusion.whole || other.contains(*piece.key)) continue;
      uint64_t n0 = 0;
      for (const Role role : fusion.parts) {
        WeightKey key = *piece.key;
        key.role = role;
        const auto at = other.find(key);
        if (at == other.end()) break;
        const uint64_t n = at->second->part.n;
        cut.push_back({{piece.part.weight, n0, n}, key, piece.order});
        n0 += n;
      }
      if (cut.size() != fusion.parts.size() || n0 != piece.part.n) cut.clear();
    }
    if (cut.empty()) cut.push_back(piece);
    out.insert(out.end(), cut.begin(), cut.end());
  }
  pieces = std::move(out);
}

// Where `pieces` have one of embedding table and lm_head, and the others the other one or both:
// lets the one serve for what the others have.
void share_table(Pieces& pieces, const Pieces& others) {
  const ByKey own = by_key(pieces), other = by_key(others);
  const WeightKey embed{Role::embed}, head{Role::lm_head};
  const bool has_embed = own.contains(embed);
  if (has_embed == own.contains(head)) return;
  const WeightKey& here = has_embed ? embed : head;
  const WeightKey& there = has_embed ? head : embed;
  if (!other.contains(there)) return;
  Piece shared = *own.at(here);
  shared.key = there;
  if (!other.contains(here)) std::erase_if(pieces, [&](const Piece& p) { return p.key == here; });
  pieces.push_back(shared);
}

class Pairing {
 public:
  Pairing(const ModelWeights& a, const ModelWeights& b)
      : model_a_(a), model_b_(b), a_(pieces_of(a)), b_(pieces_of(b)) {}

  Result<WeightPairs> run() {
    // One table is not two: a model that says so keeps both apart.
    if (model_a_.tied_embeddings.value_or(true) && model_b_.tied_embeddings.value_or(true)) {
      share_table(a_, b_);
      share_table(b_, a_);
    }
    cut_fused(a_, b_);
    cut_fused(b_, a_);
    PHIQUANT_TRY(pair_by([](const Piece& p) { return p.key; }));
    PHIQUANT_TRY(pair_by([](const Piece& p) { return std::optional(p.part.weight->source.name); }));
    return finish();
  }

 private:
  // Takes pieces of equal label out of both lists.
  template <class Label>
  Result<void> pair_by(Label label) {
    std::map<typename std::invoke_result_t<Label, const Piece&>::value_type, size_t> there;
    for (size_t i = 0; i < b_.size(); ++i)
      if (const auto l = label(b_[i])) there.emplace(*l, i);
    std::set<size_t> used;
    Pieces rest_a, rest_b;
    for (const Piece& a : a_) {
      const auto l = label(a);
      const auto at = l ? there.find(*l) : there.end();
      if (at == there.end() || !used.insert(at->second).second) {
        rest_a.push_back(a);
        continue;
      }
      const Piece& b = b_[at->second];
      PHIQUANT_TRY(check(a.part, b.part));
      found_.emplace(std::pair(a.order, a.part.n0), WeightPair{a.part, b.part});
    }
    for (size_t i = 0; i < b_.size(); ++i)
      if (!used.contains(i)) rest_b.push_back(b_[i]);
    a_ = std::move(rest_a);
    b_ = std::move(rest_b);
    return {};
  }

  Result<void> check(const WeightPart& a, const WeightPart& b) const {
    if (a.n == b.n && a.weight->source.k == b.weight->source.k) return {};
    return Error{Errc::verify,
                 fmt::format("tensor '{}': [{}, {}] in {}, [{}, {}] in {} (not the same model)",
                             part_name(a), a.weight->source.k, a.n, model_a_.path.string(),
                             b.weight->source.k, b.n, model_b_.path.string())};
  }

  Result<WeightPairs> finish() {
    WeightPairs out;
    for (const auto& [order, pair] : found_) out.pairs.push_back(pair);
    for (const Piece& a : a_) out.only_a.push_back(part_name(a.part));
    for (const Piece& b : b_) out.only_b.push_back(part_name(b.part));
    if (out.pairs.empty())
      return Error{Errc::verify, fmt::format("{} and {} have no weight name in common",
                                             model_a_.path.string(), model_b_.path.string())};
    return out;
  }

  const ModelWeights &model_a_, &model_b_;
  Pieces a_, b_;
  std::multimap<std::pair<size_t, uint64_t>, WeightPair> found_;
};

}  // namespace

std::string part_name(const WeightPart& part) {
  const std::string& name = part.weight->source.name;
  return part.is_whole() ? name : fmt::format("{}[{}:{}]", name, part.n0, part.n0 + part.n);
}

Result<WeightPairs> pair_weights(const ModelWeights& a, const ModelWeights& b) {
  return Pairing(a, b).run();
}

}  // namespace phiquant
