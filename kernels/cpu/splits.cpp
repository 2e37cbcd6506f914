// Splits of rows into two parts. What divides a row is a prefix of its weights by ascending key, so a row is brought into that
// order once: sorted by magnitude, or permuted as every row is where the columns have the keys.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/cpu/binarization_error.h"
#include "kernels/cpu/operations.h"
#include "kernels/cpu/tasks.h"
#include "kernels/shapes.h"

namespace sage::cpu {
namespace {

// Columns by ascending key, equal ones from left to right.
std::vector<int64_t> by_key(std::span<const float> keys) {
  std::vector<int64_t> order(keys.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return keys[static_cast<size_t>(a)] < keys[static_cast<size_t>(b)]; });
  return order;
}

// One row: the weights to be divided by ascending key, those apart as they come.
class Row {
 public:
  explicit Row(int64_t cols)
      : patterns_(static_cast<size_t>(cols)), values_(patterns_.size()), keys_(patterns_.size()), apart_(patterns_.size()) {}

  void load_by_magnitude(const float* x, int64_t cols, const SaliencyMask* apart, int64_t i) {
    clear();
    for (int64_t j = 0; j < cols; ++j) {
      // The sign bit goes last, so that the integers sort by magnitude; NaN is above all.
      if (apart != nullptr && apart->test(i, j))
        apart_[apart_count_++] = x[j];
      else
        patterns_[count_++] = std::rotl(std::bit_cast<uint32_t>(x[j]), 1);
    }
    std::sort(patterns_.begin(), patterns_.begin() + static_cast<std::ptrdiff_t>(count_));
    for (size_t k = 0; k < count_; ++k) {
      const float v = std::bit_cast<float>(std::rotr(patterns_[k], 1));
      values_[k] = v;
      keys_[k] = std::abs(v);
    }
  }
  void load_by_column(const float* x, std::span<const int64_t> order, std::span<const float> keys, const SaliencyMask* apart,
                      int64_t i) {
    clear();
    for (int64_t j : order) {
      if (apart != nullptr && apart->test(i, j)) {
        apart_[apart_count_++] = x[j];
      } else {
        keys_[count_] = keys[static_cast<size_t>(j)];
        values_[count_++] = x[j];
      }
    }
  }
  std::span<const double> values() const { return {values_.data(), count_}; }
  std::span<const double> apart() const { return {apart_.data(), apart_count_}; }
  // How many keys are below the cut, given that `from` are.
  size_t below(float cut, size_t from) const {
    while (from < count_ && keys_[from] < cut)
      ++from;
    return from;
  }

 private:
  void clear() { count_ = apart_count_ = 0; }
  size_t count_ = 0, apart_count_ = 0;
  std::vector<uint32_t> patterns_;
  std::vector<double> values_;
  std::vector<float> keys_;
  std::vector<double> apart_;
};

}  // namespace

void CpuBackend::split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors,
                              std::span<int64_t> upper_count) const {
  shapes::split_errors(x, trials, errors, upper_count);
  constexpr int64_t kChunk = 64;  // rows added up by one thread, in order
  const int64_t chunks = (x.rows + kChunk - 1) / kChunk;
  const size_t n = trials.cuts.size();
  const BinarizationRule rule{trials.order, trials.centered}, twice{2, trials.centered};
  const std::vector<int64_t> order = by_key(trials.column_keys);
  std::vector<double> chunk_errors(static_cast<size_t>(chunks) * n, 0.0);
  std::vector<int64_t> chunk_upper(chunk_errors.size(), 0);
  std::vector<Row> rows(static_cast<size_t>(thread_limit(chunks)), Row(x.cols));
  for_tasks(chunks, [&](int64_t chunk, int thread) {
    Row& row = rows[static_cast<size_t>(thread)];
    double* error_sums = chunk_errors.data() + static_cast<size_t>(chunk) * n;
    int64_t* upper_sums = chunk_upper.data() + static_cast<size_t>(chunk) * n;
    for (int64_t i = chunk * kChunk; i < std::min((chunk + 1) * kChunk, x.rows); ++i) {
      if (trials.column_keys.empty())
        row.load_by_magnitude(x.row(i), x.cols, trials.apart, i);
      else
        row.load_by_column(x.row(i), order, trials.column_keys, trials.apart, i);
      const std::span<const double> all = row.values();
      const double apart_error = binarization_error(row.apart(), twice);
      size_t below = 0;
      double error = 0;
      for (size_t t = 0; t < n; ++t) {
        const size_t now = row.below(trials.cuts[t], below);
        if (t == 0 || now != below)
          error = apart_error + binarization_error(all.first(now), rule) + binarization_error(all.subspan(now), rule);
        below = now;
        error_sums[t] += error;
        upper_sums[t] += static_cast<int64_t>(all.size() - now);
      }
    }
  });
  std::fill(errors.begin(), errors.end(), 0.0);
  std::fill(upper_count.begin(), upper_count.end(), 0);
  for (size_t at = 0; at < chunk_errors.size(); ++at) {
    errors[at % n] += chunk_errors[at];
    upper_count[at % n] += chunk_upper[at];
  }
}

}  // namespace sage::cpu
