#include "model/checkpoint/json_reader.h"

#include <utility>
#include <vector>

#include <fmt/core.h>

#include "core/text.h"

namespace phiquant {
namespace {

// The parser's "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without its
// own labels.
std::string_view without_label(std::string_view text) {
  if (text.starts_with('['))
    if (const size_t end = text.find("] "); end != std::string_view::npos)
      text.remove_prefix(end + 2);
  constexpr std::string_view kLead = "parse error at ";
  if (text.starts_with(kLead)) text.remove_prefix(kLead.size());
  return text;
}

class TreeBuilder final : public JsonHandler {
 public:
  using JsonHandler::JsonHandler;
  nlohmann::json root;

 protected:
  bool on_scalar(nlohmann::json value) override { return add(std::move(value)) != nullptr; }
  bool on_key(std::string& name) override {
    if (open_.back()->contains(name))
      return fail(Errc::corrupt, fmt::format("key '{}' occurs twice", printable(name)));
    key_ = std::move(name);
    return true;
  }
  bool on_open(bool is_object) override {
    open_.push_back(add(is_object ? nlohmann::json::object() : nlohmann::json::array()));
    return true;
  }
  bool on_close(bool) override {
    open_.pop_back();
    return true;
  }

 private:
  nlohmann::json* add(nlohmann::json value) {
    if (open_.empty()) {
      root = std::move(value);
      return &root;
    }
    nlohmann::json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  std::vector<nlohmann::json*>
      open_;  // stable: a container grows only while none of its children is open
  std::string key_;
};

}  // namespace

Result<void> JsonHandler::run(std::string_view text) {
  const bool done = nlohmann::json::sax_parse(text.begin(), text.end(), this);
  if (error_) return std::move(*error_);
  if (!done) return Error{Errc::corrupt, fmt::format("{}: not valid JSON", where_)};
  return {};
}

bool JsonHandler::parse_error(size_t position, const std::string&,
                              const nlohmann::detail::exception& problem) {
  return fail(Errc::corrupt, fmt::format("not valid JSON at byte {}: {}", position,
                                         printable(without_label(problem.what()))));
}

bool JsonHandler::fail(Errc code, const std::string& what) {
  if (!error_) error_ = Error{code, fmt::format("{}: {}", where_, what)};
  return false;
}

bool JsonHandler::count() {
  if (++n_values_ <= limits_.max_values) return true;
  return fail(Errc::unsupported, fmt::format("more than {} values", limits_.max_values));
}

bool JsonHandler::open(bool is_object) {
  if (!count()) return false;
  if (++depth_ > limits_.max_depth)
    return fail(Errc::unsupported, fmt::format("nested deeper than {} levels", limits_.max_depth));
  return on_open(is_object);
}

bool JsonHandler::close(bool is_object) {
  const bool go_on = on_close(is_object);
  --depth_;
  return go_on;
}

Result<nlohmann::json> parse_json(std::string_view where, std::string_view text,
                                  JsonLimits limits) {
  TreeBuilder builder(where, limits);
  PHIQUANT_TRY(builder.run(text));
  return std::move(builder.root);
}

}  // namespace phiquant
