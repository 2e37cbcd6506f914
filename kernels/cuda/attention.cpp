// Causal attention.
#include "kernels/cuda/call.h"
#include "kernels/shapes.h"

namespace sage::cuda {

void DeviceBackend::require_attention(const AttentionShape& s) const {
  if (s.head_dim > AttentionKernels::kMostHeadDim)
    throw ResourceError("{}: attention: heads of {} values; expected at most {}; use --device cpu for this model", name(),
                        s.head_dim, AttentionKernels::kMostHeadDim);
}

void DeviceBackend::attention(WeightView q, WeightView k, WeightView v, const AttentionShape& s, View<float> out) const {
  shapes::attention(q, k, v, s, out);
  require_attention(s);
  if (q.rows == 0) return;
  Call call(*this, "attention");
  const WeightView dq = call.in(q), dk = call.in(k), dv = call.in(v);
  const View<float> to = call.out(out);
  call.launched(kernels_.attention.attention({dq.data, dq.ld, dk.data, dk.ld, dv.data, dv.ld, to.data, to.ld, q.rows, s.heads,
                                              s.kv_heads, s.head_dim, s.scale, s.window},
                                             call.stream()));
  call.finish();
}

}  // namespace sage::cuda
