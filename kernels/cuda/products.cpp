// Matrix products of the forward pass in the backend's precision.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/call.h"

namespace sage::cuda {

DeviceRows DeviceBackend::operand(Call& call, WeightView m) const {
  const WeightView on_device = call.in(m);
  return {on_device.data, m.rows, m.cols, on_device.ld};
}

void DeviceBackend::multiply(Call& call, const DeviceRows& x, const DeviceRows& w, View<float> y, double beta) const {
  call.gemm(times_transposed(x, w, y.data, y.ld, 1, beta));
}

}  // namespace sage::cuda
