// Spelling help: the known word closest to an unknown one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace phiquant {

// Number of insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`
// (optimal string alignment). O(a * b).
inline size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) above[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, substituted});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, above);
    std::swap(above, row);
  }
  return above[b.size()];
}

// The candidate closest to `word`, the first of equals; nullopt where all are further than a third
// of the longer word (at least one edit), because a far-fetched suggestion is worse than none.
// `candidates`: any range of things that convert to string_view.
template <class Range>
std::optional<std::string_view> nearest(std::string_view word, const Range& candidates) {
  std::optional<std::string_view> best;
  size_t best_distance = 0;
  for (const auto& candidate : candidates) {
    const std::string_view text(candidate);
    const size_t distance = edit_distance(word, text);
    const size_t limit = std::max<size_t>(1, std::max(word.size(), text.size()) / 3);
    if (distance > limit || (best && distance >= best_distance)) continue;
    best = text;
    best_distance = distance;
  }
  return best;
}

// " (did you mean 'x'?)", or "" where nothing is near: to append to a message.
template <class Range>
std::string did_you_mean(std::string_view word, const Range& candidates) {
  const auto best = nearest(word, candidates);
  return best ? std::string(" (did you mean '").append(*best).append("'?)") : std::string();
}

}  // namespace phiquant
