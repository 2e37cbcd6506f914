// Moments that come back from the device in parts.
#pragma once

#include "core/backend/backend.h"

namespace sage::cuda {

inline void add_to(Moments& a, const Moments& b) {
  a.count += b.count;
  a.sum += b.sum;
  a.abs_sum += b.abs_sum;
  a.sq_sum += b.sq_sum;
}

}  // namespace sage::cuda
