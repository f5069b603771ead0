// Errors as values: Result<T> carries a value or an Error. Libraries never print, throw or exit on
// bad input.
#pragma once

#include <cassert>
#include <string>
#include <utility>
#include <variant>

namespace phiquant {

// One exit code each; see exit_code().
enum class Errc {
  io,           // a file could not be opened, read, written; no space left
  usage,        // the request itself is wrong: unknown option, illegal combination
  corrupt,      // the input breaks its own format
  unsupported,  // well-formed, but nothing here can handle it
  verify,       // a check that the user asked for failed (--strict, --fail-below-sqnr)
  cancelled,    // SIGINT, SIGTERM
};

// The process exit code of an error: io 1, usage 2, corrupt 3, unsupported 4, verify 5, cancelled
// 130.
constexpr int exit_code(Errc code) {
  switch (code) {
    case Errc::io:
      return 1;
    case Errc::usage:
      return 2;
    case Errc::corrupt:
      return 3;
    case Errc::unsupported:
      return 4;
    case Errc::verify:
      return 5;
    case Errc::cancelled:
      return 130;
  }
  return 1;
}

// `message` says where, what, what was found, what was wanted and what to try, in one line without
// a full stop, an "Error:" or a function name.
struct Error {
  Errc code = Errc::io;
  std::string message;
};

// A value or an Error. The member names are those of std::expected, so that C++23 can replace it.
template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& value() & {
    assert(has_value());
    return std::get<0>(state_);
  }
  const T& value() const& {
    assert(has_value());
    return std::get<0>(state_);
  }
  T&& value() && {
    assert(has_value());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& {
    assert(!has_value());
    return std::get<1>(state_);
  }
  Error&& error() && {
    assert(!has_value());
    return std::get<1>(std::move(state_));
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit

  bool has_value() const { return ok_; }
  explicit operator bool() const { return ok_; }
  const Error& error() const& {
    assert(!ok_);
    return error_;
  }
  Error&& error() && {
    assert(!ok_);
    return std::move(error_);
  }

 private:
  Error error_;
  bool ok_ = true;
};

// Returns the error of `expr` from the enclosing function; for Result<void> and for Result<T>.
#define PHIQUANT_CONCAT_(a, b) a##b
#define PHIQUANT_CONCAT(a, b) PHIQUANT_CONCAT_(a, b)
#define PHIQUANT_TRY(expr)                                                           \
  do {                                                                               \
    if (auto phiquant_r = (expr); !phiquant_r) return std::move(phiquant_r).error(); \
  } while (false)
// `PHIQUANT_ASSIGN(auto x, f())`: declares or assigns x from the value of a Result<T>.
#define PHIQUANT_ASSIGN(decl, expr)                                   \
  auto PHIQUANT_CONCAT(phiquant_r_, __LINE__) = (expr);               \
  if (!PHIQUANT_CONCAT(phiquant_r_, __LINE__))                        \
    return std::move(PHIQUANT_CONCAT(phiquant_r_, __LINE__)).error(); \
  decl = std::move(PHIQUANT_CONCAT(phiquant_r_, __LINE__)).value()

}  // namespace phiquant
