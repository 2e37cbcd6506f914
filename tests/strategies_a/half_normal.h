// Groups of |N(0,1)| below a threshold, from the density alone: what magnitude groupings must approach on normal weights.
#pragma once

#include <vector>

namespace sage::test {

struct HalfNormalGroups {
  double threshold = 0;    // t with P(|w| > t) = r
  double kept_energy = 0;  // E[w^2; |w| < t]
  std::vector<double> cuts;
  std::vector<double> means;  // E[|w| | group]
  double error = 0;           // E[(|w| - mean)^2; |w| < t]
  double entropy = 0;         // of the group, given |w| < t, bits
};

// K groups of equal probability, or those of least squared error (Lloyd's iteration on the density), with a share r left out on
// top. Integrals by Gauss-Legendre quadrature, quantiles by bisection: shares no code with the strategies.
HalfNormalGroups half_normal_groups(int groups, double salient_share, bool equal_count);

}  // namespace sage::test
