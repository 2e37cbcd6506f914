#include "strategies/grouping/spectrum.h"

#include <Spectra/SymEigsShiftSolver.h>

#include <Eigen/Dense>
#include <Eigen/SparseCholesky>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/util/errors.h"
#include "core/util/random.h"

namespace sage::graph {
namespace {

constexpr int32_t kDenseLimit = 96;  // below, a dense solver is faster than setting up Lanczos
constexpr int32_t kBandLimit = 64;

// One component: nodes renumbered in their order, edges by (i, j), and the inverse roots of the degrees.
struct Part {
  std::vector<int32_t> node;
  std::vector<Edge> edges;
  std::vector<double> scale;
};

std::vector<Part> split(const Graph& g) {
  const int32_t count = g.nodes == 0 ? 0 : 1 + *std::max_element(g.component.begin(), g.component.end());
  std::vector<Part> parts(static_cast<size_t>(count));
  std::vector<int32_t> local(static_cast<size_t>(g.nodes));
  for (int32_t v = 0; v < g.nodes; ++v) {
    Part& p = parts[static_cast<size_t>(g.component[v])];
    local[v] = static_cast<int32_t>(p.node.size());
    p.node.push_back(v);
    p.scale.push_back(0.0);
  }
  for (const Edge& e : g.edges) {
    Part& p = parts[static_cast<size_t>(g.component[e.i])];
    p.edges.push_back({local[e.i], local[e.j], e.weight});
    p.scale[static_cast<size_t>(local[e.i])] += e.weight;
    p.scale[static_cast<size_t>(local[e.j])] += e.weight;
  }
  for (Part& p : parts)
    for (double& s : p.scale)
      s = 1.0 / std::sqrt(std::max(s, 1e-30));
  return parts;
}

double entry(const Part& p, const Edge& e) {
  return -e.weight * p.scale[static_cast<size_t>(e.i)] * p.scale[static_cast<size_t>(e.j)];
}

// (L - shift I)^-1 by a banded Cholesky factor; positive definite since shift < 0.
class BandedSolve {
 public:
  using Scalar = double;
  BandedSolve(const Part& p, int32_t band) : part_(p), n_(static_cast<int32_t>(p.node.size())), band_(band) {}
  Eigen::Index rows() const { return n_; }
  Eigen::Index cols() const { return n_; }

  // Column j of the factor below the diagonal: factor_[j * band + t - 1] = F(j + t, j); diagonal_ holds 1 / F(j, j).
  void set_shift(double shift) {
    factor_.assign(static_cast<size_t>(n_) * band_, 0.0);
    diagonal_.assign(static_cast<size_t>(n_), 1.0 - shift);
    for (const Edge& e : part_.edges)
      factor_[static_cast<size_t>(e.i) * band_ + (e.j - e.i - 1)] = entry(part_, e);
    for (int32_t j = 0; j < n_; ++j) {
      const double d = diagonal_[j];
      if (!(d > 0))
        throw RunError("grouping spectral: found a graph whose Laplacian cannot be factored; expected finite affinities");
      const double inverse = 1.0 / std::sqrt(d);
      diagonal_[j] = inverse;
      double* column = factor_.data() + static_cast<size_t>(j) * band_;
      const int32_t reach = std::min(band_, n_ - 1 - j);
      for (int32_t t = 0; t < reach; ++t)
        column[t] *= inverse;
      for (int32_t t = 0; t < reach; ++t) {
        const double c = column[t];
        diagonal_[j + 1 + t] -= c * c;
        double* below = factor_.data() + static_cast<size_t>(j + 1 + t) * band_;
        for (int32_t u = t + 1; u < reach; ++u)
          below[u - t - 1] -= c * column[u];
      }
    }
  }

