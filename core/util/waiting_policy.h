// How OpenMP's threads wait: asleep, not spinning.
//
// GNU's runtime lets a thread that waits at the end of a parallel region spin for some milliseconds. Where other programs want
// the processors, the thread that spins takes them from the one it waits for. The runtime reads OMP_WAIT_POLICY and
// GOMP_SPINCOUNT once, when it is loaded, before main and before any constructor of this program; so they are set earlier still
// (see the source), in every program that links waiting_policy(), unless the user has set one of them.
#pragma once

#include <string>

namespace sage {

struct WaitingPolicy {
  std::string setting;  // "OMP_WAIT_POLICY=passive"; empty where the runtime has its own way
  bool by_user = false;
};

// What the runtime found.
WaitingPolicy waiting_policy();

}  // namespace sage
