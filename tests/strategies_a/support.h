// A matrix with what components need around it.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/strategy/grouping.h"
#include "core/strategy/saliency.h"
#include "kernels/reference/reference_backend.h"
#include "tests/support/fixture.h"

namespace sage::test {

inline const Backend& oracle() {
  static const std::unique_ptr<Backend> backend = make_reference_backend();
  return *backend;
}

class Block {
 public:
  explicit Block(Matrix w, uint64_t seed = 0) : w_(std::move(w)), seed_(seed) {
    energy_ = oracle().matrix_stats(w_.view()).moments.sq_sum;
  }
  BlockContext ctx() { return {w_.view(), 0, oracle(), {0, "test.weight"}, seed_, Numerics::kPacked, &trace_}; }
  const Matrix& w() const { return w_; }
  Trace& trace() { return trace_; }
  double energy() const { return energy_; }

  SaliencyMask mask(const SaliencyFilter& filter, double ratio) {
    return filter.score(ctx())->select({Cut::Unit::kRatio, ratio});
  }
  SaliencyMask none() const { return SaliencyMask::none(w_.rows(), w_.cols()); }
  GroupMap groups(const GroupingStrategy& strategy, const SaliencyMask& mask, std::optional<int64_t> forced = {}) {
    return strategy.prepare(ctx(), mask, forced)->assign(ctx(), mask);
  }
  std::vector<Moments> moments(const GroupMap& map, const SaliencyMask& mask) {
    std::vector<Moments> m(static_cast<size_t>(map.groups));
    oracle().group_moments(w_.view(), Selection{&mask, false}, map, m);
    return m;
  }
  // sum over the unsalient weights of (|w| - mean |w| of the group)^2, over the energy of all weights.
  double error(const GroupMap& map, const SaliencyMask& mask) { return error(moments(map, mask)); }
  double error(const std::vector<Moments>& groups) const {
    double e = 0;
    for (const Moments& m : groups)
      if (m.count > 0) e += m.sq_sum - m.abs_sum * m.abs_sum / static_cast<double>(m.count);
    return e / energy_;
  }
  double error(const GroupingStrategy& strategy, const SaliencyMask& mask, std::optional<int64_t> forced = {}) {
    return error(groups(strategy, mask, forced), mask);
  }

 private:
  Matrix w_;
  uint64_t seed_;
  double energy_ = 0;
  Trace trace_{true};
};

inline Matrix scaled(const Matrix& w, float factor) {
  Matrix out = Matrix::copy(w.view());
  for (int64_t k = 0; k < out.size(); ++k)
    out.data()[k] *= factor;
  return out;
}

// The tolerance of the fixture tables: 2e-5 absolute or 1e-3 relative, whichever is larger.
inline double table_tolerance(double expected) { return std::max(2e-5, 1e-3 * std::abs(expected)); }

}  // namespace sage::test
