#include "core/model/parity.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>

#include "core/model/block_stream.h"
#include "core/model/forward.h"
#include "core/util/errors.h"

namespace sage {

namespace {

constexpr double kRounding = 0x1p-19;

// One expected tensor, read and checked against the shape the model implies.
class Expected {
 public:
  Expected(const SafetensorsFile& file, const std::string& name, const std::vector<int64_t>& shape) {
    const TensorInfo& t = file.at(name);
    if (t.shape != shape)
      throw ResourceError("{}: tensor '{}': found shape {}; expected [{}]; the file does not belong to this model", file.path(),
                          name, t.shape_text(), fmt::join(shape, ", "));
    values_ = file.load_doubles(name);
  }
  double operator[](int64_t i) const { return values_[static_cast<size_t>(i)]; }
  int64_t size() const { return static_cast<int64_t>(values_.size()); }

 private:
  std::vector<double> values_;
};

class Comparison {
 public:
  Comparison(std::string tensor, double tolerance) : tolerance_(tolerance) { row_.tensor = std::move(tensor); }

  template <class Place>
  void add(double ours, double expected, const Place& place) {
    const double d = std::abs(ours - expected);
    ++row_.values;
    if (std::isfinite(d)) {
      if (d > row_.max_abs) {
        row_.max_abs = d;
        row_.max_abs_at = expected;
      }
      sum_ += d;
    } else {
      row_.max_abs = sum_ = std::numeric_limits<double>::infinity();
    }
    if (!(std::isfinite(d) && d <= tolerance_ + kRounding * std::abs(expected)) && row_.within) {
      row_.within = false;
      row_.first_place = place();
      row_.first_ours = ours;
      row_.first_expected = expected;
    }
  }
  ParityRow finish() {
    row_.mean_abs = row_.values == 0 ? 0.0 : sum_ / static_cast<double>(row_.values);
    return row_;
  }

 private:
  ParityRow row_;
  double tolerance_;
  double sum_ = 0;
};

class Checker {
 public:
  Checker(const Family& family, const WeightSource& source, const SafetensorsFile& expected, const Backend& backend,
          double tolerance)
      : source_(source), config_(source.config()), family_(family), expected_(expected), backend_(backend) {
    report_.tolerance = tolerance;
    check_forward(family_, config_, backend_);
    check_tensors(family_, source_);
    const TensorInfo& ids = expected_.at("input_ids");
    if (ids.shape.size() != 2 || ids.shape[0] < 1 || ids.shape[1] < 1)
      throw ResourceError("{}: input_ids: found shape {}; expected [sequences, positions]", expected_.path(), ids.shape_text());
    sequences_ = ids.shape[0];
    length_ = ids.shape[1];
    for (int64_t id : expected_.load_integers("input_ids")) {
      if (id < 0 || id >= config_.vocab_size)
        throw ResourceError(
            "{}: input_ids: found {}; expected ids below the model's vocabulary of {}; the file does not belong to this "
            "model",
            expected_.path(), id, config_.vocab_size);
      ids_.push_back(static_cast<int32_t>(id));
    }
    if (expected_.has("hidden_states")) {
      const TensorInfo& t = expected_.at("hidden_states");
      if (t.shape.size() != 3 || t.shape[1] < 1 || t.shape[1] > length_ || sequences_ != 1)
        throw ResourceError("{}: hidden_states: found shape {}; expected [levels, positions, hidden] of one sequence of {}",
                            expected_.path(), t.shape_text(), length_);
      if (has_projections(config_))
        throw ResourceError(
            "{}: hidden_states: one tensor for all levels, while the last level of this model has another width; "
            "expected hidden_states.0, hidden_states.1, ...; write the levels one by one",
            expected_.path());
      shown_positions_ = t.shape[1];
      levels_ = std::make_unique<Expected>(expected_, "hidden_states",
                                           std::vector<int64_t>{config_.layers + 1, shown_positions_, config_.hidden_size});
    } else if (!expected_.has("hidden_states.0")) {
      throw ResourceError("{}: neither hidden_states.0 nor hidden_states; expected a file of reference activations",
                          expected_.path());
    }
  }

