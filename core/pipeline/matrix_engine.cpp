#include "core/pipeline/matrix_engine.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <functional>
#include <limits>
#include <numeric>
#include <optional>

#include "core/backend/memory.h"
#include "core/pipeline/block_planner.h"
#include "core/pipeline/column_coder.h"
#include "core/pipeline/gram_loss.h"
#include "core/pipeline/group_labels.h"
#include "core/pipeline/plane_store.h"
#include "core/pipeline/segments.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {
namespace {

constexpr const char* kColumnSegments = "column_segments";
constexpr const char* kSalientPrefix = "salient_";
constexpr int64_t kMostScattered = 256;  // segment ids are symbols of one byte

void check_finite(const MatrixStats& stats, const MatrixJob& job) {
  if (stats.nonfinite > 0)
    throw RunError("{}: {} of its {} weights are NaN or infinite; expected finite weights; check the checkpoint it came from", job.id.name,
                   stats.nonfinite, job.weights.size());
}

double parameter_bits(const Pipeline& p, const FittedTransform& t, int64_t weights) {
  return static_cast<double>(t.number_count()) * (p.numerics == Numerics::kPacked ? 16 : 32) / static_cast<double>(weights);
}

// W' = T(W): W itself, or a copy in `storage`.
WeightView transformed(const Pipeline& p, const FittedTransform& t, WeightView w, Matrix& storage, const Backend& backend) {
  if (p.transform->is_identity()) return w;
  storage = Matrix::copy(w);
  t.apply(storage.view(), backend);
  return storage.view();
}

// The factors of the inverse Hessian a pipeline works with, and the order of columns they are in.
class Calibration {
 public:
  Calibration(const Pipeline& p, const MatrixJob& job, const FittedTransform& t, const Backend& backend) {
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

  bool present() const { return factor_ != nullptr; }
  WeightView upper() const { return present() ? factor_->upper.view() : WeightView(); }
  std::span<const float> diagonal() const { return diagonal_; }
  std::span<const float> inverse_diagonal() const { return inverse_diagonal_; }
  std::span<const int32_t> dead() const { return present() ? std::span<const int32_t>(factor_->dead) : std::span<const int32_t>(); }
  std::vector<int64_t> order(int64_t cols) const {
    std::vector<int64_t> out(static_cast<size_t>(cols));
    if (present() && !factor_->order.empty()) std::copy(factor_->order.begin(), factor_->order.end(), out.begin());
    else std::iota(out.begin(), out.end(), int64_t{0});
    return out;
  }
  void report(Trace& trace) const {
    if (!present()) return;
    trace.scalar("hessian.percdamp", factor_->percdamp);
    trace.scalar("hessian.damping_retries", factor_->retries);
    trace.scalar("hessian.dead_columns", static_cast<double>(factor_->dead.size()));
  }

 private:
  const HessianFactor* factor_ = nullptr;
  HessianFactor own_;
  std::vector<float> diagonal_, inverse_diagonal_;
};

// The best of several pipelines for this matrix, by the objective of their thresholds on a sample of its rows.
int choose_alternative(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend, Trace& trace) {
  if (factory.alternatives() == 1) return 0;
  const WeightView w = job.weights;
  Trace silent(false);
  struct Input {
    Matrix sample;
    HeldMemory held;  // the sample
    double bits = 0;
    std::unique_ptr<Calibration> calibration;
  };
  // Alternatives are independent, so they run side by side; the choice among them does not depend on which finishes first. Most
  // share their transform, which works on the whole matrix, and the order of columns the factor is in: both are made once.
  std::map<std::string, Input> inputs;
  const auto key = [&](int a, const Pipeline& p) { return factory.transform_key(a) + (p.activation_order ? " by activation" : ""); };
  for (int a = 0; a < factory.alternatives(); ++a) {
    const Pipeline p = factory.make(a);
    const auto [it, fresh] = inputs.try_emplace(key(a, p));
    if (!fresh && (it->second.calibration->present() || !p.needs_calibration())) continue;
    const std::unique_ptr<FittedTransform> t = p.transform->fit(BlockContext{w, 0, backend, job.id, job.seed, p.numerics, &silent});
    it->second.calibration = std::make_unique<Calibration>(p, job, *t, backend);
    if (!fresh) continue;
    Matrix storage;
    const WeightView v = transformed(p, *t, w, storage, backend);
    std::optional<Matrix> sample = trial_sample(v, p.trial_weights);
    it->second.sample = sample ? std::move(*sample) : Matrix::copy(v);
    it->second.held = hold(backend, it->second.sample.view());
    it->second.bits = parameter_bits(p, *t, w.size());
  }
  std::vector<double> objectives(static_cast<size_t>(factory.alternatives()));
  std::vector<std::exception_ptr> failures(objectives.size());
#pragma omp parallel for schedule(dynamic)
  for (int a = 0; a < factory.alternatives(); ++a) {
    try {
      Trace unheard(false);
      const Pipeline p = factory.make(a);
      const Input& input = inputs.at(key(a, p));
      BlockContext ctx{input.sample.view(), 0, backend, job.id, job.seed, p.numerics, &unheard};
      ctx.factor_diagonal = input.calibration->diagonal();
      ctx.inverse_diagonal = input.calibration->inverse_diagonal();
      objectives[static_cast<size_t>(a)] = BlockPlanner(p, ctx, w.rows, input.bits).plan(true).objective;
    } catch (...) {
      failures[static_cast<size_t>(a)] = std::current_exception();
    }
  }
  for (const std::exception_ptr& f : failures)
    if (f) std::rethrow_exception(f);
  int best = 0;
  for (size_t a = 0; a < objectives.size(); ++a) {
    trace.scalar(fmt::format("alternative.{}.objective", a), objectives[a]);
    if (objectives[a] < objectives[static_cast<size_t>(best)]) best = static_cast<int>(a);
  }
  return best;
}

// One matrix on its way through one pipeline.
class MatrixCoder {
 public:
  MatrixCoder(const Pipeline& p, const MatrixJob& job, const Backend& backend, Trace& trace)
      : p_(p), job_(job), backend_(backend), trace_(trace), writer_(p.numerics), decoded_(job.weights.rows, job.weights.cols) {}

