// Symbols a backend made (core/backend/block_coder.h), put where a quantizer keeps its own.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor/owned.h"
#include "core/tensor/view.h"

namespace sage {

// Column c of `from` is column first + c of the index; symbols of weights that are not owned are left out.
inline void place_plane(const OwnedIndex& index, View<const uint8_t> from, int64_t first, std::vector<uint8_t>& symbols) {
#pragma omp parallel for schedule(static) if (from.size() > kParallelWeights)
  for (int64_t i = 0; i < from.rows; ++i) {
    const uint8_t* row = from.row(i) - first;
    index.visit(i, first, first + from.cols, [&](int64_t j, int64_t k) { symbols[static_cast<size_t>(k)] = row[j]; });
  }
}

}  // namespace sage
