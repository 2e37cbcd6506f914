#include "core/pipeline/matrix_engine.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "core/backend/memory.h"
#include "core/pipeline/alternatives.h"
#include "core/pipeline/column_coder.h"
#include "core/pipeline/gram_loss.h"
#include "core/pipeline/half_range.h"
#include "core/pipeline/matrix_inputs.h"
#include "core/pipeline/plane_store.h"
#include "core/pipeline/segment_fitter.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {
namespace {

void check_finite(const MatrixStats& stats, const MatrixJob& job) {
  if (stats.nonfinite == 0) return;
  for (int64_t i = 0; i < job.weights.rows; ++i)
    for (int64_t j = 0; j < job.weights.cols; ++j)
      if (!std::isfinite(job.weights(i, j)))
        throw RunError("{}: weight ({}, {}) is {}, one of {} that are NaN or infinite; expected finite weights; check the checkpoint it came from", job.id.name,
                       i, j, std::isnan(job.weights(i, j)) ? "NaN" : "infinity", stats.nonfinite);
}

// One matrix on its way through one pipeline.
class MatrixCoder {
 public:
  MatrixCoder(const Pipeline& p, const MatrixJob& job, const Backend& backend, Trace& trace)
      : p_(p), job_(job), backend_(backend), trace_(trace), writer_(p.numerics), decoded_(job.weights.rows, job.weights.cols) {}

  void run() {
    const WeightView w = job_.weights;
    const BlockContext whole{w, 0, backend_, job_.id, job_.seed, p_.numerics, &trace_};
    transform_ = p_.transform->fit(whole);
    transform_->emit(writer_);
    Matrix transformed_storage;
    original_ = transformed(p_, *transform_, w, transformed_storage, backend_);
    const HeldMemory held = hold(backend_, transformed_storage.view());  // w itself is held already
    calibration_.emplace(p_, job_, *transform_, backend_);
    calibration_->report(trace_, job_.id.name);
    order_ = calibration_->order(w.cols);
    prepare_work();

    BlockContext rows = whole;
    rows.weights = original_;
    const MatrixShape shape{w.rows, w.cols};
    fitter_.emplace(p_, rows, shape, cost_of(p_, *transform_, shape), *calibration_, segment_layout(p_, order_, job_.id.name),
                    [this](const ColumnSet& set, Scope::Weights when, Matrix& storage, HeldMemory& copy) { return weights_of(set, when, storage, copy); });
    fit_upfront();
    ColumnCoderJob coding{p_, backend_, weights_, nullptr, order_, {}, fitter_->unsalient(), fitter_->salient(), {}, decoded_.view()};
    if (p_.compensator->needs_calibration()) {
      coding.work = &work_;
      coding.factor = calibration_->upper();
    }
    coding.fit_segments = [this](int64_t first, int64_t last) { fit_due(first, last); };
    const double loss = code_columns(coding);
    if (p_.compensator->needs_calibration()) trace_.scalar("compensation.loss", loss);
    paper_ = fitter_->emit(writer_);
    mask_ = fitter_->mask();
    groups_ = fitter_->groups();
    calibration_.reset();
  }

  PlaneWriter& writer() { return writer_; }
  const SaliencyMask& mask() const { return *mask_; }
  Matrix& decoded() { return decoded_; }
  const FittedTransform& transform() const { return *transform_; }
  const PaperCount& paper() const { return paper_; }
  int64_t groups() const { return groups_; }

