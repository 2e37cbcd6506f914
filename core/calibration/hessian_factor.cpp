#include "core/calibration/hessian_factor.h"

#include <cblas.h>
#include <f77blas.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/util/errors.h"
#include "core/util/log.h"

namespace sage {

namespace {

// OpenBLAS cuts factorizations by the number of its threads, which would show in the last bits. Built with OpenMP it takes up
// OpenMP's number at every call, whatever was set before; built with pthreads it has its own. So both are set and restored.
// Inside a parallel region OpenBLAS is serial by itself.
class SerialBlas {
 public:
  SerialBlas() : blas_(openblas_get_num_threads()), openmp_(omp_get_max_threads()), needed_(omp_in_parallel() == 0) {
    if (needed_) set(1, 1);
  }
  ~SerialBlas() {
    if (needed_) set(blas_, openmp_);
  }
  SerialBlas(const SerialBlas&) = delete;
  SerialBlas& operator=(const SerialBlas&) = delete;

 private:
  // In this order: the first call changes OpenMP's number, too.
  static void set(int blas, int openmp) {
    openblas_set_num_threads(blas);
    omp_set_num_threads(openmp);
  }
  int blas_, openmp_;
  bool needed_;
};

// LAPACK sees the transpose of row-major memory: its upper triangle is our lower one. 0 = done.
blasint factor_lower(float* a, blasint n) {
  char upper = 'U';
  blasint info = 0;
  spotrf_(&upper, &n, a, &n, &info);
  return info;
}
blasint factor_lower(double* a, blasint n) {
  char upper = 'U';
  blasint info = 0;
  dpotrf_(&upper, &n, a, &n, &info);
  return info;
}
blasint invert_lower(float* a, blasint n) {
  char upper = 'U', general = 'N';
  blasint info = 0;
  strtri_(&upper, &general, &n, a, &n, &info);
  return info;
}
blasint invert_lower(double* a, blasint n) {
  char upper = 'U', general = 'N';
  blasint info = 0;
  dtrtri_(&upper, &general, &n, a, &n, &info);
  return info;
}

double dead_fixed(WeightView gram, int64_t j) { return gram(j, j) == 0 ? 1.0 : static_cast<double>(gram(j, j)); }

// Memory read backwards is the matrix with rows and columns reversed: the upper triangle of H is the lower one of J H J.
// False: not positive definite, or so nearly not that the inverse is not finite.
template <class T>
bool try_factor(WeightView gram, double damping, HessianFactor& out) {
  const int64_t n = gram.rows;
  std::vector<T> a(static_cast<size_t>(n * n));
  const auto at = [&](int64_t i, int64_t j) -> T& { return a[static_cast<size_t>((n - 1 - i) * n + n - 1 - j)]; };
  for (int64_t i = 0; i < n; ++i) {
    at(i, i) = static_cast<T>(dead_fixed(gram, i)) + static_cast<T>(damping);
    for (int64_t j = i + 1; j < n; ++j)
      at(i, j) = static_cast<T>(gram(i, j));
  }
  const auto size = static_cast<blasint>(n);
  if (factor_lower(a.data(), size) != 0 || invert_lower(a.data(), size) != 0) return false;
  out.upper = Matrix::zeros(n, n);
  std::vector<double> squares(static_cast<size_t>(n), 0.0);
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    float* row = out.upper.row(i);
    for (int64_t j = i; j < n; ++j) {
      const T u = at(i, j);
      row[j] = static_cast<float>(u);
      finite = finite && std::isfinite(row[j]);
      squares[static_cast<size_t>(j)] += static_cast<double>(u) * static_cast<double>(u);
    }
    finite = finite && row[i] > 0;
  }
  out.inverse_diagonal.assign(squares.begin(), squares.end());
  for (float d : out.inverse_diagonal)
    finite = finite && std::isfinite(d);
  return finite;
}

}  // namespace

std::vector<int32_t> act_order(WeightView gram) {
  std::vector<int32_t> order(static_cast<size_t>(gram.rows));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return dead_fixed(gram, a) > dead_fixed(gram, b); });
  return order;
}

std::vector<int32_t> inverse_order(std::span<const int32_t> order) {
  std::vector<int32_t> inverse(order.size());
  for (size_t k = 0; k < order.size(); ++k)
    inverse[static_cast<size_t>(order[k])] = static_cast<int32_t>(k);
  return inverse;
}

Matrix permute_gram(WeightView gram, std::span<const int32_t> order) {
  Matrix out(gram.rows, gram.cols);
  for (int64_t k = 0; k < gram.rows; ++k) {
    const int64_t i = order[static_cast<size_t>(k)];
    for (int64_t l = 0; l < gram.cols; ++l) {
      const int64_t j = order[static_cast<size_t>(l)];
      out(k, l) = i <= j ? gram(i, j) : gram(j, i);
    }
  }
  return out;
}

HessianFactor factor_hessian(WeightView gram, const FactorOptions& options, const std::string& layer) {
  if (!(options.percdamp >= 0) || !(options.percdamp <= options.max_percdamp) || !std::isfinite(options.max_percdamp))
    throw UserError("{}: percdamp {}; expected 0 to {} (max_percdamp); e.g. 0.01", layer, options.percdamp,
                    options.max_percdamp);
  check_gram(gram, gram.cols, layer);
  for (int64_t i = 0; i < gram.rows; ++i)
    for (int64_t j = i; j < gram.cols; ++j)
      if (!std::isfinite(gram(i, j)))
        throw RunError("{}: entry ({}, {}) of the Gram is {}; expected finite numbers; collect the calibration again", layer, i,
                       j, gram(i, j));
  HessianFactor out;
  double trace = 0;
  for (int64_t j = 0; j < gram.cols; ++j) {
    if (gram(j, j) == 0) out.dead.push_back(static_cast<int32_t>(j));
    trace += dead_fixed(gram, j);
  }
  const double mean = trace / static_cast<double>(gram.cols);
  Matrix permuted;
  if (options.act_order) {
    out.order = act_order(gram);
    permuted = permute_gram(gram, out.order);
    gram = permuted.view();
  }
  const SerialBlas serial;
  out.percdamp = options.percdamp;
  for (;;) {
    out.damping = out.percdamp * mean;
    const bool done = options.precision == GramPrecision::kFp64 ? try_factor<double>(gram, out.damping, out)
                                                                : try_factor<float>(gram, out.damping, out);
    if (done) return out;
    if (out.percdamp >= options.max_percdamp)
      throw RunError(
          "{}: the Gram is not positive definite, even with damping {:g} of its mean diagonal {:g} (percdamp {:g}, {} "
          "retries); "
          "expected a Gram of real inputs; collect the calibration again, in fp64 if it was fp32, or allow more damping "
          "(max_percdamp)",
          layer, out.percdamp, mean, options.percdamp, out.retries);
    const double next = std::min(out.percdamp == 0 ? 1e-4 : out.percdamp * 10, options.max_percdamp);
    log_warning("{}: the Gram is not positive definite with percdamp {:g}; trying {:g}", layer, out.percdamp, next);
    out.percdamp = next;
    ++out.retries;
  }
}

}  // namespace sage
