// Error compensation: what the error of coded columns does to the others.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {

// A tile in host memory is updated where it lies, by the calling thread: a trip over the bus costs more than the operation, and
// threads may work on tiles side by side. Both ways give the same bits: each product and each difference is rounded once.
void DeviceBackend::subtract_outer(std::span<const float> u, std::span<const float> e, View<float> x) const {
  shapes::outer(u, e, x);
  if (x.size() == 0) return;
  if (!memory_->owns(u.data()) && !memory_->owns(e.data()) && !memory_->owns(x.data)) {
    for (int64_t i = 0; i < x.rows; ++i)
      for (int64_t j = 0; j < x.cols; ++j)
        x(i, j) -= u[static_cast<size_t>(i)] * e[static_cast<size_t>(j)];
    return;
  }
  Call call(*this, "subtract_outer");
  const float *left = call.in(u), *right = call.in(e);
  const View<float> out = call.inout(x);
  call.launched(kernels_.calibration.subtract_outer(left, right, out.data, out.ld, out.rows, out.cols, call.stream()));
  call.finish();
}

void DeviceBackend::subtract_product(WeightView a, WeightView b, View<float> x) const {
  shapes::product(a, b, x);
  if (x.size() == 0 || a.cols == 0) return;
  Call call(*this, "subtract_product");
  const WeightView left = call.in(a), right = call.in(b);
  const View<float> out = call.inout(x);
  call.gemm(times({left.data, left.rows, left.cols, left.ld}, {right.data, right.rows, right.cols, right.ld}, out.data, out.ld,
                  -1, 1));
  call.finish();
}

}  // namespace sage::cuda
