// Errors a user can meet. Every message has the shape
//   where: what was found; what was expected; what to do.
// The class decides the exit code of the program; anything that is not a sage::Error is a bug (exit 1).
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace sage {

enum class ExitCode {
  kDone = 0,
  kInternalError = 1,
  kUsage = 2,               // bad command or configuration: nothing was started
  kMissingResource = 3,     // model, device, data or store absent or unreadable
  kFailedPoints = 4,        // a sweep finished, some of its points did not
  kOutsideTolerance = 5,    // a check was run and its result lies outside
  kStoppedEarly = 75,       // stopped on request; the same command resumes
  kInterrupted = 130,
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// The command line or an experiment file is wrong.
class UserError : public Error {
 public:
  explicit UserError(const std::string& message) : Error(ExitCode::kUsage, message) {}
  template <class... A>
  explicit UserError(fmt::format_string<A...> f, A&&... a) requires(sizeof...(A) > 0)
      : UserError(fmt::format(f, std::forward<A>(a)...)) {}
};

// A file, model, device or library is missing, corrupt or unreadable.
class ResourceError : public Error {
 public:
  explicit ResourceError(const std::string& message) : Error(ExitCode::kMissingResource, message) {}
  template <class... A>
  explicit ResourceError(fmt::format_string<A...> f, A&&... a) requires(sizeof...(A) > 0)
      : ResourceError(fmt::format(f, std::forward<A>(a)...)) {}
};

// A run failed on its data (NaN weights, a Gram that cannot be factored, ...). A sweep records it and goes on.
class RunError : public Error {
 public:
  explicit RunError(const std::string& message) : Error(ExitCode::kInternalError, message) {}
  template <class... A>
  explicit RunError(fmt::format_string<A...> f, A&&... a) requires(sizeof...(A) > 0)
      : RunError(fmt::format(f, std::forward<A>(a)...)) {}
};

// A comparison was made and lies outside its tolerance.
class ToleranceError : public Error {
 public:
  explicit ToleranceError(const std::string& message) : Error(ExitCode::kOutsideTolerance, message) {}
};

}  // namespace sage