  void run() {
    const WeightView w = job_.weights;
    transform_ = p_.transform->fit(context(w, 0));
    transform_->emit(writer_);
    transform_bits_ = parameter_bits(p_, *transform_, w.size());
    Matrix transformed_storage;
    original_ = transformed(p_, *transform_, w, transformed_storage, backend_);
    const HeldMemory held = hold(backend_, transformed_storage.view());  // w itself is held already
    const Calibration calibration(p_, job_, *transform_, backend_);
    calibration.report(trace_);
    calibration_ = &calibration;
    order_ = calibration.order(w.cols);
    prepare_work();
    make_segments();

    fit_upfront();
    ColumnCoderJob coding{p_, backend_, weights_, nullptr, order_, {}, unsalient_, salient_, {}, decoded_.view()};
    if (p_.compensator->needs_calibration()) {
      coding.work = &work_;
      coding.factor = calibration.upper();
    }
    coding.fit_segments = [this](int64_t first, int64_t last) { fit_due(first, last); };
    const double loss = code_columns(coding);
    if (p_.compensator->needs_calibration()) trace_.scalar("compensation.loss", loss);
    emit();
    calibration_ = nullptr;
  }

  PlaneWriter& writer() { return writer_; }
  const SaliencyMask& mask() const { return *mask_; }
  Matrix& decoded() { return decoded_; }
  const FittedTransform& transform() const { return *transform_; }
  double weight_bits() const { return weight_bits_; }
  double scale_words() const { return scale_words_; }
  int64_t groups() const { return groups_; }

 private:
  BlockContext context(WeightView v, int64_t first) const {
    return BlockContext{v, first, backend_, job_.id, job_.seed, p_.numerics, &trace_};
  }

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

