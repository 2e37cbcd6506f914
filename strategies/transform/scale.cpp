#include "strategies/transform/scale.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "strategies/quantizer/stored.h"

namespace sage {
namespace {

constexpr const char* kRows = "scale_rows";
constexpr const char* kColumns = "scale_columns";

double or_one(double v) { return v > 0 ? v : 1.0; }

// One alternating pass: s from t, then the mean squares that give the next t. Chunks are fixed, so sums do not depend on
// threads.
void rank1_pass(WeightView w, std::vector<double>& s, std::vector<double>& t) {
  const size_t n = static_cast<size_t>(w.cols);
  const int64_t chunks = std::clamp<int64_t>(w.rows / 8, 1, 32);
  std::vector<std::vector<double>> part(static_cast<size_t>(chunks));
  std::vector<double> inverse(n);
  for (size_t j = 0; j < n; ++j)
    inverse[j] = 1.0 / (t[j] * t[j]);
#pragma omp parallel for schedule(dynamic) if (w.size() > 1 << 14)
  for (int64_t c = 0; c < chunks; ++c) {
    std::vector<double>& sum = part[static_cast<size_t>(c)];
    sum.assign(n, 0.0);
    for (int64_t i = w.rows * c / chunks; i < w.rows * (c + 1) / chunks; ++i) {
      const float* x = w.row(i);
      double lane[4] = {0, 0, 0, 0};
      size_t j = 0;
      for (; j + 4 <= n; j += 4)
        for (size_t l = 0; l < 4; ++l)
          lane[l] += static_cast<double>(x[j + l]) * x[j + l] * inverse[j + l];
      for (; j < n; ++j)
        lane[0] += static_cast<double>(x[j]) * x[j] * inverse[j];
      const double mean = ((lane[0] + lane[1]) + (lane[2] + lane[3])) / static_cast<double>(w.cols);
      s[static_cast<size_t>(i)] = or_one(std::sqrt(mean));
      const double f = mean > 0 ? 1.0 / mean : 0.0;
      for (j = 0; j < n; ++j)
        sum[j] += static_cast<double>(x[j]) * x[j] * f;
    }
  }
  for (size_t j = 0; j < n; ++j) {
    double sum = 0;
    for (const std::vector<double>& p : part)
      sum += p[j];
    t[j] = or_one(std::sqrt(sum / static_cast<double>(w.rows)));
  }
}

class FittedScale final : public FittedTransform {
 public:
  FittedScale(const ScaleTransform::Params& p, const BlockContext& ctx) {
    const WeightView w = ctx.weights;
    const size_t m = static_cast<size_t>(w.rows), n = static_cast<size_t>(w.cols);
    std::vector<double> s(m, 1.0), t(n, 1.0);
    if (p.mode == ScaleMode::kRank1) {
      for (int pass = 0; pass < p.passes; ++pass)
        rank1_pass(w, s, t);
      double square = 0;
      for (double v : t)
        square += v * v;
      const double rms = std::sqrt(square / static_cast<double>(std::max<size_t>(n, 1)));
      if (!std::isfinite(rms)) fail(ctx);
      for (double& v : t)
        v /= rms;
      for (double& v : s)
        v *= rms;
      columns_.resize(n);
      for (size_t j = 0; j < n; ++j)
        columns_[j] = stored_divisor(t[j], ctx.numerics);
    } else {
      ctx.backend.row_sq_sums(w, s);
      for (double& v : s)
        v = or_one(std::sqrt(v / static_cast<double>(w.cols)));
    }
    rows_.resize(m);
    for (size_t i = 0; i < m; ++i) {
      if (!std::isfinite(s[i])) fail(ctx);
      rows_[i] = stored_divisor(s[i], ctx.numerics);
    }
  }

  // W' = W diag(1 / t) goes with inputs x' = t x.
  void apply_to_gram(View<float> gram, const Backend&) const override {
    if (columns_.empty()) return;
#pragma omp parallel for schedule(static) if (gram.size() > 1 << 14)
    for (int64_t i = 0; i < gram.rows; ++i)
      for (int64_t j = 0; j < gram.cols; ++j)
        gram(i, j) *= columns_[static_cast<size_t>(i)] * columns_[static_cast<size_t>(j)];
  }
  void apply(View<float> w, const Backend&) const override {
#pragma omp parallel for schedule(static) if (w.size() > 1 << 14)
    for (int64_t i = 0; i < w.rows; ++i) {
      float* x = w.row(i);
      const float s = rows_[static_cast<size_t>(i)];
      if (columns_.empty())
        for (int64_t j = 0; j < w.cols; ++j)
          x[j] /= s;
      else
        for (int64_t j = 0; j < w.cols; ++j)
          x[j] /= s * columns_[static_cast<size_t>(j)];
    }
  }
  ErrorFactors error_factors() const override {
    ErrorFactors f;
    for (const float s : rows_) f.rows.push_back(static_cast<double>(s) * s);
    for (const float t : columns_) f.columns.push_back(static_cast<double>(t) * t);
    return f;
  }
  void emit(PlaneWriter& writer) const override {
    writer.numbers(kRows, Role::kTransform, rows_);
    if (!columns_.empty()) writer.numbers(kColumns, Role::kTransform, columns_);
  }
  int64_t number_count() const override { return static_cast<int64_t>(rows_.size() + columns_.size()); }
  double paper_scale_words() const override { return static_cast<double>(number_count()); }

 private:
  [[noreturn]] static void fail(const BlockContext& ctx) {
    throw RunError(
        "{}: transform scale met weights that are not finite; expected finite weights; check the checkpoint it came from",
        ctx.id.name);
  }
  std::vector<float> rows_, columns_;  // columns_ is empty for mode row
};

}  // namespace

std::unique_ptr<FittedTransform> ScaleTransform::fit(const BlockContext& whole_matrix) const {
  return std::make_unique<FittedScale>(p_, whole_matrix);
}

void ScaleTransform::invert(PlaneReader& reader, View<float> w, const Backend&) const {
  const std::span<const float> s = reader.numbers(kRows, w.rows);
  const std::span<const float> t = p_.mode == ScaleMode::kRank1 ? reader.numbers(kColumns, w.cols) : std::span<const float>();
#pragma omp parallel for schedule(static) if (w.size() > 1 << 14)
  for (int64_t i = 0; i < w.rows; ++i) {
    float* x = w.row(i);
    const float si = s[static_cast<size_t>(i)];
    if (t.empty())
      for (int64_t j = 0; j < w.cols; ++j)
        x[j] *= si;
    else
      for (int64_t j = 0; j < w.cols; ++j)
        x[j] *= si * t[static_cast<size_t>(j)];
  }
}

}  // namespace sage
