#include "core/pipeline/alternatives.h"

#include <algorithm>
#include <exception>
#include <map>
#include <numeric>

#include "core/backend/memory.h"
#include "core/pipeline/segment_fitter.h"

namespace sage {
namespace {

// The rows that are looked at, transformed, and what else alternatives of one transform and order of columns share.
struct Input {
  Matrix storage;
  HeldMemory held;
  WeightView rows;
  TransformCost cost;
  ErrorFactors factors;  // of the rows
  std::unique_ptr<MatrixCalibration> calibration;
};

Input make_input(const Pipeline& p, const MatrixJob& job, const Backend& backend, int64_t trial_weights) {
  Trace silent(false);
  const WeightView w = job.weights;
  const std::unique_ptr<FittedTransform> t = p.transform->fit(BlockContext{w, 0, backend, job.id, job.seed, p.numerics, &silent});
  Input in;
  in.rows = transformed(p, *t, w, in.storage, backend);
  in.factors = t->error_factors();
  if (!in.factors.rows.empty()) {
    std::vector<double> seen;
    for (const int64_t i : trial_rows(w.rows, w.cols, trial_weights)) seen.push_back(in.factors.rows[static_cast<size_t>(i)]);
    in.factors.rows = std::move(seen);
  }
  if (std::optional<Matrix> sample = trial_sample(in.rows, trial_weights)) {
    in.storage = std::move(*sample);
    in.rows = in.storage.view();
  }
  if (in.storage.size() > 0) in.held = hold(backend, in.rows);
  in.cost = cost_of(p, *t, {w.rows, w.cols});
  in.calibration = std::make_unique<MatrixCalibration>(p, job, *t, backend);
  return in;
}

// Fits everything the pipeline would fit, and adds up what that stores. original: the error of the weights before their transform.
TrialResult outcome_of(const Pipeline& p, const Input& in, const MatrixJob& job, const Backend& backend, bool original) {
  Trace silent(false);
  Matrix cleaned;
  if (p.zero_dead_columns && !in.calibration->dead().empty()) {
    cleaned = Matrix::copy(in.rows);
    for (const int32_t c : in.calibration->dead())
      for (int64_t i = 0; i < cleaned.rows(); ++i) cleaned(i, c) = 0;
  }
  const HeldMemory held_cleaned = hold(backend, cleaned.view());
  const SegmentWeights weights = [&](const ColumnSet& set, Scope::Weights when, Matrix& storage, HeldMemory& held) {
    const WeightView v = set.gather(when == Scope::Weights::kOriginal || cleaned.size() == 0 ? in.rows : cleaned.view(), storage);
    if (storage.size() > 0) held = hold(backend, v);
    return v;
  };
  SegmentFitter fitter(p, BlockContext{in.rows, 0, backend, job.id, job.seed, p.numerics, &silent}, {job.weights.rows, job.weights.cols}, in.cost, *in.calibration,
                       segment_layout(p, in.calibration->order(job.weights.cols), job.id.name), weights);
  fitter.fit_all();
  return fitter.outcome(original ? &in.factors : nullptr);
}

}  // namespace

std::vector<AlternativeScore> score_alternatives(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend) {
  const size_t n = static_cast<size_t>(factory.alternatives());
  std::map<std::string, Input> inputs;
  std::vector<const Input*> input_of(n);
  for (size_t a = 0; a < n; ++a) {
    const Pipeline p = factory.make(static_cast<int>(a));
    const std::string key = factory.transform_key(static_cast<int>(a)) + (p.activation_order ? " by activation" : "") + (p.needs_calibration() ? " calibrated" : "");
    const auto it = inputs.find(key);
    input_of[a] = it != inputs.end() ? &it->second : &inputs.emplace(key, make_input(p, job, backend, p.trial_weights)).first->second;
  }
  bool mixed = false;
  for (int a = 1; a < factory.alternatives(); ++a) mixed = mixed || factory.transform_key(a) != factory.transform_key(0);
  std::vector<AlternativeScore> scores(n);
  std::vector<std::exception_ptr> failures(n);
#pragma omp parallel for schedule(dynamic)
  for (size_t a = 0; a < n; ++a) {
    try {
      const Pipeline p = factory.make(static_cast<int>(a));
      scores[a].result = outcome_of(p, *input_of[a], job, backend, mixed);
      scores[a].objective = p.threshold->objective(scores[a].result);
    } catch (...) {
      failures[a] = std::current_exception();
    }
  }
  for (const std::exception_ptr& f : failures)
    if (f) std::rethrow_exception(f);
  return scores;
}

int choose_alternative(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend, Trace& trace) {
  if (factory.alternatives() == 1) return 0;
  const std::vector<AlternativeScore> scores = score_alternatives(factory, job, backend);
  for (size_t a = 0; a < scores.size(); ++a) trace.scalar(fmt::format("alternative.{}.objective", a), scores[a].objective);
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores[static_cast<size_t>(a)].objective < scores[static_cast<size_t>(b)].objective; });

  int smallest = order.front();
  double least = 0;
  for (const int a : order) {
    const Pipeline p = factory.make(a);
    const std::optional<double> budget = p.threshold->most_stored_bits();
    if (!budget || !trial_sample(job.weights, p.trial_weights)) return a;  // no limit, or all rows were looked at
    if (a != order.front() && scores[static_cast<size_t>(a)].result.stored_bits > *budget) break;  // as are all that follow
    const double bits = outcome_of(p, make_input(p, job, backend, 0), job, backend, false).stored_bits;
    if (bits <= *budget) return a;
    if (a == order.front() || bits < least) least = bits, smallest = a;
  }
  return smallest;
}

}  // namespace sage
