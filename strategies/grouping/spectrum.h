// The smallest eigenpairs of a graph's normalised Laplacian.
#pragma once

#include <cstdint>
#include <vector>

#include "strategies/grouping/graph.h"

namespace sage::graph {

struct Spectrum {
  std::vector<double> values;                // ascending
  std::vector<std::vector<double>> vectors;  // one per value, of unit length, one entry per node
};

// L = I - D^-1/2 A D^-1/2. Shift-and-invert Lanczos (Spectra) per connected component, on a banded Cholesky factor where all
// edges span few positions (one-dimensional graphs: O(n k^2) once, O(n k) per step), else on a sparse LDL^T factor. The start
// vector is drawn from `key`, signs are fixed, so equal graphs and keys give equal vectors. A disconnected graph's null space
// is rotated at random (from `key`): no basis of it is preferred. RunError when the iteration does not converge.
Spectrum smallest_eigenpairs(const Graph& graph, int count, uint64_t key);

}  // namespace sage::graph
