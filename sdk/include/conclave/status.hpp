// Errors that a user can cause travel as values: Status (ok or an Error) and Result<T> (a T or an Error).
//
// What this is: the one error type that crosses the plugin boundary. An Error says where, what and what to do, and its
// code decides the process's exit code. What this is not: a way to report bugs of the program itself; those are
// assertions or exceptions, and the host's guard turns what escapes a plugin into Code::internal with the plugin's id.
//
// Threading: values; safe to copy and move between threads.
#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace conclave {

/// Why something failed. The comment is the process's exit code when the error ends a run.
enum class Code {
  internal,         ///< 1: a bug, ours or a plugin's
  invalid_argument, ///< 2: the experiment or the command line is wrong
  unsupported,      ///< 3: the machine or the build does not fit
  training_failed,  ///< 4: non-finite gradients beyond the limit, divergence
  storage,          ///< 5: disk full, damaged or missing data
  stopped,          ///< 75: stopped on request, a checkpoint is written
  peer_lost,        ///< 76: another rank was lost
};

/// The exit code of design.md section 3 for an error code.
int exit_code(Code code) noexcept;

struct Error {
  Code code = Code::internal;
  std::string where; ///< `file:line:col`, a path, or a plugin id; may be empty
  std::string what;  ///< one sentence without a full stop: what is wrong
  std::string fix;   ///< what to do about it; may be empty

  /// `where: what: fix`, leaving out empty parts.
  [[nodiscard]] std::string render() const;
};

class [[nodiscard]] Status {
 public:
  Status() = default; // ok
  Status(Error error) : error_(std::make_shared<const Error>(std::move(error))) {}
  static Status ok_status() { return {}; }

  [[nodiscard]] bool ok() const noexcept { return error_ == nullptr; }
  explicit operator bool() const noexcept { return ok(); }
  /// Precondition: !ok().
  [[nodiscard]] const Error& error() const noexcept { return *error_; }

 private:
  std::shared_ptr<const Error> error_; // shared so that a Status is two words and cheap to copy
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}
  /// Precondition: !status.ok().
  Result(const Status& status) : held_(std::in_place_index<1>, status.error()) {}

  [[nodiscard]] bool ok() const noexcept { return held_.index() == 0; }
  explicit operator bool() const noexcept { return ok(); }
  [[nodiscard]] const Error& error() const { return std::get<1>(held_); }
  [[nodiscard]] Status status() const { return ok() ? Status{} : Status{error()}; }

  [[nodiscard]] T& value() & { return std::get<0>(held_); }
  [[nodiscard]] const T& value() const& { return std::get<0>(held_); }
  [[nodiscard]] T&& value() && { return std::get<0>(std::move(held_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<T, Error> held_;
};

/// Code::peer_lost as an exception, for collectives inside of code that returns tensors (a stage's forward pass, autograd's
/// backward): the host's guard turns it into an Error of that code.
class PeerLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  ~PeerLost() override;
};

/// Shorthands: `return invalid("lr is negative", "give a value in [0, 1]");`
Error invalid(std::string what, std::string fix = {}, std::string where = {});
Error unsupported(std::string what, std::string fix = {}, std::string where = {});
Error storage_error(std::string what, std::string fix = {}, std::string where = {});
Error internal_error(std::string what, std::string where = {});

} // namespace conclave

#define CONCLAVE_CONCAT_INNER(a, b) a##b
#define CONCLAVE_CONCAT(a, b) CONCLAVE_CONCAT_INNER(a, b)

/// Returns the error of a Status expression from the enclosing function, if it has one.
#define CONCLAVE_RETURN_IF_ERROR(expr)                                                                                \
  do {                                                                                                                \
    if (const ::conclave::Status& conclave_status_ = (expr); !conclave_status_.ok()) return conclave_status_.error(); \
  } while (false)

/// `CONCLAVE_ASSIGN(auto x, make_x());` declares x from a Result or returns its error.
#define CONCLAVE_ASSIGN(declaration, expr) \
  CONCLAVE_ASSIGN_INNER(CONCLAVE_CONCAT(conclave_result_, __LINE__), declaration, expr)
#define CONCLAVE_ASSIGN_INNER(tmp, declaration, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return tmp.error();                  \
  declaration = std::move(tmp).value()
