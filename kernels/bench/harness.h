// What the benchmark files share: bounds measured once per process, test data, and the timing of one operation.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>

#include "core/backend/backend.h"

namespace sage::bench {

const Backend& backend();  // the cpu backend, best variant

// Read rate in bytes per second of all threads over an array far larger than the caches; best of several passes.
double stream_read_rate();
// OpenBLAS sgemm, y[t x m] = x[t x n] * w[m x n]^T with as many of its own threads as OpenMP would use; operations per second.
double sgemm_rate(int64_t t, int64_t m, int64_t n);

// OpenBLAS ssyrk, upper triangle of x^T x for x[t x n], with as many of its own threads; operations (t n (n + 1)) per second.
double syrk_rate(int64_t t, int64_t n);

enum class Unit { kBytes, kOperations, kWeights };
// Times `operation` and reports its best rate against `bound` (per second; 0 = none). `amount` is bytes, operations
// or weights.
void measure(benchmark::State& state, Unit unit, double amount, double bound, const std::function<void()>& operation);

// Weights with the standard deviation and tails of a trained layer, the same in every run.
Matrix weights(int64_t rows, int64_t cols, uint64_t seed);

void register_quantization();
void register_forward();
void register_calibration();
void register_compensation();
void register_splits();

}  // namespace sage::bench