  ParityReport run() {
    const Matrix embedded = embed(family_, source_, ids_, length_, backend_);
    const BackendMatrix hidden(backend_, embedded.rows(), embedded.cols());
    copy(backend_, embedded.view(), hidden.view());
    compare_level(0, hidden.view());
    Workspace workspace(backend_);
    BlockStream blocks(family_, source_, backend_);
    for (int layer = 0; layer < config_.layers; ++layer) {
      forward_block(family_, config_, blocks.next(), hidden.view(), length_, backend_, workspace);
      if (layer + 1 < config_.layers) compare_level(layer + 1, hidden.view());
    }
    const WeightView states = finish(family_, config_, load_final(family_, source_), hidden.view(), backend_, workspace);
    compare_level(config_.layers, states);
    const Matrix head = load_head(family_, source_);
    const HeldMemory held = hold(backend_, head.view());
    if (levels_ != nullptr)
      compare_large_logits(states, head.view());
    else
      compare_small_logits(states, head.view());
    return std::move(report_);
  }

 private:
  std::string position(int64_t token) const {
    return fmt::format("sequence {}, position {}", token / length_, token % length_);
  }

  void compare_level(int64_t level, WeightView states) {
    const Matrix hidden = to_host(backend_, states);
    const std::string name = fmt::format("hidden_states.{}", level);
    Comparison c(name, report_.tolerance);
    const int64_t width = hidden.cols();
    if (levels_ != nullptr) {
      for (int64_t t = 0; t < shown_positions_; ++t)
        for (int64_t j = 0; j < width; ++j)
          c.add(hidden(t, j), (*levels_)[(level * shown_positions_ + t) * width + j],
                [&] { return fmt::format("{}, channel {}", position(t), j); });
    } else {
      const Expected e(expected_, name, {sequences_, length_, width});
      for (int64_t t = 0; t < hidden.rows(); ++t)
        for (int64_t j = 0; j < width; ++j)
          c.add(hidden(t, j), e[t * width + j], [&] { return fmt::format("{}, channel {}", position(t), j); });
    }
    report_.rows.push_back(c.finish());
  }

  // Calls use(token, logits of that token) for every position, a slice of positions at a time.
  template <class Use>
  void each_logit_row(WeightView hidden, WeightView head, const Use& use) const {
    constexpr int64_t kSlice = 32;
    Matrix logits(std::min(kSlice, hidden.rows), head.rows);
    for (int64_t first = 0; first < hidden.rows; first += kSlice) {
      const int64_t last = std::min(hidden.rows, first + kSlice);
      const View<float> slice = logits.view().row_range(0, last - first);
      backend_.linear(hidden.row_range(first, last), head, {}, slice);
      for (int64_t t = first; t < last; ++t)
        use(t, slice.row(t - first));
    }
  }

  void compare_small_logits(WeightView hidden, WeightView head) {
    const int64_t vocab = config_.vocab_size;
    const Expected logits(expected_, "logits", {sequences_, length_, vocab});
    Comparison c("logits", report_.tolerance);
    each_logit_row(hidden, head, [&](int64_t t, const float* row) {
      for (int64_t v = 0; v < vocab; ++v)
        c.add(row[v], logits[t * vocab + v], [&] { return fmt::format("{}, token id {}", position(t), v); });
    });
    report_.rows.push_back(c.finish());
    if (!expected_.has("nll")) return;
    const Expected nll(expected_, "nll", {sequences_, length_ - 1});
    std::vector<int32_t> target(ids_.size(), -1);
    for (size_t t = 0; t + 1 < ids_.size(); ++t)
      if ((t + 1) % static_cast<size_t>(length_) != 0) target[t] = ids_[t + 1];
    std::vector<double> ours(ids_.size());
    backend_.head_nll(hidden, head, target, ours, {});
    Comparison n("nll", report_.tolerance);
    for (int64_t s = 0; s < sequences_; ++s)
      for (int64_t t = 0; t + 1 < length_; ++t)
        n.add(ours[static_cast<size_t>(s * length_ + t)], nll[s * (length_ - 1) + t],
              [&] { return position(s * length_ + t); });
    report_.rows.push_back(n.finish());
  }

