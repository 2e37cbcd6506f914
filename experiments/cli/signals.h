// What SIGINT, SIGTERM and SIGUSR1 (batch systems send it before the time is up) do to verbs whose work can be taken up again.
#pragma once

#include <signal.h>

#include <array>

namespace sage {

// While it lives the first signal leaves a wish to stop (core/util/stop.h) and says so on stderr; a second one, a moment later,
// ends the process at once with exit code 130. A signal that was ignored when the program started (nohup, a shell's
// background) stays ignored.
class StopOnSignals {
 public:
  StopOnSignals();
  ~StopOnSignals();
  StopOnSignals(const StopOnSignals&) = delete;
  StopOnSignals& operator=(const StopOnSignals&) = delete;

 private:
  static constexpr std::array<int, 3> kSignals{SIGINT, SIGTERM, SIGUSR1};
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace sage
