// Labels that tell rows apart.
#pragma once

#include <vector>

#include "analysis/selection.h"

namespace sage {

// Gives runs of equal labels different ones: with what few settings they differ in ("rtn, quantizer.bits=2"), and where that
// does not tell all of them apart, with the beginnings of their keys ("rtn 4f2a9c1b2d"). Texts, models and seeds that tables
// have columns for are no part of a label.
void tell_apart(std::vector<SelectedRun>& runs);

}  // namespace sage
