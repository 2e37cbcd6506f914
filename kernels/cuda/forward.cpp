// Linear layers, norms, rotary embedding and elementwise operations of the forward pass.
#include "kernels/cuda/blas.h"
#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {

// The bias is what y holds before the product is added: 12 bytes per element of y, as many as adding it afterwards, and no
// bytes at all where there is none.
void DeviceBackend::linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const {
  shapes::linear(x, w, bias, y);
  if (y.size() == 0) return;
  Call call(*this, "linear");
  const View<float> to = call.out(y);
  const bool filled = !bias.empty() || x.cols == 0;
  if (filled)
    call.launched(
        kernels_.forward.fill_rows(to.data, to.ld, bias.empty() ? nullptr : call.in(bias), to.rows, to.cols, call.stream()));
  if (x.cols > 0) multiply(call, operand(call, x), operand(call, w), to, filled ? 1 : 0);
  call.finish();
}

void DeviceBackend::rms_norm(WeightView x, std::span<const float> gamma, float eps, View<float> y) const {
  shapes::norm(x, gamma, y, "rms_norm");
  if (y.size() == 0) return;
  Call call(*this, "rms_norm");
  const WeightView from = call.in(x);
  const View<float> to = call.out(y);
  call.launched(
      kernels_.forward.rms_norm(from.data, from.ld, call.in(gamma), eps, to.data, to.ld, y.rows, y.cols, call.stream()));
  call.finish();
}

void DeviceBackend::layer_norm(WeightView x, std::span<const float> gamma, std::span<const float> beta, float eps,
                               View<float> y) const {
  shapes::norm(x, gamma, y, "layer_norm");
  shapes::norm(x, beta, y, "layer_norm");
  if (y.size() == 0) return;
  Call call(*this, "layer_norm");
  const WeightView from = call.in(x);
  const View<float> to = call.out(y);
  call.launched(kernels_.forward.layer_norm(from.data, from.ld, call.in(gamma), call.in(beta), eps, to.data, to.ld, y.rows,
                                            y.cols, call.stream()));
  call.finish();
}

void DeviceBackend::rotary(View<float> x, int heads, const RotaryTable& table, int64_t first_position) const {
  shapes::rotary(x, heads, table);
  if (x.rows == 0) return;
  const int64_t half = table.head_dim / 2;
  Call call(*this, "rotary");
  const View<float> on_device = call.inout(x);
  auto* angles = call.scratch<float>(2 * x.rows * half);
  call.launched(kernels_.forward.rotary(on_device.data, on_device.ld, x.rows, heads, half, table.inv_freq.data(),
                                        table.attention_factor, first_position, angles, call.stream()));
  call.finish();
}

void DeviceBackend::silu_mul(WeightView gate, WeightView up, View<float> out) const {
  shapes::require(shapes::same(gate, up) && shapes::same(gate, out), "silu_mul", "three matrices of one shape");
  Call call(*this, "silu_mul");
  const WeightView g = call.in(gate), u = call.in(up);
  const View<float> to = call.out(out);
  call.launched(kernels_.forward.silu_mul(g.data, g.ld, u.data, u.ld, to.data, to.ld, to.rows, to.cols, call.stream()));
  call.finish();
}

void DeviceBackend::relu(View<float> x) const {
  Call call(*this, "relu");
  const View<float> on_device = call.inout(x);
  call.launched(kernels_.forward.relu(on_device.data, on_device.ld, x.rows, x.cols, call.stream()));
  call.finish();
}

void DeviceBackend::gelu(View<float> x) const {
  Call call(*this, "gelu");
  const View<float> on_device = call.inout(x);
  call.launched(kernels_.forward.gelu(on_device.data, on_device.ld, x.rows, x.cols, call.stream()));
  call.finish();
}

void DeviceBackend::add(View<float> x, WeightView y) const {
  shapes::require(shapes::same(x, y), "add", "two matrices of one shape");
  Call call(*this, "add");
  const WeightView b = call.in(y);
  const View<float> a = call.inout(x);
  call.launched(kernels_.forward.add(a.data, a.ld, b.data, b.ld, a.rows, a.cols, call.stream()));
  call.finish();
}

}  // namespace sage::cuda
