// Group ids as symbols of a plane, and back. Ids of weights that are salient, or that follow from position, are not stored.
#pragma once

#include "core/strategy/planes.h"
#include "core/tensor/mask.h"

namespace sage {

// The ids to store, in row-major order of the owned weights (element labels), or one per row, column or row block.
std::vector<uint8_t> label_symbols(const GroupMap& groups, const Selection& own);
// The inverse: `groups` has shape, block and count from its strategy's layout() and gets its labels from the plane "group_index".
void fill_labels(GroupMap& groups, const Selection& own, PlaneReader& reader);

}  // namespace sage