  void compare_large_logits(WeightView hidden, WeightView head) {
    const int64_t vocab = config_.vocab_size;
    const std::vector<int64_t> positions = expected_.load_integers("logit_positions");
    for (int64_t p : positions)
      if (p < 0 || p >= length_)
        throw ResourceError("{}: logit_positions: found {}; expected positions below {}", expected_.path(), p, length_);
    const TensorInfo& top = expected_.at("top_values");
    const int64_t k = top.shape.size() == 2 ? top.shape[1] : 0;
    const Expected logits(expected_, "logits", {static_cast<int64_t>(positions.size()), vocab});
    const Expected logsumexp(expected_, "logsumexp", {length_});
    const Expected target_logit(expected_, "target_logit", {length_ - 1});
    const Expected top_values(expected_, "top_values", {length_, k});
    const std::vector<int64_t> top_ids = expected_.load_integers("top_ids");
    if (static_cast<int64_t>(top_ids.size()) != length_ * k ||
        std::any_of(top_ids.begin(), top_ids.end(), [&](int64_t id) { return id < 0 || id >= vocab; }))
      throw ResourceError("{}: top_ids: not [{}, {}] ids below {}; the file does not belong to this model", expected_.path(),
                          length_, k, vocab);

    Comparison full("logits", report_.tolerance), sums("logsumexp", report_.tolerance),
        targets("target_logit", report_.tolerance), best("top_values", report_.tolerance),
        at_ids("logits at top_ids", report_.tolerance);
    std::vector<float> sorted(static_cast<size_t>(vocab));
    each_logit_row(hidden, head, [&](int64_t t, const float* row) {
      const auto here = [&] { return position(t); };
      for (size_t n = 0; n < positions.size(); ++n)
        if (positions[n] == t)
          for (int64_t v = 0; v < vocab; ++v)
            full.add(row[v], logits[static_cast<int64_t>(n) * vocab + v],
                     [&] { return fmt::format("{}, token id {}", position(t), v); });
      const double largest = *std::max_element(row, row + vocab);
      double sum = 0;
      for (int64_t v = 0; v < vocab; ++v)
        sum += std::exp(row[v] - largest);
      sums.add(largest + std::log(sum), logsumexp[t], here);
      if (t + 1 < length_) targets.add(row[ids_[static_cast<size_t>(t + 1)]], target_logit[t], here);
      const int64_t shown = std::min(k, vocab);
      std::partial_sort_copy(row, row + vocab, sorted.begin(), sorted.begin() + shown, std::greater<>());
      for (int64_t i = 0; i < k; ++i) {
        const auto rank = [&] { return fmt::format("{}, rank {}", position(t), i); };
        if (i < shown) best.add(sorted[static_cast<size_t>(i)], top_values[t * k + i], rank);
        at_ids.add(row[top_ids[static_cast<size_t>(t * k + i)]], top_values[t * k + i], rank);
      }
    });
    for (Comparison* c : {&full, &sums, &targets, &best, &at_ids})
      report_.rows.push_back(c->finish());
  }

  const WeightSource& source_;
  const ModelConfig& config_;
  const Family& family_;
  const SafetensorsFile& expected_;
  const Backend& backend_;
  ParityReport report_;
  int64_t sequences_ = 0;
  int64_t length_ = 0;
  int64_t shown_positions_ = 0;
  std::vector<int32_t> ids_;
  std::unique_ptr<Expected> levels_;  // large layout only
};

}  // namespace

bool ParityReport::within() const { return first_outside() == nullptr; }

const ParityRow* ParityReport::first_outside() const {
  for (const ParityRow& r : rows)
    if (!r.within) return &r;
  return nullptr;
}

std::string ParityReport::verdict() const {
  if (const ParityRow* r = first_outside())
    return fmt::format("{}: first divergence at {}: found {:.9g}; expected {:.9g} within {:g} (difference {:.3g})", r->tensor,
                       r->first_place, r->first_ours, r->first_expected, tolerance,
                       std::abs(r->first_ours - r->first_expected));
  const auto worst =
      std::max_element(rows.begin(), rows.end(), [](const ParityRow& a, const ParityRow& b) { return a.max_abs < b.max_abs; });
  return fmt::format(
      "all {} tensors agree within {:g} and FP32 rounding; the largest difference is {:.3g}, in {} where {:.6g} is expected",
      rows.size(), tolerance, worst->max_abs, worst->tensor, worst->max_abs_at);
}

ParityReport check_parity(const Family& family, const WeightSource& source, const SafetensorsFile& expected,
                          const Backend& backend, double tolerance) {
  return Checker(family, source, expected, backend, tolerance).run();
}

}  // namespace sage
