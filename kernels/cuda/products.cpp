// Matrix products of the forward pass in the backend's precision.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/call.h"

namespace sage::cuda {

Number DeviceBackend::operand_number() const {
  switch (precision_) {
    case Precision::kFloat32: break;
    case Precision::kFloat16: return Number::kFloat16;
    case Precision::kBfloat16: return Number::kBfloat16;
  }
  return Number::kFloat32;
}

DeviceRows DeviceBackend::operand(Call& call, WeightView m) const {
  const Number number = operand_number();
  if (number == Number::kFloat32) {
    const WeightView on_device = call.in(m);
    return {on_device.data, m.rows, m.cols, on_device.ld};
  }
  const auto convert = [&](WeightView from, void* to) {
    call.launched(kernels_.forward.convert(from.data, from.ld, from.rows, from.cols, number, to, call.stream()));
  };
  if (const Mirrors::Converted kept = mirrors_->find_converted(m, number, convert); kept.data != nullptr)
    return {kept.data, m.rows, m.cols, kept.ld};
  void* converted = call.scratch<uint16_t>(m.size());
  convert(call.in(m), converted);
  return {converted, m.rows, m.cols, m.cols};
}

void DeviceBackend::multiply(Call& call, const DeviceRows& x, const DeviceRows& w, View<float> y, double beta) const {
  GemmCall product = times_transposed(x, w, y.data, y.ld, 1, beta);
  product.input = operand_number();
  call.gemm(product);
}

}  // namespace sage::cuda
