// What the benchmark files share: what is benchmarked, bounds measured once per process, test data where the backend wants it,
// and the timing of one operation.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "core/backend/memory.h"

namespace sage::bench {

const Backend& backend();                   // whose operations are timed
int64_t sized(int64_t full, int64_t tiny);  // a size, by BenchmarkOptions::tiny

// Bounds of backends that compute in host memory; 0 for others.
// Read rate in bytes per second of all threads over an array far larger than the caches; best of several passes.
double stream_read_rate();
// OpenBLAS sgemm, y[t x m] = x[t x n] * w[m x n]^T with as many of its own threads as OpenMP would use; operations per second.
double sgemm_rate(int64_t t, int64_t m, int64_t n);
// OpenBLAS ssyrk, upper triangle of x^T x for x[t x n], with as many of its own threads; operations (t n (n + 1)) per second.
double syrk_rate(int64_t t, int64_t n);

enum class Unit { kBytes, kOperations, kWeights };
// Registers a benchmark that repeats for at least `seconds`.
void add_benchmark(const std::string& name, double seconds, const std::function<void(benchmark::State&)>& run);
// Times `operation` and reports its best rate against `bound` (per second; 0 = none). `amount` is bytes, operations
// or weights.
void measure(benchmark::State& state, Unit unit, double amount, double bound, const std::function<void()>& operation);

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
