// The one answer of every quantizer to weights that are not numbers.
#pragma once

#include <cmath>

#include "core/tensor/view.h"
#include "core/util/errors.h"

namespace sage {

// `check` is any sum in which every weight the fit looked at takes part. RunError unless it is finite.
inline void expect_finite(double check, const MatrixId& id, const char* quantizer) {
  if (!std::isfinite(check))
    throw RunError("{}: {} met weights that are not finite; expected finite weights; check the checkpoint it came from",
                   id.name, quantizer);
}

}  // namespace sage
