// Turns a failed call into an error a user can act on.
#pragma once

#include <string>

#include "core/util/errors.h"
#include "kernels/cuda/api.h"

namespace sage::cuda {

// ResourceError "WHERE: WHAT failed: DESCRIPTION; expected ...; what to do", if the status is a failure.
void check(const Api& api, Status status, const std::string& what);

}  // namespace sage::cuda
