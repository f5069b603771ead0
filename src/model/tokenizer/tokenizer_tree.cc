#include "model/tokenizer/tokenizer_tree.h"

#include <unordered_set>

#include <fmt/core.h>

#include "core/text.h"
#include "model/checkpoint/json_reader.h"

namespace phiquant {
namespace {

// Byte-level BPE shows the byte 0x20 as U+0120.
constexpr std::string_view kShownSpace = "\xC4\xA0";

class TreeHandler final : public JsonHandler {
 public:
  explicit TreeHandler(std::string_view where)
      : JsonHandler(where, {.max_depth = 64, .max_values = 50'000'000}) {}
  TokenizerTree tree;

 protected:
  bool on_key(std::string& name) override {
    if (list_ == List::none && open_.back()->contains(name))
      return fail(Errc::corrupt, fmt::format("key '{}' occurs twice", printable(name)));
    key_ = std::move(name);
    return true;
  }
  bool on_open(bool is_object) override {
    if (list_ != List::none) return open_inside_list(is_object);
    if (depth() == 2) in_model_ = is_object && key_ == "model";
    if (depth() == 3 && in_model_ && key_ == "vocab") {
      if (!is_object)
        return fail(Errc::unsupported,
                    "the vocabulary has scores of its own (Unigram), which no Phi has");
      list_ = List::vocab;
      return true;
    }
    if (depth() == 3 && in_model_ && key_ == "merges") {
      if (is_object) return fail(Errc::corrupt, "model.merges is not a list");
      list_ = List::merges;
      return true;
    }
    open_.push_back(add(is_object ? nlohmann::json::object() : nlohmann::json::array()));
    return true;
  }
  bool on_close(bool) override {
    if (list_ == List::none) {
      open_.pop_back();
      if (depth() == 2) in_model_ = false;
      return true;
    }
    if (depth() == 4) return add_pair();
    list_ = List::none;
    return true;
  }
  bool on_scalar(nlohmann::json value) override {
    if (list_ == List::vocab) return add_token(value);
    if (list_ == List::merges) return add_merge(std::move(value));
    return add(std::move(value)) != nullptr;
  }

 private:
  enum class List : uint8_t { none, vocab, merges };

  bool open_inside_list(bool is_object) {
    if (list_ == List::vocab || is_object || depth() > 4)
      return fail(Errc::corrupt, list_ == List::vocab
                                     ? "model.vocab holds something other than ids"
                                     : "model.merges holds something other than pairs and texts");
    pair_.clear();
    return true;
  }
  bool add_token(const nlohmann::json& id) {
    if (!id.is_number_unsigned())
      return fail(Errc::corrupt,
                  fmt::format("token '{}': its id is not a whole number from 0", printable(key_)));
    if (!seen_.insert(key_).second)
      return fail(Errc::corrupt, fmt::format("key '{}' occurs twice", printable(key_)));
    tree.vocab.emplace_back(std::move(key_), id.get<uint64_t>());
    return true;
  }
  bool add_merge(nlohmann::json value) {
    if (!value.is_string()) return fail(Errc::corrupt, "a part of model.merges is not a text");
    if (depth() == 4) {
      pair_.push_back(std::move(value.get_ref<std::string&>()));
      return true;
    }
    auto& text = value.get_ref<std::string&>();
    const size_t space = text.find(' ');
    if (space == std::string::npos || space == 0 || space + 1 == text.size() ||
        text.find(' ', space + 1) != std::string::npos)
      return fail(Errc::corrupt,
                  fmt::format("merge '{}' is not two parts with a space between", printable(text)));
    tree.merges.push_back(std::move(text));
    return true;
  }
  bool add_pair() {
    if (pair_.size() != 2 || pair_[0].empty() || pair_[1].empty())
      return fail(Errc::corrupt, "a merge does not have two parts");
    std::string text;
    for (const std::string& part : pair_) {
      if (!text.empty()) text += ' ';
      for (const char c : part)
        if (c == ' ')
          text += kShownSpace;
        else
          text += c;
    }
    tree.merges.push_back(std::move(text));
    return true;
  }
  nlohmann::json* add(nlohmann::json value) {
    if (open_.empty()) return &(tree.rest = std::move(value));
    nlohmann::json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  std::vector<nlohmann::json*> open_;  // stable: a container grows only while no child is open
  std::string key_;
  std::vector<std::string> pair_;
  std::unordered_set<std::string> seen_;
  List list_ = List::none;
  bool in_model_ = false;
};

}  // namespace

Result<TokenizerTree> read_tokenizer_tree(std::string_view where, std::string_view text) {
  TreeHandler handler(where);
  PHIQUANT_TRY(handler.run(text));
  if (!handler.tree.rest.is_object())
    return Error{Errc::corrupt, fmt::format("{}: not a JSON object", where)};
  return std::move(handler.tree);
}

}  // namespace phiquant
