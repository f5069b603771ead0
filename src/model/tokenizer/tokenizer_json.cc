#include "model/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/core.h>

#include "core/text.h"
#include "model/checkpoint/json_reader.h"

namespace phiquant {
namespace {

constexpr size_t kMaxAdded = 1'000'000;

// Follows the path of keys; lists have an empty key.
class TokenizerHandler final : public JsonHandler {
 public:
  TokenizerHandler(std::string_view where, const std::vector<std::string>& wanted)
      : JsonHandler(where, {.max_depth = 64, .max_values = 50'000'000}), wanted_(wanted) {}
  TokenizerSummary summary;

 protected:
  bool on_key(std::string& name) override {
    path_.back() = std::move(name);
    return true;
  }
  bool on_open(bool is_object) override {
    if (is_object && in_added() && depth() == 3) {
      content_.reset();
      id_.reset();
    }
    path_.emplace_back();
    return true;
  }
  bool on_close(bool is_object) override {
    path_.pop_back();
    if (is_object && depth() == 3 && in_added()) return add_token();
    // Unigram: the position is the id.
    if (!is_object && depth() == 4 && in_vocab())
      return take(std::exchange(piece_, {}), n_pieces_++);
    return true;
  }
  bool on_scalar(nlohmann::json value) override {
    if (depth() == 3 && in_vocab() && !path_.back().empty()) {
      if (!value.is_number_unsigned()) return bad_id(path_.back());
      return take(path_.back(), value.get<uint64_t>());
    }
    if (depth() == 4 && in_vocab() && value.is_string()) piece_ = value.get<std::string>();
    if (depth() == 3 && in_added()) {
      if (path_.back() == "content" && value.is_string()) content_ = value.get<std::string>();
      if (path_.back() == "id") {
        if (!value.is_number_unsigned()) return bad_id("added_tokens");
        id_ = value.get<uint64_t>();
      }
    }
    return true;
  }

 private:
  bool in_vocab() const { return path_.size() >= 2 && path_[0] == "model" && path_[1] == "vocab"; }
  bool in_added() const { return !path_.empty() && path_[0] == "added_tokens"; }
  bool bad_id(std::string_view token) {
    return fail(Errc::corrupt,
                fmt::format("token '{}': its id is not a whole number from 0", printable(token)));
  }
  bool take(std::string token, uint64_t id) {
    ++summary.n_tokens;
    if (id >= summary.max_id) {
      summary.max_id = id;
      summary.max_token = token;
    }
    if (std::find(wanted_.begin(), wanted_.end(), token) != wanted_.end())
      summary.wanted[std::move(token)] = id;
    return true;
  }
  bool add_token() {
    if (!content_ || !id_)
      return fail(Errc::corrupt, "an entry of added_tokens has no content or no id");
    if (summary.added.size() == kMaxAdded)
      return fail(Errc::unsupported, fmt::format("more than {} added tokens", kMaxAdded));
    summary.added[*content_] = *id_;
    return take(*content_, *id_);
  }

  const std::vector<std::string>& wanted_;
  std::vector<std::string> path_;
  std::optional<std::string> content_;
  std::optional<uint64_t> id_;
  std::string piece_;
  uint64_t n_pieces_ = 0;
};

}  // namespace

Result<TokenizerSummary> summarize_tokenizer(std::string_view where, std::string_view text,
                                             const std::vector<std::string>& wanted) {
  TokenizerHandler handler(where, wanted);
  PHIQUANT_TRY(handler.run(text));
  return std::move(handler.summary);
}

}  // namespace phiquant