 private:
  // The weights in the order of work, dead columns zeroed where asked for: a copy only when something will change it.
  void prepare_work() {
    const bool zero = p_.zero_dead_columns && !calibration_->dead().empty();
    const bool permuted = p_.activation_order;
    if (!zero && !permuted && !p_.compensator->needs_calibration()) {
      cleaned_ = weights_ = original_;
      return;
    }
    work_ = WorkMatrix(original_.rows, original_.cols);
    const View<float> work = work_.host();
#pragma omp parallel for schedule(static) if (work.size() > 1 << 14)
    for (int64_t i = 0; i < work.rows; ++i)
      for (int64_t k = 0; k < work.cols; ++k) work(i, k) = original_(i, order_[static_cast<size_t>(k)]);
    position_.resize(order_.size());
    for (size_t k = 0; k < order_.size(); ++k) position_[static_cast<size_t>(order_[k])] = static_cast<int64_t>(k);
    if (zero)
      for (const int32_t c : calibration_->dead())
        for (int64_t i = 0; i < work.rows; ++i) work(i, position_[static_cast<size_t>(c)]) = 0;
    weights_ = work;
    // Upfront fits on cleaned weights run before compensation begins: they may read the working copy where it is in stored order.
    if (!permuted) {
      cleaned_ = weights_;
    } else {
      cleaned_storage_ = Matrix::copy(original_);
      if (zero)
        for (const int32_t c : calibration_->dead())
          for (int64_t i = 0; i < cleaned_storage_.rows(); ++i) cleaned_storage_(i, c) = 0;
      cleaned_ = cleaned_storage_.view();
      held_cleaned_ = hold(backend_, cleaned_);
    }
  }

  WeightView weights_of(const ColumnSet& set, Scope::Weights when, Matrix& storage, HeldMemory& held) {
    const WeightView v = gathered(set, when, storage);
    // The original and the cleaned matrix are held already. A copy of their columns is not, nor is the working copy, which
    // changes between fits but not during one.
    const std::less<> before;
    const View<float> work = work_.host();
    const bool in_work = !before(v.data, work.data) && before(v.data, work.data + work.size());
    if (storage.size() > 0 || in_work) held = hold(backend_, v);
    return v;
  }

  WeightView gathered(const ColumnSet& set, Scope::Weights when, Matrix& storage) {
    if (when == Scope::Weights::kOriginal) return set.gather(original_, storage);
    if (when == Scope::Weights::kCleaned) return set.gather(cleaned_, storage);
    if (work_.on_device() && set.size() > 0) {
      int64_t first = weights_.cols, last = 0;
      for (const int64_t c : set.columns()) {
        const int64_t at = position_[static_cast<size_t>(c)];
        first = std::min(first, at);
        last = std::max(last, at + 1);
      }
      work_.read_back(backend_, first, last);
    }
    if (!p_.activation_order) return set.gather(weights_, storage);
    storage = Matrix(weights_.rows, set.size());
    for (int64_t i = 0; i < storage.rows(); ++i)
      for (int64_t k = 0; k < set.size(); ++k) storage(i, k) = weights_(i, position_[static_cast<size_t>(set[k])]);
    return storage.view();
  }

  void fit_unsalient(size_t k) {
    fitter_->fit_unsalient(k);
    fitter_->unsalient()[k].fit->start_coding();
  }
  void fit_salient(size_t k) {
    fitter_->fit_salient(k);
    if (fitter_->salient()[k].fit) fitter_->salient()[k].fit->start_coding();
  }

  // Without a compensator nothing changes on the way: everything is fitted first, the selection before what rests on it.
  bool late(const Scope& scope) const { return p_.compensator->needs_calibration() && scope.weights == Scope::Weights::kCompensated; }

  void fit_upfront() {
    if (!late(p_.scope))
      for (size_t k = 0; k < fitter_->unsalient().size(); ++k) fit_unsalient(k);
    if (!late(p_.salient_scope))
      for (size_t k = 0; k < fitter_->salient().size(); ++k) fit_salient(k);
  }

  // Fits the segments whose first column, in the order of work, lies in [first, last).
  void fit_due(int64_t first, int64_t last) {
    const auto begins = [&](const ColumnSet& set) {
      int64_t at = set.first();
      if (p_.activation_order) {
        at = order_.empty() ? 0 : static_cast<int64_t>(order_.size());
        for (const int64_t c : set.columns()) at = std::min(at, position_[static_cast<size_t>(c)]);
      }
      return at >= first && at < last;
    };
    if (late(p_.scope))
      for (size_t k = 0; k < fitter_->unsalient().size(); ++k)
        if (begins(fitter_->unsalient()[k].columns)) fit_unsalient(k);
    if (late(p_.salient_scope))
      for (size_t k = 0; k < fitter_->salient().size(); ++k)
        if (begins(fitter_->salient()[k].columns)) fit_salient(k);
  }

