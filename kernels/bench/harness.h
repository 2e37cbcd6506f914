// What the benchmark files share: what is benchmarked, bounds, test data where the backend wants it, and the timing of one
// operation beside its bound.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "core/backend/memory.h"

namespace sage::bench {

const Backend& backend();                   // whose operations are timed
int64_t sized(int64_t full, int64_t tiny);  // a size, by BenchmarkOptions::tiny

// What an operation cannot beat: a pass over so many bytes, operations or weights, and the seconds it took, by as many threads
// as the operation has. Of backends that do not compute in host memory no bound is known: no pass.
struct Bound {
  double amount = 0;
  std::function<double()> pass;
};
// All threads read an array far larger than the caches; bytes.
Bound stream_read();
// OpenBLAS sgemm, y[t x m] = x[t x n] * w[m x n]^T, with its own threads; operations.
Bound sgemm(int64_t t, int64_t m, int64_t n);
// OpenBLAS ssyrk, upper triangle of x^T x for x[t x n], with its own threads; t n (n + 1) operations.
Bound syrk(int64_t t, int64_t n);
Bound one_after_the_other(const std::vector<Bound>& parts);

enum class Unit { kBytes, kOperations, kWeights };
// Registers a benchmark that repeats for at least `seconds`.
void add_benchmark(const std::string& name, double seconds, const std::function<void(benchmark::State&)>& run);
// Times `operation` and `bound` in turns and reports the best rate of the one against that of the other. `amount` is bytes,
// operations or weights, as bound.amount.
void measure(benchmark::State& state, Unit unit, double amount, const Bound& bound, const std::function<void()>& operation);

// Weights with the standard deviation and tails of a trained layer, the same in every run.
Matrix weights(int64_t rows, int64_t cols, uint64_t seed);

// Host memory that the backend holds while this lives: for matrices that do not change. Gone before the backend is.
class Held {
 public:
  explicit Held(Matrix m) : matrix_(std::move(m)), held_(hold(backend(), matrix_.view())) {}
  WeightView view() const { return matrix_.view(); }
  int64_t rows() const { return matrix_.rows(); }
  int64_t cols() const { return matrix_.cols(); }
  int64_t size() const { return matrix_.size(); }

 private:
  Matrix matrix_;
  HeldMemory held_;
};
// A copy in the backend's memory: for matrices that change.
BackendMatrix placed(const Matrix& m);

void register_quantization();
void register_forward();
void register_calibration();
void register_compensation();
void register_splits();
void register_coding();
void register_packed();

}  // namespace sage::bench
