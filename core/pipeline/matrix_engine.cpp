#include "core/pipeline/matrix_engine.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>

#include "core/pipeline/plane_store.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {
namespace {

// Everything decided about one block before its weights are coded.
struct BlockPlan {
  SaliencyMask mask = SaliencyMask::none(0, 0);
  double threshold = 0;
  GroupMap groups;
  double objective = 0;
};

struct BlockFits {
  std::unique_ptr<FittedQuantizer> unsalient, salient;
};

Selection unsalient_of(const SaliencyMask& mask) { return {&mask, false}; }
Selection salient_of(const SaliencyMask& mask) { return {&mask, true}; }

// 64 bits starting at bit `first` of a row of words.
uint64_t bits_from(const uint64_t* words, int64_t word_count, int64_t first) {
  const int64_t w = first >> 6, shift = first & 63;
  uint64_t v = words[w] >> shift;
  if (shift != 0 && w + 1 < word_count) v |= words[w + 1] << (64 - shift);
  return v;
}

// Columns [first, last) of a mask.
SaliencyMask mask_columns(const SaliencyMask& mask, int64_t first, int64_t last) {
  if (first == 0 && last == mask.cols()) return mask;
  if (mask.shape() == MaskShape::kNone) return SaliencyMask::none(mask.rows(), last - first);
  const BitMask& from = mask.bits();
  BitMask to(from.rows(), last - first);
  for (int64_t i = 0; i < from.rows(); ++i)
    for (int64_t w = 0; w < to.words_per_row(); ++w)
      to.row(i)[w] = bits_from(from.row(i), from.words_per_row(), first + w * 64) & to.valid_bits(w);
  return mask.shape() == MaskShape::kElements ? SaliencyMask::elements(std::move(to)) : SaliencyMask::columns(mask.rows(), std::move(to));
}

// Writes a block's mask into the mask of the whole matrix.
void place_columns(BitMask& whole, const BitMask& block, int64_t first) {
  for (int64_t i = 0; i < whole.rows(); ++i)
    for (int64_t w = 0; w < block.words_per_row(); ++w) {
      const uint64_t bits = block.row(i)[w];
      const int64_t at = first + w * 64, shift = at & 63;
      whole.row(i)[at >> 6] |= bits << shift;
      if (shift != 0 && (bits >> (64 - shift)) != 0) whole.row(i)[(at >> 6) + 1] |= bits >> (64 - shift);
    }
}

std::vector<uint8_t> label_symbols(const GroupMap& g, const Selection& own) {
  std::vector<uint8_t> out;
  if (g.shape != LabelShape::kElement) {
    out.assign(g.label.begin(), g.label.end());
    return out;
  }
  if (own.all()) return g.element;
  out.resize(static_cast<size_t>(own.count()));
  size_t at = 0;
  for (int64_t i = 0; i < own.rows(); ++i) {
    const uint8_t* row = g.element.data() + i * g.cols;
    for (int64_t w = 0; w < own.mask->words_per_row(); ++w) {
      uint64_t bits = own.word(i, w);
      const int64_t base = w * 64, width = std::min<int64_t>(64, g.cols - base);
      if (bits == (width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1)) {
        std::copy_n(row + base, width, out.data() + at);
        at += static_cast<size_t>(width);
        continue;
      }
      for (; bits != 0; bits &= bits - 1) out[at++] = row[base + __builtin_ctzll(bits)];
    }
  }
  return out;
}

void fill_labels(GroupMap& g, const Selection& own, PlaneReader& reader) {
  const int alphabet = static_cast<int>(g.groups);
  if (g.shape == LabelShape::kElement) {
    const std::span<const uint8_t> symbols = reader.symbols("group_index", own.count(), alphabet);
    g.element.assign(static_cast<size_t>(g.rows * g.cols), 0);
    size_t at = 0;
    for (int64_t i = 0; i < own.rows(); ++i)
      for (int64_t w = 0; w < own.mask->words_per_row(); ++w)
        for (uint64_t bits = own.word(i, w); bits != 0; bits &= bits - 1)
          g.element[static_cast<size_t>(i * g.cols + w * 64 + __builtin_ctzll(bits))] = symbols[at++];
    return;
  }
  int64_t count = 0;
  switch (g.shape) {
    case LabelShape::kRow: count = g.rows; break;
    case LabelShape::kColumn: count = g.cols; break;
    case LabelShape::kRowBlock: count = g.rows * g.blocks_per_row(); break;
    default: break;
  }
  const std::span<const uint8_t> symbols = reader.symbols("group_index", count, alphabet);
  g.label.assign(symbols.begin(), symbols.end());
}

// Bits the group ids of a block will take, without coding them.
double label_bits(const Pipeline& p, const BlockContext& ctx, const SaliencyMask& mask, const GroupMap& g) {
  if (g.implied || g.groups <= 1) return 0;
  SymbolCount count{static_cast<int>(g.groups), 0, std::vector<int64_t>(static_cast<size_t>(g.groups), 0)};
  if (g.shape == LabelShape::kElement) {
    std::vector<Moments> moments(static_cast<size_t>(g.groups));
    ctx.backend.group_moments(ctx.weights, unsalient_of(mask), g, moments);
    for (size_t k = 0; k < moments.size(); ++k) count.histogram[k] = moments[k].count;
    count.count = mask.rows() * mask.cols() - mask.count();
  } else {
    for (uint32_t l : g.label) ++count.histogram[l];
    count.count = static_cast<int64_t>(g.label.size());
  }
  return p.group_index_coder->symbol_bits(count);
}

class BlockPlanner {
 public:
  BlockPlanner(const Pipeline& pipeline, const BlockContext& ctx, int64_t matrix_rows, double transform_bits_per_weight)
      : p_(pipeline), ctx_(ctx), matrix_rows_(matrix_rows), transform_bits_(transform_bits_per_weight) {}

