// Quantization operations on a 4096 x 11008 matrix (180 MB). Bound: bytes that must be read and written / stream read rate.
#include <fmt/format.h>

#include <memory>
#include <optional>
#include <vector>

#include "kernels/bench/harness.h"

namespace sage::bench {
namespace {

struct Problem {
  Held w{weights(sized(4096, 64), sized(11008, 160), 7)};
  std::vector<float> cuts = {0.005f, 0.01f, 0.015f, 0.02f, 0.026f, 0.033f, 0.043f};
  std::optional<Held> other;  // of the same shape
  std::unique_ptr<SaliencyMask> mask;
  GroupMap groups = GroupMap::single(w.rows(), w.cols());
  Problem() {
    const int64_t k = w.size() * 99 / 100;
    mask = std::make_unique<SaliencyMask>(
        SaliencyMask::elements(backend().deviation_above(w.view(), 0, backend().deviation_order_statistic(w.view(), 0, k))));
    groups.shape = LabelShape::kElement;
    groups.groups = static_cast<int64_t>(cuts.size()) + 1;
    groups.element.resize(static_cast<size_t>(w.size()));
    backend().assign_by_magnitude(w.view(), cuts, groups.element.data());
  }
};

void binarize(Problem& p, int order, bool by_group) {
  const ScaleUnits units("bench", p.groups, true, by_group);
  std::vector<ResidualLevels> out(static_cast<size_t>(units.count()));
  const ResidualRule rule = {order, true, true, true, true};
  benchmark::DoNotOptimize(backend().residual_binarize(p.w.view(), {p.mask.get(), false}, units, rule, out));
}

}  // namespace

void register_quantization() {
  // Made by the first benchmark that runs, gone with the last.
  const auto shared = std::make_shared<std::unique_ptr<Problem>>();
  const auto add = [shared](const char* name, double bytes_per_weight, void (*operation)(Problem&)) {
    add_benchmark(std::string("quantize/") + name, 0.4, [=](benchmark::State& state) {
      if (*shared == nullptr) *shared = std::make_unique<Problem>();
      Problem& p = **shared;
      measure(state, Unit::kBytes, bytes_per_weight * static_cast<double>(p.w.size()), stream_read(), [&] { operation(p); });
    });
  };
  if (backend().memory_is_host())
    add_benchmark("memory/stream_read", 0.4, [](benchmark::State& state) {
      const Bound read = stream_read();
      measure(state, Unit::kBytes, read.amount, {}, [&] { read.pass(); });
    });
  add("matrix_stats", 4, [](Problem& p) { benchmark::DoNotOptimize(backend().matrix_stats(p.w.view())); });
  add("deviation_order_statistic", 8, [](Problem& p) {
    benchmark::DoNotOptimize(backend().deviation_order_statistic(p.w.view(), 1e-4f, p.w.size() * 99 / 100));
  });
  add("deviation_above", 4.125,
      [](Problem& p) { benchmark::DoNotOptimize(backend().deviation_above(p.w.view(), 1e-4f, 0.05f)); });
  add("assign_by_magnitude", 5, [](Problem& p) { backend().assign_by_magnitude(p.w.view(), p.cuts, p.groups.element.data()); });
  add("group_moments/element", 5.125, [](Problem& p) {
    std::vector<Moments> out(static_cast<size_t>(p.groups.groups));
    backend().group_moments(p.w.view(), {p.mask.get(), false}, p.groups, out);
    benchmark::DoNotOptimize(out.data());
  });
  add("group_moments/single", 4.125, [](Problem& p) {
    std::vector<Moments> out(1);
    backend().group_moments(p.w.view(), {p.mask.get(), false}, GroupMap::single(p.w.rows(), p.w.cols()), out);
    benchmark::DoNotOptimize(out.data());
  });
  // Of rows: one unit each, read once (a second pass has centers), and fitted in 2 order + 1 sweeps over a row in the caches.
  add("unit_moments/row", 4.125, [](Problem& p) {
    const ScaleUnits units("bench", p.groups, true, false);
    std::vector<Moments> out(static_cast<size_t>(units.count()));
    backend().unit_moments(p.w.view(), {p.mask.get(), false}, units, {}, out);
    benchmark::DoNotOptimize(out.data());
  });
  add("unit_moments/row_group", 5.125, [](Problem& p) {
    const ScaleUnits units("bench", p.groups, true, true);
    const std::vector<float> center(static_cast<size_t>(units.count()), 1e-4f);
    std::vector<Moments> out(center.size());
    backend().unit_moments(p.w.view(), {p.mask.get(), false}, units, center, out);
    benchmark::DoNotOptimize(out.data());
  });
  add("residual_binarize/order1/row", 4.125, [](Problem& p) { binarize(p, 1, false); });
  add("residual_binarize/order2/row", 4.125, [](Problem& p) { binarize(p, 2, false); });
  add("residual_binarize/order1/row_group", 5.125, [](Problem& p) { binarize(p, 1, true); });
  add("magnitude_histogram", 4.125, [](Problem& p) {
    benchmark::DoNotOptimize(backend().magnitude_histogram(p.w.view(), {p.mask.get(), false}, 12).count.data());
  });
  add("row_sq_sums", 4, [](Problem& p) {
    std::vector<double> out(static_cast<size_t>(p.w.rows()));
    backend().row_sq_sums(p.w.view(), out);
    benchmark::DoNotOptimize(out.data());
  });
  add("column_sq_sums", 4, [](Problem& p) {
    std::vector<double> out(static_cast<size_t>(p.w.cols()));
    backend().column_sq_sums(p.w.view(), out);
    benchmark::DoNotOptimize(out.data());
  });
  add("squared_distance", 8, [](Problem& p) {
    if (!p.other) p.other.emplace(weights(p.w.rows(), p.w.cols(), 8));  // before the clock starts: a first call is not timed
    benchmark::DoNotOptimize(backend().squared_distance(p.w.view(), p.other->view()));
  });
  const int64_t rows = sized(4096, 16), cols = sized(8192, 128);
  add_benchmark(fmt::format("quantize/hadamard_rows/{}x{}", rows, cols), 0.4, [=](benchmark::State& state) {
    const BackendMatrix w = placed(weights(rows, cols, 9));
    measure(state, Unit::kBytes, 8.0 * static_cast<double>(w.size()), stream_read(),
            [&] { backend().hadamard_rows(w.view()); });
  });
}

}  // namespace sage::bench
