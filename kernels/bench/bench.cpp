#include "kernels/bench/bench.h"

#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "core/backend/memory.h"
#include "core/util/random.h"
#include "kernels/bench/harness.h"
#include "kernels/bench/interleave.h"
#include "kernels/cpu/cpu_backend.h"

namespace sage::bench {
namespace {

struct UnitName {
  Unit unit;
  const char* text;
  double factor;
};
constexpr UnitName kUnits[] = {
    {Unit::kBytes, "GB/s", 1e-9}, {Unit::kOperations, "GFLOP/s", 1e-9}, {Unit::kWeights, "Mweights/s", 1e-6}};
const UnitName& name_of(Unit unit) {
  return *std::find_if(std::begin(kUnits), std::end(kUnits), [&](const UnitName& u) { return u.unit == unit; });
}

struct Subject {
  const Backend* backend = nullptr;
  bool tiny = false;
};
Subject subject;  // of the call of collect_benchmarks that runs

bool on_host() { return backend().memory_is_host(); }

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

const Backend& backend() { return *subject.backend; }

int64_t sized(int64_t full, int64_t tiny) { return subject.tiny ? tiny : full; }

namespace {

// Seconds of one call of `work`, for which OpenBLAS has as many threads as OpenMP.
double with_blas_threads(const std::function<void()>& work) {
  openblas_set_num_threads(omp_get_max_threads());
  const double start = now();
  work();
  const double seconds = now() - start;
  cpu::keep_openblas_serial();  // as the backend wants it
  return seconds;
}

double read_once(const std::vector<uint64_t>& data) {
  const auto blocks = static_cast<int64_t>(data.size() / 4096);
  const double start = now();
  uint64_t total = 0;
#pragma omp parallel for reduction(^ : total) schedule(static)
  for (int64_t block = 0; block < blocks; ++block) {
    const uint64_t* p = data.data() + block * 4096;
    uint64_t x[32] = {};
    for (int i = 0; i < 4096; i += 32)
      for (int l = 0; l < 32; ++l)
        x[l] ^= p[i + l];
    for (uint64_t v : x)
      total ^= v;
  }
  benchmark::DoNotOptimize(total);
  return now() - start;
}

}  // namespace

Bound stream_read() {
  if (!on_host()) return {};
  static const std::vector<uint64_t> data(size_t{48} << 20, 1);  // 384 MiB
  return {static_cast<double>(data.size() * sizeof(uint64_t)), [] { return read_once(data); }};
}

Bound sgemm(int64_t t, int64_t m, int64_t n) {
  if (!on_host()) return {};
  const auto x = std::make_shared<Matrix>(weights(t, n, 1)), w = std::make_shared<Matrix>(weights(m, n, 2)),
             y = std::make_shared<Matrix>(t, m);
  const auto pass = [=] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(t), static_cast<int>(m), static_cast<int>(n), 1.0f,
                x->data(), static_cast<int>(n), w->data(), static_cast<int>(n), 0.0f, y->data(), static_cast<int>(m));
  };
  return {2.0 * static_cast<double>(t) * static_cast<double>(m) * static_cast<double>(n),
          [=] { return with_blas_threads(pass); }};
}

Bound syrk(int64_t t, int64_t n) {
  if (!on_host()) return {};
  const auto x = std::make_shared<Matrix>(weights(t, n, 1)), gram = std::make_shared<Matrix>(Matrix::zeros(n, n));
  const auto pass = [=] {
    cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, static_cast<int>(n), static_cast<int>(t), 1.0f, x->data(),
                static_cast<int>(n), 0.5f, gram->data(), static_cast<int>(n));
  };
  return {static_cast<double>(t) * static_cast<double>(n) * static_cast<double>(n + 1),
          [=] { return with_blas_threads(pass); }};
}

Bound one_after_the_other(const std::vector<Bound>& parts) {
  Bound all;
  for (const Bound& b : parts) {
    if (!b.pass) return {};
    all.amount += b.amount;
  }
  all.pass = [parts] {
    double seconds = 0;
    for (const Bound& b : parts)
      seconds += b.pass();
    return seconds;
  };
  return all;
}

