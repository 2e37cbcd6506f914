// Gram updates: one symmetric rank-k product each. gram in host memory goes over and back whole, its lower triangle unchanged.
#include <algorithm>

#include "kernels/cuda/blas.h"
#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {
namespace {

// c = alpha x^T x + beta c, upper triangle. BLAS leaves open what a product without terms does to c; a row of zeros is one.
template <class T>
void add_gram(Call& call, View<const T> x, const View<T>& c, double alpha, double beta) {
  if (x.rows == 0) x = {call.scratch<T>(x.cols, true), 1, x.cols};
  SyrkCall product = gram({x.data, x.rows, x.cols, x.ld}, c.data, c.ld, alpha, beta);
  product.number = std::is_same_v<T, double> ? Number::kFloat64 : Number::kFloat32;
  call.syrk(product);
}

}  // namespace

void DeviceBackend::gram_update(WeightView x, double keep, double weight, View<float> gram) const {
  shapes::gram_update(x, gram);
  if (x.cols == 0) return;
  Call call(*this, "gram_update");
  const View<float> c = call.inout(gram);
  add_gram(call, call.in(x), c, weight, keep);  // with keep == 0, c is not read
  call.finish();
}

// x is widened in slices of rows of slice_bytes (64 MiB on a device).
void DeviceBackend::gram_update(WeightView x, double keep, double weight, View<double> gram) const {
  shapes::gram_update(x, gram);
  if (x.cols == 0) return;
  Call call(*this, "gram_update");
  const View<double> c = call.inout(gram);
  const WeightView narrow = call.in(x);
  const int64_t slice = std::max<int64_t>(1, static_cast<int64_t>(sizes_.slice_bytes / sizeof(double)) / x.cols);
  auto* wide = call.scratch<double>(std::min(slice, x.rows) * x.cols);
  int64_t first = 0;
  do {  // at least once: keep applies to an empty x, too
    const WeightView rows = narrow.row_range(first, std::min(x.rows, first + slice));
    call.launched(kernels_.calibration.widen(rows.data, rows.ld, rows.rows, rows.cols, wide, call.stream()));
    add_gram(call, View<const double>(wide, rows.rows, rows.cols), c, weight, first == 0 ? keep : 1.0);
    first += slice;
  } while (first < x.rows);
  call.finish();
}

}  // namespace sage::cuda
