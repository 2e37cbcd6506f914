#include "core/pipeline/matrix_inputs.h"

#include <algorithm>
#include <numeric>

#include "core/util/errors.h"

namespace sage {

WeightView transformed(const Pipeline& p, const FittedTransform& t, WeightView w, Matrix& storage, const Backend& backend) {
  if (p.transform->is_identity()) return w;
  storage = Matrix::copy(w);
  t.apply(storage.view(), backend);
  return storage.view();
}

MatrixCalibration::MatrixCalibration(const Pipeline& p, const MatrixJob& job, const FittedTransform& t, const Backend& backend) {
  if (!p.needs_calibration()) return;
  if (job.hessian == nullptr)
    throw RunError("{}: the pipeline needs the Gram of the layer's inputs and none was given; expected calibration statistics; add a calibration section, "
                   "or --gram to `sageptq matrix`",
                   job.id.name);
  if (job.hessian->gram().rows != job.weights.cols)
    throw RunError("{}: has {} columns, the Gram of its inputs {}; expected as many; give the Gram of this layer", job.id.name, job.weights.cols,
                   job.hessian->gram().rows);
  if (p.transform->is_identity()) {
    factor_ = &job.hessian->factor(p.activation_order);
  } else {
    const WeightView gram = job.hessian->gram();
    Matrix turned(gram.rows, gram.cols);
    for (int64_t i = 0; i < gram.rows; ++i)
      for (int64_t j = 0; j < gram.cols; ++j) turned(i, j) = i <= j ? gram(i, j) : gram(j, i);
    t.apply_to_gram(turned.view(), backend);
    FactorOptions options = job.hessian->options();
    options.act_order = p.activation_order;
    own_ = factor_hessian(turned.view(), options, job.hessian->layer());
    factor_ = &own_;
  }
  // By stored column, whatever the order of work.
  const size_t m = static_cast<size_t>(job.weights.cols);
  diagonal_.resize(m);
  inverse_diagonal_.resize(m);
  for (size_t k = 0; k < m; ++k) {
    const size_t c = factor_->order.empty() ? k : static_cast<size_t>(factor_->order[k]);
    diagonal_[c] = factor_->upper(static_cast<int64_t>(k), static_cast<int64_t>(k));
    inverse_diagonal_[c] = factor_->inverse_diagonal[k];
  }
}

std::vector<int64_t> MatrixCalibration::order(int64_t cols) const {
  std::vector<int64_t> out(static_cast<size_t>(cols));
  if (present() && !factor_->order.empty()) std::copy(factor_->order.begin(), factor_->order.end(), out.begin());
  else std::iota(out.begin(), out.end(), int64_t{0});
  return out;
}

void MatrixCalibration::report(Trace& trace) const {
  if (!present()) return;
  trace.scalar("hessian.percdamp", factor_->percdamp);
  trace.scalar("hessian.damping_retries", factor_->retries);
  trace.scalar("hessian.dead_columns", static_cast<double>(factor_->dead.size()));
}

}  // namespace sage
