// JSON from files that may be damaged or hostile: no exceptions, caps on depth and size, duplicate
// keys refused.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "phiquant/error.h"

namespace phiquant {

struct JsonLimits {
  size_t max_depth = 64;          // containers inside each other
  size_t max_values = 2'000'000;  // scalars and containers
};

// What every handler of parser events shares: where it is, and the first error. Handlers for large
// files derive from it so that no tree of the file is built.
class JsonHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  // `where`: the file, for messages.
  JsonHandler(std::string_view where, JsonLimits limits) : where_(where), limits_(limits) {}

  // Feeds `text` to this handler. Errors: corrupt (not JSON; duplicate keys), unsupported (a cap
  // passed), or what the handler itself found.
  Result<void> run(std::string_view text);

  bool null() override { return scalar(nullptr); }
  bool boolean(bool value) override { return scalar(value); }
  bool number_integer(number_integer_t value) override { return scalar(value); }
  bool number_unsigned(number_unsigned_t value) override { return scalar(value); }
  bool number_float(number_float_t value, const string_t&) override { return scalar(value); }
  bool string(string_t& value) override { return scalar(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool key(string_t& name) override { return on_key(name); }
  bool start_object(size_t) override { return open(true); }
  bool start_array(size_t) override { return open(false); }
  bool end_object() override { return close(true); }
  bool end_array() override { return close(false); }
  bool parse_error(size_t position, const std::string& token,
                   const nlohmann::detail::exception& problem) override;

 protected:
  // A scalar; the enclosing containers' number is depth().
  virtual bool on_scalar(nlohmann::json value) = 0;
  virtual bool on_key(std::string& name) = 0;
  // Called with depth() already counting the container that opens, respectively still counting the
  // one that closes.
  virtual bool on_open(bool is_object) = 0;
  virtual bool on_close(bool is_object) = 0;

  size_t depth() const { return depth_; }
  // Stops with "<where>: <what>".
  bool fail(Errc code, const std::string& what);

 private:
  bool count();
  bool scalar(nlohmann::json value) { return count() && on_scalar(std::move(value)); }
  bool open(bool is_object);
  bool close(bool is_object);

  std::string where_;
  JsonLimits limits_;
  size_t depth_ = 0, n_values_ = 0;
  std::optional<Error> error_;
};

// The whole text as a tree. Errors: as run(); a key that occurs twice in one object is corrupt.
Result<nlohmann::json> parse_json(std::string_view where, std::string_view text,
                                  JsonLimits limits = {});

}  // namespace phiquant
