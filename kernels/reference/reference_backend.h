// The oracle: plain loops, one thread, sums in double, no vector code. Slow on purpose; every other backend is tested against
// it.
#pragma once

#include <memory>

#include "core/backend/backend.h"

namespace sage {

std::unique_ptr<Backend> make_reference_backend();

}  // namespace sage