  BlockFits fit(const SaliencyMask& mask, const GroupMap& groups, double threshold) const {
    BlockFits f;
    f.unsalient = p_.quantizer->fit(ctx_, unsalient_of(mask), groups, threshold);
    if (mask.shape() != MaskShape::kNone) f.salient = p_.salient_quantizer->fit(ctx_, salient_of(mask), GroupMap::single(mask.rows(), mask.cols()), threshold);
    return f;
  }

  TrialResult trial(const SaliencyMask& mask, const GroupMap& groups, double threshold) const {
    const BlockFits fits = fit(mask, groups, threshold);
    const double n = static_cast<double>(ctx_.weights.size());
    double error = fits.unsalient->squared_error(), bits = label_bits(p_, ctx_, mask, groups), weight_bits = 0, scale_words = 0;
    for (const FittedQuantizer* q : {fits.unsalient.get(), fits.salient.get()}) {
      if (q == nullptr) continue;
      if (q == fits.salient.get()) error += q->squared_error();
      for (const SymbolCount& c : q->symbol_counts()) bits += c.alphabet == 2 ? p_.sign_coder->symbol_bits(c) : p_.code_coder->symbol_bits(c);
      bits += static_cast<double>(q->number_count()) * (p_.numerics == Numerics::kPacked ? 16 : 32);
      weight_bits += q->paper_count().weight_bits;
      scale_words += q->paper_count().scale_words;
    }
    // Column flags are stored once for all rows of the matrix; a trial that looks at a share of the rows pays that share.
    if (mask.shape() == MaskShape::kColumns)
      bits += p_.salient_index_coder->position_bits(mask.bits()) * static_cast<double>(mask.rows()) / static_cast<double>(matrix_rows_);
    else if (mask.shape() == MaskShape::kElements)
      bits += p_.salient_index_coder->position_bits(mask.bits());
    TrialResult r;
    if (!energy_) energy_ = ctx_.backend.matrix_stats(ctx_.weights).moments.sq_sum;
    r.relative_error = *energy_ > 0 ? error / *energy_ : 0;
    r.stored_bits = bits / n + transform_bits_;
    r.paper_bits = (weight_bits + (p_.paper_formula == PaperFormula::kNominal ? 16 * scale_words : 0)) / n;
    return r;
  }

  // Chooses cut, mask and groups for the block.
  BlockPlan plan(bool want_objective) const {
    BlockPlan out;
    const int64_t rows = ctx_.weights.rows, cols = ctx_.weights.cols;
    if (p_.saliency->never_selects()) {
      out.mask = SaliencyMask::none(rows, cols);
    } else {
      const std::unique_ptr<SaliencyScores> scores = p_.saliency->score(ctx_);
      std::optional<int64_t> fixed_groups;
      SearchProblem problem;
      problem.weights = rows * cols;
      problem.paper_weight_bits = [this](double r) { return (1 - r) * p_.quantizer->nominal_bits() + r * p_.salient_quantizer->nominal_bits(); };
      problem.trial = [&](const Cut& cut) {
        const SaliencyMask mask = scores->select(cut);
        if (!fixed_groups) {
          const SaliencyMask lowest = scores->select({Cut::Unit::kRatio, p_.threshold->lowest_ratio()});
          fixed_groups = p_.grouping->prepare(ctx_, lowest, std::nullopt)->groups();
        }
        const GroupMap groups = p_.grouping->prepare(ctx_, mask, fixed_groups)->assign(ctx_, mask);
        return trial(mask, groups, scores->threshold(cut));
      };
      const SearchOutcome outcome = p_.threshold->search(problem);
      out.mask = scores->select(outcome.cut);
      out.threshold = scores->threshold(outcome.cut);
      out.objective = outcome.objective;
      report(outcome);
    }
    if (out.mask.count() == 0) out.mask = SaliencyMask::none(rows, cols);  // an empty index would be paid for nothing
    out.groups = p_.grouping->prepare(ctx_, out.mask, std::nullopt)->assign(ctx_, out.mask);
    if (want_objective) out.objective = p_.threshold->objective(trial(out.mask, out.groups, out.threshold));
    return out;
  }

