// The first signal is a wish, the second an end; each case in a process of its own.
#include "experiments/cli/signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "core/util/stop.h"

namespace sage {
namespace {

// The status with which a process of this work ends; stderr is closed to it.
int status_of(const std::function<int()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    close(STDERR_FILENO);
    _exit(work());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}
int exit_code_of(const std::function<int()>& work) {
  const int status = status_of(work);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

class Signals : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(All, Signals, testing::Values(SIGINT, SIGTERM, SIGUSR1));

TEST_P(Signals, TheFirstIsAWish) {
  EXPECT_EQ(exit_code_of([] {
              const StopOnSignals guard;
              if (stop_requested()) return 1;
              raise(GetParam());
              return stop_requested() ? 42 : 2;
            }),
            42);
}

TEST_P(Signals, TheSecondEndsAtOnce) {
  EXPECT_EQ(exit_code_of([] {
              const StopOnSignals guard;
              raise(SIGTERM);
              usleep(400'000);
              raise(GetParam());
              return 0;
            }),
            130);
}

// timeout(1) signals its child and then the child's group.
TEST_P(Signals, OneWishMayComeTwice) {
  EXPECT_EQ(exit_code_of([] {
              const StopOnSignals guard;
              raise(GetParam());
              raise(GetParam());
              return stop_requested() ? 42 : 2;
            }),
            42);
}

TEST_P(Signals, IgnoredOnesStayIgnored) {
  EXPECT_EQ(exit_code_of([] {
              signal(GetParam(), SIG_IGN);
              const StopOnSignals guard;
              raise(GetParam());
              return stop_requested() ? 1 : 42;
            }),
            42);
}

TEST_P(Signals, OutsideTheyDoWhatTheyDid) {
  EXPECT_EQ(exit_code_of([] {
              { const StopOnSignals guard; }
              raise(GetParam());
              return 0;
            }),
            -GetParam());
}

}  // namespace
}  // namespace sage
