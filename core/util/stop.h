// A wish to stop, which a signal leaves and long work grants where it can be taken up again.
//
//   for (const Matrix& m : matrices) {
//     stop_here("quantize", "what is finished is kept");
//     work_on(m);
//   }
#pragma once

#include <string>

#include "core/util/errors.h"

namespace sage {

// Safe in a signal handler and from any thread.
void request_stop() noexcept;
bool stop_requested() noexcept;
void forget_stop() noexcept;  // whoever catches signals begins with none

// Work was left on request; the command that was typed goes on with it.
class Stopped : public Error {
 public:
  explicit Stopped(const std::string& message) : Error(ExitCode::kStoppedEarly, message) {}
};
// Throws Stopped if it is wished: "WHERE: stopped as asked; KEPT".
void stop_here(const std::string& where, const std::string& kept);

}  // namespace sage