  void perform_op(const double* x, double* y) const {
    std::copy(x, x + n_, y);
    for (int32_t j = 0; j < n_; ++j) {
      const double v = y[j] *= diagonal_[j];
      const double* column = factor_.data() + static_cast<size_t>(j) * band_;
      const int32_t reach = std::min(band_, n_ - 1 - j);
      for (int32_t t = 0; t < reach; ++t)
        y[j + 1 + t] -= column[t] * v;
    }
    for (int32_t j = n_ - 1; j >= 0; --j) {
      const double* column = factor_.data() + static_cast<size_t>(j) * band_;
      const int32_t reach = std::min(band_, n_ - 1 - j);
      // The nearest entry was computed last: add it last, so that the others need not wait for it.
      double s = 0, r = 0;
      for (int32_t t = reach - 1; t > 0; t -= 2) {
        s += column[t] * y[j + 1 + t];
        if (t > 1) r += column[t - 1] * y[j + t];
      }
      y[j] = ((y[j] - (s + r)) - (reach > 0 ? column[0] * y[j + 1] : 0.0)) * diagonal_[j];
    }
  }

 private:
  const Part& part_;
  int32_t n_, band_;
  std::vector<double> factor_, diagonal_;
};

class SparseSolve {
 public:
  using Scalar = double;
  explicit SparseSolve(const Part& p) : part_(p) {}
  Eigen::Index rows() const { return static_cast<Eigen::Index>(part_.node.size()); }
  Eigen::Index cols() const { return rows(); }
  void set_shift(double shift) {
    std::vector<Eigen::Triplet<double>> lower;
    for (int32_t v = 0; v < rows(); ++v)
      lower.emplace_back(v, v, 1.0 - shift);
    for (const Edge& e : part_.edges)
      lower.emplace_back(e.j, e.i, entry(part_, e));
    Eigen::SparseMatrix<double> m(rows(), rows());
    m.setFromTriplets(lower.begin(), lower.end());
    solver_.compute(m);
    if (solver_.info() != Eigen::Success)
      throw RunError("grouping spectral: found a graph whose Laplacian cannot be factored; expected finite affinities");
  }
  void perform_op(const double* x, double* y) const {
    Eigen::Map<Eigen::VectorXd>(y, rows()) = solver_.solve(Eigen::Map<const Eigen::VectorXd>(x, rows()));
  }