 private:
  void report(const SearchOutcome& outcome) const {
    ctx_.trace->scalar("threshold.cut", outcome.cut.value);
    ctx_.trace->scalar("threshold.evaluations", static_cast<double>(outcome.path.size()));
    if (!ctx_.trace->enabled() || outcome.path.empty()) return;
    std::vector<double> rows;
    for (const SearchOutcome::Point& pt : outcome.path)
      rows.insert(rows.end(), {pt.cut.value, pt.result.relative_error, pt.result.paper_bits, pt.result.stored_bits, pt.objective});
    ctx_.trace->array("threshold.path", {static_cast<int64_t>(outcome.path.size()), 5}, std::move(rows));
  }

  const Pipeline& p_;
  const BlockContext& ctx_;
  int64_t matrix_rows_;
  double transform_bits_;
  mutable std::optional<double> energy_;  // sum w^2 of what the trials see; a plain cut never needs it
};

// About `weights` weights of w: whole rows, evenly spaced. Empty when all of w is wanted.
std::optional<Matrix> trial_sample(WeightView w, int64_t weights) {
  const int64_t rows = weights <= 0 ? w.rows : std::clamp<int64_t>((weights + w.cols - 1) / std::max<int64_t>(w.cols, 1), 1, w.rows);
  if (rows >= w.rows) return std::nullopt;
  Matrix m(rows, w.cols);
  for (int64_t i = 0; i < rows; ++i) std::copy_n(w.row((2 * i + 1) * w.rows / (2 * rows)), w.cols, m.row(i));
  return m;
}

void check_finite(const MatrixStats& stats, const MatrixJob& job) {
  if (stats.nonfinite > 0)
    throw RunError("{}: {} of its {} weights are NaN or infinite; expected finite weights; check the checkpoint it came from", job.id.name,
                   stats.nonfinite, job.weights.size());
}

struct Quantization {
  PlaneWriter writer;
  SaliencyMask mask = SaliencyMask::none(0, 0);
  Matrix decoded;
  MatrixStorage storage;
  int64_t groups = 0;
};

void trace_block(Trace& trace, const SaliencyMask& mask, const GroupMap& groups, int64_t first_column) {
  if (!trace.enabled()) return;
  const std::string suffix = first_column == 0 ? "" : fmt::format("@{}", first_column);
  std::vector<double> bits(static_cast<size_t>(mask.rows() * mask.cols()));
  for (int64_t i = 0; i < mask.rows(); ++i)
    for (int64_t j = 0; j < mask.cols(); ++j) bits[static_cast<size_t>(i * mask.cols() + j)] = mask.test(i, j) ? 1 : 0;
  trace.array("mask" + suffix, {mask.rows(), mask.cols()}, std::move(bits));
  std::vector<double> labels(static_cast<size_t>(mask.rows() * mask.cols()));
  for (int64_t i = 0; i < mask.rows(); ++i)
    for (int64_t j = 0; j < mask.cols(); ++j) labels[static_cast<size_t>(i * mask.cols() + j)] = groups.at(i, j);
  trace.array("labels" + suffix, {mask.rows(), mask.cols()}, std::move(labels));
}

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
  const MatrixStats stats = backend.matrix_stats(w);
  check_finite(stats, job);

  MatrixResult result;
  const auto context = [&](WeightView v, int64_t first, const Pipeline& p, Trace& t) {
    return BlockContext{v, first, backend, job.id, job.seed, p.numerics, &t};
  };
  const auto transformed = [&](const Pipeline& p, const FittedTransform& t, Matrix& storage) -> WeightView {
    if (p.transform->is_identity()) return w;
    storage = Matrix::copy(w);
    t.apply(storage.view(), backend);
    return storage.view();
  };
  const auto transform_bits = [&](const Pipeline& p, const FittedTransform& t) {
    return static_cast<double>(t.number_count()) * (p.numerics == Numerics::kPacked ? 16 : 32) / static_cast<double>(w.size());
  };

