// Splits of rows into two parts, tried on the device.
#include <vector>

#include "kernels/cuda/call.h"
#include "kernels/cuda/owned_bits.h"
#include "kernels/shapes.h"

namespace sage::cuda {

void DeviceBackend::split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors,
                                 std::span<int64_t> upper_count) const {
  shapes::split_errors(x, trials, errors, upper_count);
  std::fill(errors.begin(), errors.end(), 0.0);
  std::fill(upper_count.begin(), upper_count.end(), 0);
  const auto cuts = static_cast<int64_t>(trials.cuts.size());
  if (x.size() == 0 || cuts == 0) return;

  std::vector<double> sums(static_cast<size_t>(split_sums(cuts)));
  Call call(*this, "split_errors");
  SplitArguments p;
  p.x = call.in(x);
  if (!trials.column_keys.empty()) p.keys = call.in(trials.column_keys);
  if (trials.apart != nullptr && trials.apart->shape() != MaskShape::kNone)
    p.apart = send(call, {trials.apart, true}, 0, x.rows);
  p.cuts = call.in(trials.cuts);
  p.count = static_cast<int>(cuts);
  p.order = trials.order;
  p.centered = trials.centered;
  const int64_t band = split_band(x.rows, cuts), each = split_sums(cuts);
  auto* rows = call.scratch<double>(band * each);
  auto* parts = call.scratch<double>(column_bands(band, each) * each);
  auto* bands = call.scratch<double>(split_bands(x.rows, cuts) * each);
  call.launched(kernels_.splits.split_errors(p, rows, parts, bands, call.out(std::span(sums)), call.stream()));
  call.finish();
  for (size_t t = 0; t < errors.size(); ++t) {
    errors[t] = sums[t];
    upper_count[t] = static_cast<int64_t>(sums[errors.size() + t]);
  }
}

}  // namespace sage::cuda
