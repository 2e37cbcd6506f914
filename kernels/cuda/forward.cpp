// Linear layers, norms, rotary embedding and elementwise operations of the forward pass.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {

void DeviceBackend::add(View<float> x, WeightView y) const {
  shapes::require(shapes::same(x, y), "add", "two matrices of one shape");
  Call call(*this, "add");
  const WeightView b = call.in(y);
  const View<float> a = call.inout(x);
  call.launched(kernels_.forward.add(a.data, a.ld, b.data, b.ld, a.rows, a.cols, call.stream()));
  call.finish();
}

}  // namespace sage::cuda