void measure(benchmark::State& state, Unit unit, double amount, const Bound& bound, const std::function<void()>& operation) {
  const BackendMatrix mark = placed(Matrix::zeros(1, 1));
  const auto seconds = [&](int count) {
    const double start = now();
    for (int i = 0; i < count; ++i)
      operation();
    if (!on_host()) to_host(backend(), mark.view());  // behind everything that was queued
    return (now() - start) / count;
  };
  seconds(1);  // first touch of results and caches
  if (bound.pass) bound.pass();
  // On a device several operations share one wait, which may take longer than one of them.
  constexpr double kMostShared = 100, kShareSeconds = 2e-3;
  const int count = on_host() ? 1 : static_cast<int>(std::clamp(kShareSeconds / seconds(1), 1.0, kMostShared));
  Interleave turns([&] { return seconds(count); }, bound.pass);
  for (auto _ : state) {
    if (turns.bound_is_due()) {
      state.PauseTiming();
      turns.time_bound();
      state.ResumeTiming();
    }
    turns.time_operation();
  }
  turns.finish();
  const UnitName& name = name_of(unit);
  const double best = turns.operation_seconds();
  state.counters["count"] = count;
  state.counters[name.text] = amount / best * name.factor;
  state.counters["best_ms"] = best * 1e3;
  if (bound.pass) {
    const double rate = bound.amount / turns.bound_seconds();
    state.counters["bound"] = rate * name.factor;
    state.counters["fraction"] = amount / best / rate;
  }
}

void add_benchmark(const std::string& name, double seconds, const std::function<void(benchmark::State&)>& run) {
  constexpr double kTinySeconds = 0.01;
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->MeasureProcessCPUTime()
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond)
      ->MinTime(subject.tiny ? kTinySeconds : seconds);
}

BackendMatrix placed(const Matrix& m) {
  BackendMatrix out(backend(), m.rows(), m.cols());
  copy(backend(), m.view(), out.view());
  return out;
}

Matrix weights(int64_t rows, int64_t cols, uint64_t seed) {
  Matrix w(rows, cols);
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < rows; ++i) {
    Rng rng(seed, static_cast<uint64_t>(i));
    // A sum of four uniforms is near enough to normal, and one row in 64 is three times as large.
    const double scale = 0.02 * (i % 64 == 0 ? 3.0 : 1.0);
    for (int64_t j = 0; j < cols; ++j) {
      const uint64_t r = rng.next_u64();
      const double u = static_cast<double>((r & 0xffff) + (r >> 16 & 0xffff) + (r >> 32 & 0xffff) + (r >> 48)) / 65536.0 - 2.0;
      w(i, j) = static_cast<float>(u * 1.7320508 * scale);
    }
  }
  return w;
}

}  // namespace sage::bench

namespace sage {
namespace {

class Collector final : public benchmark::BenchmarkReporter {
 public:
  explicit Collector(const std::function<void(const BenchmarkRow&)>& done) : done_(done) {}
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      BenchmarkRow row;
      row.name = run.run_name.function_name;
      row.cpu_ms = run.cpu_accumulated_time * 1e3 / static_cast<double>(std::max<benchmark::IterationCount>(1, run.iterations));
      row.best_ms =
          run.real_accumulated_time * 1e3 / static_cast<double>(std::max<benchmark::IterationCount>(1, run.iterations));
      for (const auto& [name, counter] : run.counters) {
        if (name == "count") row.cpu_ms /= counter.value;
        if (name == "best_ms") row.best_ms = counter.value;
        if (name == "bound") row.bound = counter.value;
        if (name == "fraction") row.fraction = counter.value;
        for (const bench::UnitName& unit : bench::kUnits)
          if (name == unit.text) {
            row.rate = counter.value;
            row.unit = name;
          }
      }
      if (done_) done_(row);
      rows.push_back(std::move(row));
    }
  }
  std::vector<BenchmarkRow> rows;

 private:
  const std::function<void(const BenchmarkRow&)>& done_;
};

void register_all() {
  bench::register_quantization();
  bench::register_forward();
  bench::register_calibration();
  bench::register_compensation();
  bench::register_splits();
  bench::register_coding();
  bench::register_packed();
}

void register_matrix_benchmark(const MatrixBenchmark& b) {
  bench::add_benchmark(b.name, 1.0, [b](benchmark::State& state) {
    const Matrix w = bench::weights(b.rows, b.cols, 11);
    bench::Bound bound = bench::stream_read();
    bound.amount /= sizeof(float);
    bench::measure(state, bench::Unit::kWeights, static_cast<double>(w.size()), bound, [&] { b.run(w.view()); });
  });
}

}  // namespace

std::vector<BenchmarkRow> collect_benchmarks(const Backend& backend, const BenchmarkOptions& options,
                                             const std::vector<MatrixBenchmark>& more,
                                             const std::function<void(const BenchmarkRow&)>& done) {
  bench::subject = {&backend, options.tiny};
  register_all();
  for (const MatrixBenchmark& b : more)
    register_matrix_benchmark(b);
  Collector collector(done);
  benchmark::RunSpecifiedBenchmarks(&collector, options.filter.empty() ? "." : options.filter);
  benchmark::ClearRegisteredBenchmarks();  // and what they keep in the backend's memory
  return std::move(collector.rows);
}

}  // namespace sage
