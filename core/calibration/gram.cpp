#include "core/calibration/gram.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/util/errors.h"

namespace sage {

namespace {

// Packed on the device first: over the bus it goes in one piece.
template <class T>
std::vector<double> diagonal_of(const Backend& backend, const View<T>& gram) {
  const int64_t n = gram.rows;
  const BackendArray<T> packed(backend, 1, n);
  std::vector<T> out(static_cast<size_t>(n));
  copy<T>(backend, View<const T>(gram.data, n, 1, gram.ld + 1), View<T>(packed.view().data, n, 1));
  copy<T>(backend, packed.view(), View<T>(out.data(), 1, n));
  return {out.begin(), out.end()};
}

}  // namespace

const char* gram_precision_name(GramPrecision precision) { return precision == GramPrecision::kFp64 ? "fp64" : "fp32"; }

GramAccumulator::GramAccumulator(std::string layer, int64_t cols, GramPrecision precision, const Backend& backend)
    : layer_(std::move(layer)), cols_(cols), precision_(precision), backend_(backend) {
  if (precision_ == GramPrecision::kFp64)
    double_ = BackendArray<double>(backend, cols, cols);
  else if (backend.memory_is_host())
    single_ = Matrix(cols, cols);
  else
    device_single_ = BackendArray<float>(backend, cols, cols);
}

void GramAccumulator::add(WeightView x, int64_t sequences) {
  if (x.cols != cols_ || sequences < 1)
    throw Error(ExitCode::kInternalError, fmt::format("{}: inputs of {} columns for {} sequences; expected {} columns and at "
                                                      "least one sequence; correct the caller",
                                                      layer_, x.cols, sequences, cols_));
  const auto before = static_cast<double>(sequences_), now = static_cast<double>(sequences_ + sequences);
  const auto update = [&](const auto& gram) {
    backend_.gram_update(x, before / now, 2.0 / now, gram);
    check_finite(x, diagonal_of(backend_, gram));
  };
  if (precision_ == GramPrecision::kFp64)
    update(double_.view());
  else
    update(backend_.memory_is_host() ? single_.view() : device_single_.view());
  sequences_ += sequences;
  tokens_ += x.rows;
}

void GramAccumulator::check_finite(WeightView x, const std::vector<double>& diagonal) const {
  // Squares cannot cancel, so every bad input shows on the diagonal; only then is it worth looking for.
  if (std::all_of(diagonal.begin(), diagonal.end(), [](double d) { return std::isfinite(d); })) return;
  const Matrix input = to_host(backend_, x);
  for (int64_t t = 0; t < input.rows(); ++t)
    for (int64_t j = 0; j < cols_; ++j)
      if (!std::isfinite(input(t, j)))
        throw RunError(
            "{}: its input is {} at token {}, column {} of calibration sequence {}; expected finite activations; check the "
            "model's weights, and those of the layers quantized before it",
            layer_, input(t, j), t, j, sequences_);
  throw RunError(
      "{}: sums of squared inputs overflow at calibration sequence {}; expected activations below 1e18; check the model's "
      "weights, or set calibration.gram: fp64",
      layer_, sequences_);
}

Gram GramAccumulator::finish() {
  if (tokens_ == 0)
    throw RunError(
        "{}: no calibration input was seen; expected at least one sequence; check that the layer runs in the forward pass",
        layer_);
  Gram g;
  g.sequences = std::exchange(sequences_, 0);
  g.tokens = std::exchange(tokens_, 0);
  if (precision_ == GramPrecision::kFp64) {
    g.matrix = Matrix(cols_, cols_);
    constexpr int64_t kRowsAtOnce = 64;
    std::vector<double> rows(static_cast<size_t>(std::min(cols_, kRowsAtOnce) * cols_));
    for (int64_t first = 0; first < cols_; first += kRowsAtOnce) {
      const View<double> part(rows.data(), std::min(kRowsAtOnce, cols_ - first), cols_);
      copy<double>(backend_, double_.view().row_range(first, first + part.rows), part);
      for (int64_t i = first; i < first + part.rows; ++i)
        for (int64_t j = i; j < cols_; ++j)
          g.matrix(i, j) = static_cast<float>(part(i - first, j));
    }
    double_ = {};
  } else if (backend_.memory_is_host()) {
    g.matrix = std::move(single_);
  } else {
    g.matrix = to_host(backend_, device_single_.view());
    device_single_ = {};
  }
  constexpr int64_t kTile = 64;  // a column walk over whole rows would miss the cache at every step
  for (int64_t r = 0; r < cols_; r += kTile)
    for (int64_t c = 0; c <= r; c += kTile)
      for (int64_t i = r; i < std::min(cols_, r + kTile); ++i)
        for (int64_t j = c; j < std::min(i, c + kTile); ++j)
          g.matrix(i, j) = g.matrix(j, i);
  check_gram(g.matrix.view(), cols_, layer_);
  return g;
}

void complete_gram(View<float> gram, const std::string& name) {
  if (gram.rows != gram.cols)
    throw RunError("{}: a Gram of {} x {}; expected a square matrix; check the dataset", name, gram.rows, gram.cols);
  // First of all: NaN compares as unequal to anything, and its neighbours would be blamed for it.
  for (int64_t i = 0; i < gram.rows; ++i)
    for (int64_t j = 0; j < gram.cols; ++j)
      if (!std::isfinite(gram(i, j)))
        throw RunError("{}: entry ({}, {}) of the Gram is {}; expected finite numbers; check the inputs it was made of", name, i, j,
                       std::isnan(gram(i, j)) ? "NaN" : "infinity");
  bool lower = false;
  for (int64_t i = 0; i < gram.rows; ++i)
    for (int64_t j = 0; j < i; ++j)
      lower = lower || gram(i, j) != 0;
  for (int64_t i = 0; i < gram.rows; ++i) {
    for (int64_t j = 0; j < i; ++j) {
      if (!lower) {
        gram(i, j) = gram(j, i);
        continue;
      }
      const double scale = std::sqrt(std::fabs(static_cast<double>(gram(i, i)) * gram(j, j)));
      if (!(std::fabs(static_cast<double>(gram(i, j)) - gram(j, i)) <= 1e-3 * scale))
        throw RunError(
            "{}: entry ({}, {}) is {} and entry ({}, {}) is {}; expected a symmetric Gram, or zeros below the diagonal; check "
            "how it was made",
            name, i, j, gram(i, j), j, i, gram(j, i));
    }
  }
}

void check_gram(WeightView gram, int64_t cols, const std::string& layer) {
  if (gram.rows != cols || gram.cols != cols)
    throw RunError(
        "{}: a Gram of {} x {}; expected {} x {}, one row for each input; check that Gram and weights belong together", layer,
        gram.rows, gram.cols, cols, cols);
  for (int64_t j = 0; j < cols; ++j)
    if (!std::isfinite(gram(j, j)) || gram(j, j) < 0)
      throw RunError("{}: entry {} of the Gram's diagonal is {}; expected a sum of squares; collect the calibration again",
                     layer, j, gram(j, j));
}

}  // namespace sage