  void make_segments() {
    const int64_t m = job_.weights.cols;
    if (p_.scattered_segments()) {
      sets_ = ordered_segments(order_, p_.scope.columns);
      if (static_cast<int64_t>(sets_.size()) > kMostScattered)
        throw RunError("{}: {} segments of {} columns with column_order activation; expected at most {}; use wider segments, or fit them upfront "
                       "(segment_weights: cleaned)",
                       job_.id.name, sets_.size(), p_.scope.columns, kMostScattered);
      salient_sets_ = sets_;
    } else {
      sets_ = contiguous_segments(m, p_.scope.columns);
      salient_sets_ = contiguous_segments(m, p_.salient_scope.columns);
    }
    plans_.resize(sets_.size());
    for (const ColumnSet& s : sets_) unsalient_.push_back({s, nullptr});
    if (!p_.saliency->never_selects()) {
      for (const ColumnSet& s : salient_sets_) salient_.push_back({s, nullptr});
      salient_masks_.assign(salient_sets_.size(), SaliencyMask::none(0, 0));
    }
  }

  // The columns of a set as they are at the moment the scope says, in stored order.
  WeightView weights_of(const ColumnSet& set, Scope::Weights when, Matrix& storage) {
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

  struct SegmentContext {
    Matrix storage;
    HeldMemory held;
    std::vector<float> diagonal, inverse_diagonal;
    std::optional<BlockContext> ctx;
  };
  void open(SegmentContext& s, const ColumnSet& set, Scope::Weights when) {
    s.diagonal = set.gather(calibration_->diagonal());
    s.inverse_diagonal = set.gather(calibration_->inverse_diagonal());
    s.ctx.emplace(context(weights_of(set, when, s.storage), set.first()));
    // The original and the cleaned matrix are held already. A copy of their columns is not, nor is the working copy, which
    // changes between fits but not during one.
    const WeightView v = s.ctx->weights;
    const std::less<> before;
    const View<float> work = work_.host();
    const bool in_work = !before(v.data, work.data) && before(v.data, work.data + work.size());
    if (s.storage.size() > 0 || in_work) s.held = hold(backend_, v);
    s.ctx->factor_diagonal = s.diagonal;
    s.ctx->inverse_diagonal = s.inverse_diagonal;
  }

  void fit_unsalient(size_t index) {
    SegmentContext s;
    open(s, sets_[index], p_.scope.weights);
    const BlockContext& ctx = *s.ctx;
    SegmentPlan& plan = plans_[index];
    const std::optional<Matrix> sample =
        p_.threshold->needs_trials() && !p_.saliency->never_selects() ? trial_sample(ctx.weights, p_.trial_weights) : std::nullopt;
    const BlockPlanner planner(p_, ctx, job_.weights.rows, transform_bits_);
    if (sample) {
      // Search on the sample, then cut the segment itself at the ratio found.
      BlockContext sub = ctx;
      sub.weights = sample->view();
      const HeldMemory held = hold(backend_, sub.weights);
      plan = planner.plan_at_ratio(BlockPlanner(p_, sub, job_.weights.rows, transform_bits_).plan(false).mask.ratio());
    } else {
      plan = planner.plan(false);
    }
    trace_segment(plan, sets_[index]);
    unsalient_[index].fit = p_.quantizer->fit(ctx, unsalient_of(plan.mask), plan.groups, plan.threshold);
    unsalient_[index].fit->start_coding();
    place_mask(plan.mask, sets_[index]);
  }

  void place_mask(const SaliencyMask& mask, const ColumnSet& set) {
    salient_count_ += mask.count();
    if (mask.shape() == MaskShape::kNone) return;
    shape_ = mask.shape();
    if (whole_.rows() == 0) whole_ = BitMask(shape_ == MaskShape::kElements ? job_.weights.rows : 1, job_.weights.cols);
    set.place(mask.bits(), whole_);
  }

  SaliencyMask whole_mask() const {
    if (shape_ == MaskShape::kNone) return SaliencyMask::none(job_.weights.rows, job_.weights.cols);
    return shape_ == MaskShape::kElements ? SaliencyMask::elements(whole_) : SaliencyMask::columns(job_.weights.rows, whole_);
  }

  void fit_salient(size_t index) {
    SaliencyMask& mask = salient_masks_[index];
    mask = salient_sets_[index].gather(whole_mask());
    if (mask.count() == 0) {
      mask = SaliencyMask::none(job_.weights.rows, salient_sets_[index].size());
      return;
    }
    SegmentContext s;
    open(s, salient_sets_[index], p_.salient_scope.weights);
    // The score at the cut of the segment it lies in; of the first one where it spans several.
    double threshold = 0;
    if (p_.scattered_segments()) threshold = plans_[index].threshold;  // the two slots have the same segments
    else
      for (size_t k = 0; k < sets_.size() && threshold == 0; ++k)
        if (sets_[k].first() + sets_[k].size() > salient_sets_[index].first()) threshold = plans_[k].threshold;
    salient_[index].fit =
        p_.salient_quantizer->fit(*s.ctx, salient_of(mask), GroupMap::single(job_.weights.rows, salient_sets_[index].size()), threshold);
    salient_[index].fit->start_coding();
  }

  // Without a compensator nothing changes on the way: everything is fitted first, the selection before what rests on it.
  bool late(const Scope& scope) const { return p_.compensator->needs_calibration() && scope.weights == Scope::Weights::kCompensated; }

  void fit_upfront() {
    if (!late(p_.scope))
      for (size_t k = 0; k < sets_.size(); ++k) fit_unsalient(k);
    if (!late(p_.salient_scope))
      for (size_t k = 0; k < salient_.size(); ++k) fit_salient(k);
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
      for (size_t k = 0; k < sets_.size(); ++k)
        if (begins(sets_[k])) fit_unsalient(k);
    if (late(p_.salient_scope))
      for (size_t k = 0; k < salient_.size(); ++k)
        if (begins(salient_sets_[k])) fit_salient(k);
  }

  void emit() {
    if (p_.scattered_segments() && sets_.size() > 1) {
      std::vector<uint8_t> ids(static_cast<size_t>(job_.weights.cols));
      for (size_t k = 0; k < sets_.size(); ++k)
        for (const int64_t c : sets_[k].columns()) ids[static_cast<size_t>(c)] = static_cast<uint8_t>(k);
      writer_.symbols(kColumnSegments, Role::kGroupIndex, static_cast<int>(sets_.size()), std::move(ids));
    }
    for (size_t k = 0; k < sets_.size(); ++k) {
      const GroupMap& groups = plans_[k].groups;
      writer_.integer("groups", groups.groups);
      if (!groups.implied && groups.groups > 1)
        writer_.symbols("group_index", Role::kGroupIndex, static_cast<int>(groups.groups), label_symbols(groups, unsalient_of(plans_[k].mask)));
      emit_fit(*unsalient_[k].fit);
      groups_ = std::max(groups_, groups.groups);
    }
    writer_.set_prefix(kSalientPrefix);
    for (CodedSegment& s : salient_)
      if (s.fit) emit_fit(*s.fit);
    writer_.set_prefix("");
    mask_ = whole_mask();
  }
  void emit_fit(FittedQuantizer& q) {
    q.emit(writer_);
    weight_bits_ += q.paper_count().weight_bits;
    scale_words_ += q.paper_count().scale_words;
  }

  void trace_segment(const SegmentPlan& plan, const ColumnSet& set) const {
    if (!trace_.enabled()) return;
    const SaliencyMask& mask = plan.mask;
    const std::string suffix = set.first() == 0 ? "" : fmt::format("@{}", set.first());
    std::vector<double> bits(static_cast<size_t>(mask.rows() * mask.cols())), labels(bits.size());
    for (int64_t i = 0; i < mask.rows(); ++i)
      for (int64_t j = 0; j < mask.cols(); ++j) {
        bits[static_cast<size_t>(i * mask.cols() + j)] = mask.test(i, j) ? 1 : 0;
        labels[static_cast<size_t>(i * mask.cols() + j)] = plan.groups.at(i, j);
      }
    trace_.array("mask" + suffix, {mask.rows(), mask.cols()}, std::move(bits));
    trace_.array("labels" + suffix, {mask.rows(), mask.cols()}, std::move(labels));
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
  const Calibration* calibration_ = nullptr;
  double transform_bits_ = 0;
  WeightView original_, cleaned_, weights_;
  std::vector<int64_t> order_, position_;
  std::vector<ColumnSet> sets_, salient_sets_;
  std::vector<SegmentPlan> plans_;              // of sets_; masks and groups outlive the fits that refer to them
  std::vector<SaliencyMask> salient_masks_;     // of salient_sets_
  std::vector<CodedSegment> unsalient_, salient_;
  BitMask whole_;
  MaskShape shape_ = MaskShape::kNone;
  std::optional<SaliencyMask> mask_;
  int64_t groups_ = 0, salient_count_ = 0;
  double weight_bits_ = 0, scale_words_ = 0;
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
  result.storage.paper_weight_bits = coder.weight_bits() / n;
  const double scale_words = coder.scale_words() + coder.transform().paper_scale_words();
  result.storage.paper_scaling_bits = p.paper_formula == PaperFormula::kNominal ? 16 * scale_words / n : 0;
  result.seconds = now_seconds() - started;
  trace.scalar("salient_ratio", result.salient_ratio);
  trace.scalar("groups", static_cast<double>(result.groups));
  trace.scalar("relative_error", result.relative_error);
  result.outcome = outcome_of(trace);
  return result;
}

Matrix decode_matrix(const PipelineFactory& factory, const QuantizedMatrix& packed, const std::string& name, const Backend& backend) {
  const PlaneHeader header = read_plane_header(packed, name);
  if (header.alternative >= factory.alternatives())
    throw ResourceError("{}: its header asks for pipeline alternative {}; expected one of the recipe's {}; the packed file does not match its config.json", name,
                        header.alternative, factory.alternatives());
  const Pipeline p = factory.make(header.alternative);
  PlaneReader reader = load_planes(p, header, packed, name);
  const SaliencyMask mask = load_mask(p, header, packed, name);
  Matrix out(packed.rows, packed.cols);

  std::vector<ColumnSet> sets, salient_sets;
  const int64_t count = p.scope.columns > 0 ? (packed.cols + p.scope.columns - 1) / p.scope.columns : 1;
  if (p.scattered_segments() && count > 1) {
    if (count > kMostScattered)
      throw ResourceError("{}: {} segments in stored order; expected at most {}; the packed file does not match its config.json", name, count, kMostScattered);
    sets = salient_sets = segments_of_ids(reader.symbols(kColumnSegments, packed.cols, static_cast<int>(count)), count);
    for (size_t k = 0; k < sets.size(); ++k)
      if (sets[k].size() != std::min(p.scope.columns, packed.cols - static_cast<int64_t>(k) * p.scope.columns))
        throw ResourceError("{}: segment {} has {} columns; expected {}; the packed file is damaged", name, k, sets[k].size(), p.scope.columns);
  } else {
    sets = contiguous_segments(packed.cols, p.scope.columns);
    salient_sets = contiguous_segments(packed.cols, p.salient_scope.columns);
  }
  // Decodes into the columns of a set: in place where they stand side by side.
  const auto into = [&](const ColumnSet& set, const auto& decode) {
    if (set.contiguous()) return decode(out.view().columns(set.first(), set.first() + set.size()));
    Matrix part;
    set.gather(out.view(), part);
    decode(part.view());
    set.scatter(part.view(), out.view());
  };
  for (const ColumnSet& set : sets) {
    const SaliencyMask part = set.gather(mask);
    const int64_t groups = reader.integer("groups", 1, p.grouping->max_groups(packed.rows, set.size()));
    GroupMap map = p.grouping->layout(packed.rows, set.size(), groups);
    if (!map.implied) {
      if (groups > 1) fill_labels(map, unsalient_of(part), reader);
      else map = GroupMap::single(packed.rows, set.size());
    }
    into(set, [&](View<float> columns) { p.quantizer->decode(reader, unsalient_of(part), map, columns); });
  }
  reader.set_prefix(kSalientPrefix);
  for (const ColumnSet& set : salient_sets) {
    const SaliencyMask part = set.gather(mask);
    if (part.count() == 0) continue;
    into(set, [&](View<float> columns) {
      p.salient_quantizer->decode(reader, salient_of(part), GroupMap::single(packed.rows, set.size()), columns);
    });
  }
  reader.set_prefix("");
  p.transform->invert(reader, out.view(), backend);
  reader.expect_consumed();
  return out;
}

}  // namespace sage