  const Pipeline& p_;
  const MatrixJob& job_;
  const Backend& backend_;
  Trace& trace_;
  PlaneWriter writer_;
  Matrix decoded_, cleaned_storage_;
  WorkMatrix work_;
  HeldMemory held_cleaned_;
  std::unique_ptr<FittedTransform> transform_;
  std::optional<MatrixCalibration> calibration_;
  WeightView original_, cleaned_, weights_;
  std::vector<int64_t> order_, position_;
  std::optional<SegmentFitter> fitter_;
  std::optional<SaliencyMask> mask_;
  int64_t groups_ = 0;
  PaperCount paper_;
};

}  // namespace

double gaussian_rate(double relative_error) {
  return relative_error > 0 ? 0.5 * std::log2(1.0 / relative_error) : std::numeric_limits<double>::infinity();
}

uint64_t MatrixStorage::total_bytes() const {
  uint64_t n = 0;
  for (const auto& [role, b] : bytes) n += b;
  return n;
}

std::map<Role, uint64_t> storage_by_role(const QuantizedMatrix& packed) {
  std::map<Role, uint64_t> out;
  for (const StoredPlane& p : packed.planes) out[p.role] += p.bytes.size();
  return out;
}

MatrixResult quantize_matrix(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend) {
  const double started = now_seconds();
  Trace silent(false);
  Trace& trace = job.trace != nullptr ? *job.trace : silent;
  const WeightView w = job.weights;
  if (w.rows < 1 || w.cols < 1) throw RunError("{}: is a {} x {} matrix; expected at least one row and one column; leave it out of the run", job.id.name, w.rows, w.cols);
  const HeldMemory held = hold(backend, w);
  const MatrixStats stats = backend.matrix_stats(w);
  check_finite(stats, job);

  MatrixResult result;
  result.alternative = choose_alternative(factory, job, backend, trace);
  const Pipeline p = factory.make(result.alternative);
  MatrixCoder coder(p, job, backend, trace);
  coder.run();
  result.packed = store_planes(p, coder.writer(), coder.mask(), result.alternative);
  if (const std::string warning = half_range_warning(w, coder.writer(), job.id.name); !warning.empty()) log_warning("{}", warning);

  Matrix decoded = std::move(coder.decoded());
  if (!p.transform->is_identity()) {
    PlaneWriter transform_planes(p.numerics);
    coder.transform().emit(transform_planes);
    PlaneReader reader(transform_planes.symbol_planes(), transform_planes.number_planes(), transform_planes.integers(), job.id.name);
    p.transform->invert(reader, decoded.view(), backend);
  }
  const double n = static_cast<double>(w.size());
  result.relative_error = stats.moments.sq_sum > 0 ? backend.squared_distance(w, decoded.view()) / stats.moments.sq_sum : 0;
  if (job.hessian != nullptr && job.hessian->gram().rows == w.cols)
    if (const std::optional<double> loss = gram_loss(w, decoded.view(), job.hessian->gram(), backend))
      trace.scalar("gram_loss", *loss);
  result.dequantized = std::move(decoded);
  result.salient_ratio = static_cast<double>(coder.mask().count()) / n;
  result.groups = coder.groups();
  result.storage.weights = w.size();
  result.storage.bytes = storage_by_role(result.packed);
  result.storage.paper_weight_bits = coder.paper().weight_bits / n;
  const double scale_words = coder.paper().scale_words + coder.transform().paper_scale_words();
  result.storage.paper_scaling_bits = p.paper_formula == PaperFormula::kNominal ? 16 * scale_words / n : 0;
  result.seconds = now_seconds() - started;
  trace.scalar("salient_ratio", result.salient_ratio);
  trace.scalar("groups", static_cast<double>(result.groups));
  trace.scalar("relative_error", result.relative_error);
  result.outcome = outcome_of(trace);
  return result;
}

}  // namespace sage
