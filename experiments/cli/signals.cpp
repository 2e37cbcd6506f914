#include "experiments/cli/signals.h"

#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "core/util/errors.h"
#include "core/util/stop.h"

namespace sage {
namespace {

// timeout(1) and terminals may deliver one wish twice: to the process and to its group.
constexpr int64_t kSameWishNanoseconds = 300'000'000;
std::atomic<int64_t> g_first{0};
static_assert(std::atomic<int64_t>::is_always_lock_free, "a signal handler sets it");

constexpr char kStopping[] = "stopping behind the work at hand; once more to stop at once\n";

// Only what is async-signal-safe.
void on_signal(int) {
  const int error = errno;
  struct timespec now {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const int64_t at = int64_t{1'000'000'000} * now.tv_sec + now.tv_nsec + 1;  // never 0
  int64_t first = 0;
  if (g_first.compare_exchange_strong(first, at)) {
    request_stop();
    if (write(STDERR_FILENO, kStopping, sizeof kStopping - 1) < 0) errno = 0;  // nobody to tell
  } else if (at - first > kSameWishNanoseconds) {
    _exit(static_cast<int>(ExitCode::kInterrupted));
  }
  errno = error;
}

}  // namespace

StopOnSignals::StopOnSignals() {
  g_first = 0;
  forget_stop();
  struct sigaction ours {};
  ours.sa_handler = on_signal;
  ours.sa_flags = SA_RESTART;
  sigemptyset(&ours.sa_mask);
  for (size_t i = 0; i < kSignals.size(); ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &ours, nullptr);
  }
}

StopOnSignals::~StopOnSignals() {
  for (size_t i = 0; i < kSignals.size(); ++i)
    sigaction(kSignals[i], &before_[i], nullptr);
}

}  // namespace sage