  if (factory.alternatives() > 1) {
    // Alternatives are independent, so they run side by side; the choice among them does not depend on which finishes first.
    struct Transformed {
      Matrix sample;
      double bits = 0;
    };
    // Most alternatives share their transform, which works on the whole matrix: it is applied once.
    std::map<std::string, Transformed> inputs;
    for (int a = 0; a < factory.alternatives(); ++a) {
      const Pipeline p = factory.make(a);
      const auto [it, fresh] = inputs.try_emplace(factory.transform_key(a));
      if (!fresh) continue;
      const std::unique_ptr<FittedTransform> t = p.transform->fit(context(w, 0, p, silent));
      Matrix storage;
      const WeightView v = transformed(p, *t, storage);
      std::optional<Matrix> sample = trial_sample(v, p.trial_weights);
      it->second = {sample ? std::move(*sample) : Matrix::copy(v), transform_bits(p, *t)};
    }
    std::vector<double> objectives(static_cast<size_t>(factory.alternatives()));
    std::vector<std::exception_ptr> failures(objectives.size());
#pragma omp parallel for schedule(dynamic)
    for (int a = 0; a < factory.alternatives(); ++a) {
      try {
        Trace unheard(false);
        const Pipeline p = factory.make(a);
        const Transformed& input = inputs.at(factory.transform_key(a));
        const BlockContext ctx = context(input.sample.view(), 0, p, unheard);
        objectives[static_cast<size_t>(a)] = BlockPlanner(p, ctx, w.rows, input.bits).plan(true).objective;
      } catch (...) {
        failures[static_cast<size_t>(a)] = std::current_exception();
      }
    }
    for (const std::exception_ptr& f : failures)
      if (f) std::rethrow_exception(f);
    for (size_t a = 0; a < objectives.size(); ++a) {
      trace.scalar(fmt::format("alternative.{}.objective", a), objectives[a]);
      if (objectives[a] < objectives[static_cast<size_t>(result.alternative)]) result.alternative = static_cast<int>(a);
    }
  }

  const Pipeline p = factory.make(result.alternative);
  const std::unique_ptr<FittedTransform> transform = p.transform->fit(context(w, 0, p, trace));
  PlaneWriter writer(p.numerics);
  transform->emit(writer);
  Matrix work;
  WeightView current = transformed(p, *transform, work);
  if (p.compensator->needs_calibration()) {
    if (job.stats == nullptr || job.stats->gram.data == nullptr)
      throw RunError("{}: its compensator needs a Gram matrix and none was given; expected calibration statistics; add a calibration section or --gram", job.id.name);
    if (work.size() == 0) work = Matrix::copy(w);
    current = work.view();
  }