 private:
  const Part& part_;
  Eigen::SimplicialLDLT<Eigen::SparseMatrix<double>, Eigen::Lower> solver_;
};

struct Pairs {
  Eigen::VectorXd values;
  Eigen::MatrixXd vectors;
};

Pairs dense_pairs(const Part& p, int count) {
  const Eigen::Index n = static_cast<Eigen::Index>(p.node.size());
  Eigen::MatrixXd m = Eigen::MatrixXd::Identity(n, n);
  for (const Edge& e : p.edges)
    m(e.i, e.j) = m(e.j, e.i) = entry(p, e);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(m);
  return {solver.eigenvalues().head(count), solver.eigenvectors().leftCols(count)};
}

template <class Op>
Pairs lanczos_pairs(Op& op, int count, double shift, Rng rng) {
  const Eigen::Index n = op.rows();
  // A basis of three times the pairs wanted converges without a restart on paths; on other graphs with few.
  Spectra::SymEigsShiftSolver<Op> solver(op, count, std::min<Eigen::Index>(n, std::max(24, 3 * count)), shift);
  Eigen::VectorXd start(n);
  for (Eigen::Index i = 0; i < n; ++i)
    start[i] = rng.uniform() - 0.5;
  solver.init(start.data());
  const Eigen::Index found = solver.compute(Spectra::SortRule::LargestMagn, 1000, 1e-9, Spectra::SortRule::SmallestAlge);
  if (solver.info() != Spectra::CompInfo::Successful)
    throw RunError(
        "grouping spectral: found {} of {} eigenpairs of the graph; expected all to converge; try another affinity or connect: "
        "bridge",
        found, count);
  return {solver.eigenvalues(), solver.eigenvectors()};
}

Pairs part_pairs(const Part& p, int count, const Rng& rng) {
  const int32_t n = static_cast<int32_t>(p.node.size());
  if (n <= std::max(kDenseLimit, count + 1)) return dense_pairs(p, count);
  int32_t band = 0;
  for (const Edge& e : p.edges)
    band = std::max(band, e.j - e.i);
  if (band <= kBandLimit) {
    // The eigenvalues of a path fall as 1 / n^2: a shift that follows them keeps the wanted ones well apart.
    const double shift = -1e-4 * std::min(1.0, std::pow(1001.0 / n, 2));
    BandedSolve op(p, band);
    return lanczos_pairs(op, count, shift, rng);
  }
  SparseSolve op(p);
  return lanczos_pairs(op, count, -1e-4, rng);
}

// Columns become a random orthonormal basis of the space they span.
void rotate_basis(std::vector<std::vector<double>*>& columns, Rng rng) {
  const Eigen::Index c = static_cast<Eigen::Index>(columns.size());
  Eigen::MatrixXd random(c, c);
  for (Eigen::Index i = 0; i < c; ++i)
    for (Eigen::Index j = 0; j < c; ++j)
      random(i, j) = rng.normal();
  const Eigen::MatrixXd q = Eigen::HouseholderQR<Eigen::MatrixXd>(random).householderQ();
  Eigen::VectorXd row(c);
  for (size_t v = 0; v < columns[0]->size(); ++v) {
    for (Eigen::Index j = 0; j < c; ++j)
      row[j] = (*columns[static_cast<size_t>(j)])[v];
    const Eigen::VectorXd turned = q.transpose() * row;
    for (Eigen::Index j = 0; j < c; ++j)
      (*columns[static_cast<size_t>(j)])[v] = turned[j];
  }
}

}  // namespace

Spectrum smallest_eigenpairs(const Graph& graph, int count, uint64_t key) {
  count = std::min(count, static_cast<int>(graph.nodes));
  const std::vector<Part> parts = split(graph);
  struct Candidate {
    double value;
    size_t part;
    Eigen::Index column;
  };
  std::vector<Candidate> candidates;
  std::vector<Pairs> pairs;
  for (size_t c = 0; c < parts.size(); ++c) {
    const int wanted = std::min(count, static_cast<int>(parts[c].node.size()));
    pairs.push_back(part_pairs(parts[c], wanted, Rng(key, hash_name("spectrum-start") + c)));
    for (Eigen::Index k = 0; k < wanted; ++k)
      candidates.push_back({k == 0 ? 0.0 : pairs[c].values[k], c, k});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.value < b.value; });
  // The whole null space takes part in the rotation, even where only some of its vectors are handed out.
  const size_t keep = std::max(static_cast<size_t>(count), parts.size());
  Spectrum out;
  for (size_t k = 0; k < std::min(keep, candidates.size()); ++k) {
    const Candidate& c = candidates[k];
    std::vector<double> vector(static_cast<size_t>(graph.nodes), 0.0);
    const auto column = pairs[c.part].vectors.col(c.column);
    Eigen::Index largest = 0;
    column.cwiseAbs().maxCoeff(&largest);
    const double sign = column[largest] < 0 ? -1.0 : 1.0;
    for (Eigen::Index i = 0; i < column.size(); ++i)
      vector[static_cast<size_t>(parts[c.part].node[static_cast<size_t>(i)])] = sign * column[i];
    out.values.push_back(c.value);
    out.vectors.push_back(std::move(vector));
  }
  if (parts.size() > 1) {
    std::vector<std::vector<double>*> null_space;
    for (size_t k = 0; k < parts.size(); ++k)
      null_space.push_back(&out.vectors[k]);
    rotate_basis(null_space, Rng(key, "spectrum-null-space"));
  }
  out.values.resize(static_cast<size_t>(count));
  out.vectors.resize(static_cast<size_t>(count));
  return out;
}

}  // namespace sage::graph