  const int64_t block = p.block_columns > 0 ? p.block_columns : w.cols;
  Matrix decoded(w.rows, w.cols);
  BitMask whole_elements, whole_columns(1, w.cols);
  MaskShape shape = MaskShape::kNone;
  double weight_bits = 0, scale_words = transform->paper_scale_words();
  int64_t salient = 0;
  SaliencyMask last_mask = SaliencyMask::none(w.rows, w.cols);
  for (int64_t first = 0; first < w.cols; first += block) {
    const int64_t last = std::min(first + block, w.cols);
    const BlockContext ctx = context(current.columns(first, last), first, p, trace);
    const std::optional<Matrix> sample = p.threshold->needs_trials() && !p.saliency->never_selects() ? trial_sample(ctx.weights, p.trial_weights) : std::nullopt;
    BlockPlan plan;
    if (sample) {
      // Search on the sample, then cut the block itself at the ratio found.
      const BlockContext sub = context(sample->view(), first, p, trace);
      const BlockPlanner planner(p, sub, w.rows, transform_bits(p, *transform));
      const double ratio = planner.plan(false).mask.ratio();
      const std::unique_ptr<SaliencyScores> scores = p.saliency->score(ctx);
      const Cut cut{Cut::Unit::kRatio, ratio};
      plan.mask = ratio > 0 ? scores->select(cut) : SaliencyMask::none(w.rows, last - first);
      if (plan.mask.count() == 0) plan.mask = SaliencyMask::none(w.rows, last - first);
      plan.threshold = ratio > 0 ? scores->threshold(cut) : 0;
      plan.groups = p.grouping->prepare(ctx, plan.mask, std::nullopt)->assign(ctx, plan.mask);
    } else {
      plan = BlockPlanner(p, ctx, w.rows, transform_bits(p, *transform)).plan(false);
    }
    trace_block(trace, plan.mask, plan.groups, first);

    const Selection own = unsalient_of(plan.mask), own_salient = salient_of(plan.mask);
    std::unique_ptr<FittedQuantizer> unsalient = p.quantizer->fit(ctx, own, plan.groups, plan.threshold);
    std::unique_ptr<FittedQuantizer> salient_fit;
    if (plan.mask.shape() != MaskShape::kNone)
      salient_fit = p.salient_quantizer->fit(ctx, own_salient, GroupMap::single(w.rows, last - first), plan.threshold);
    unsalient->start_coding();
    if (salient_fit) salient_fit->start_coding();
    const View<float> out = decoded.view().columns(first, last);
    const int64_t step = p.compensator->columnwise() ? 1 : last - first;
    for (int64_t c = 0; c < last - first; c += step) {
      unsalient->encode(ctx.weights.columns(c, c + step), 0, c, out.columns(c, c + step));
      if (salient_fit) salient_fit->encode(ctx.weights.columns(c, c + step), 0, c, out.columns(c, c + step));
    }

    writer.integer("groups", plan.groups.groups);
    if (!plan.groups.implied && plan.groups.groups > 1)
      writer.symbols("group_index", Role::kGroupIndex, static_cast<int>(plan.groups.groups), label_symbols(plan.groups, own));
    for (FittedQuantizer* q : {unsalient.get(), salient_fit.get()}) {
      if (q == nullptr) continue;
      q->emit(writer);
      weight_bits += q->paper_count().weight_bits;
      scale_words += q->paper_count().scale_words;
    }
    if (plan.mask.shape() == MaskShape::kElements) {
      if (whole_elements.rows() == 0) whole_elements = BitMask(w.rows, w.cols);
      place_columns(whole_elements, plan.mask.bits(), first);
      shape = MaskShape::kElements;
    } else if (plan.mask.shape() == MaskShape::kColumns) {
      place_columns(whole_columns, plan.mask.bits(), first);
      shape = MaskShape::kColumns;
    }
    result.groups = std::max(result.groups, plan.groups.groups);
    salient += plan.mask.count();
  }
  SaliencyMask mask = SaliencyMask::none(w.rows, w.cols);
  if (shape == MaskShape::kElements) mask = SaliencyMask::elements(std::move(whole_elements));
  if (shape == MaskShape::kColumns) mask = SaliencyMask::columns(w.rows, std::move(whole_columns));
  result.packed = store_planes(p, writer, mask, result.alternative);

  if (!p.transform->is_identity()) {
    PlaneWriter transform_planes(p.numerics);
    transform->emit(transform_planes);
    PlaneReader reader(transform_planes.symbol_planes(), transform_planes.number_planes(), transform_planes.integers(), job.id.name);
    p.transform->invert(reader, decoded.view(), backend);
  }
  const double n = static_cast<double>(w.size());
  result.relative_error = stats.moments.sq_sum > 0 ? backend.squared_distance(w, decoded.view()) / stats.moments.sq_sum : 0;
  result.dequantized = std::move(decoded);
  result.salient_ratio = static_cast<double>(salient) / n;
  result.storage.weights = w.size();
  result.storage.bytes = storage_by_role(result.packed);
  result.storage.paper_weight_bits = weight_bits / n;
  result.storage.paper_scaling_bits = p.paper_formula == PaperFormula::kNominal ? 16 * scale_words / n : 0;
  result.seconds = now_seconds() - started;
  trace.scalar("salient_ratio", result.salient_ratio);
  trace.scalar("groups", static_cast<double>(result.groups));
  trace.scalar("relative_error", result.relative_error);
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
  const int64_t block = p.block_columns > 0 ? p.block_columns : packed.cols;
  for (int64_t first = 0; first < packed.cols; first += block) {
    const int64_t last = std::min(first + block, packed.cols);
    const SaliencyMask part = mask_columns(mask, first, last);
    const int64_t groups = reader.integer("groups", 1, p.grouping->max_groups(packed.rows, last - first));
    GroupMap map = p.grouping->layout(packed.rows, last - first, groups);
    if (!map.implied) {
      if (groups > 1) fill_labels(map, unsalient_of(part), reader);
      else map = GroupMap::single(packed.rows, last - first);
    }
    const View<float> block_out = out.view().columns(first, last);
    p.quantizer->decode(reader, unsalient_of(part), map, block_out);
    if (part.count() > 0) p.salient_quantizer->decode(reader, salient_of(part), GroupMap::single(packed.rows, last - first), block_out);
  }
  p.transform->invert(reader, out.view(), backend);
  reader.expect_consumed();
  return out;
}

}  // namespace sage
