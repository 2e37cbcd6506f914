// A backend whose operations run as CUDA kernels and cuBLAS calls. One class serves both devices: with the real API and kernels
// compiled by nvcc it is `cuda`, with the CPU executor's it is `cuda_on_cpu`.
//
// Operations are in forward.cpp, attention.cpp, head.cpp, calibration.cpp, statistics.cpp and compensation.cpp. Each opens a
// Call (call.h), which sends over what is not on the device yet, queues the work on the compute stream and brings results back.
// A device that fails throws ResourceError out of the operation that notices; memory is given back, and unless the device's
// context is lost, later operations work again.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "core/backend/backend.h"
#include "core/backend/block_coder.h"
#include "kernels/cuda/api.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/mirrors.h"
#include "kernels/cuda/timeline.h"

namespace sage::cuda {

// What matrix products of the forward pass read. kFloat32 is the exact mode: FP32 without TF32. With a 16-bit kind, weights and
// activations are rounded to it before each product and summed in FP32, as inference on such a device does. FP16 has no numbers
// beyond 65504: larger activations become infinite, and the losses computed from them are not finite. bfloat16 has no such
// limit.
enum class Precision { kFloat32, kFloat16, kBfloat16 };

// How much memory is taken at once. The defaults keep a device busy.
struct DeviceSizes {
  bool keep_memory = true;                 // DeviceMemory's keep
  size_t slice_bytes = size_t{64} << 20;   // logits, and copies in double, exist in slices of at most so many bytes
  size_t pinned_bytes = size_t{16} << 20;  // of each of the two buffers that held memory goes through
};

class Call;

class DeviceBackend final : public Backend, public BlockCoder {
 public:
  // Takes device 0. ResourceError: no device, or one that is too old.
  DeviceBackend(std::unique_ptr<Api> api, KernelTable kernels, Precision precision, DeviceSizes sizes = {});
  ~DeviceBackend() override;

  std::string name() const override;  // "cuda", "cuda-bf16"; with the executor "cuda_on_cpu"
  std::string description() const override;

  std::shared_ptr<void> allocate(size_t bytes) const override;
  bool memory_is_host() const override { return false; }
  void copy(Pitched<const void*> from, Pitched<void*> to, int64_t width_bytes, int64_t rows) const override;
  HeldMemory hold(WeightView w) const override;
  DeviceMemoryUse device_memory() const override;
  void restart_peak() const override;
  void record_timeline(bool on) const override;
  std::shared_ptr<const void> span(const std::string& what) const override;
  std::vector<TimelineEntry> timeline() const override;

  MatrixStats matrix_stats(WeightView w) const override;
  float deviation_order_statistic(WeightView w, float center, int64_t k) const override;
  BitMask deviation_above(WeightView w, float center, float threshold) const override;
  void row_sq_sums(WeightView w, std::span<double> out) const override;
  void column_sq_sums(WeightView w, std::span<double> out) const override;
  MagnitudeHistogram magnitude_histogram(WeightView w, const Selection& own, int shift) const override;
  void assign_by_magnitude(WeightView w, std::span<const float> cuts, uint8_t* out) const override;
  void group_moments(WeightView w, const Selection& own, const GroupMap& groups, std::span<Moments> out) const override;
  void unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                    std::span<Moments> out) const override;
  double residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                           std::span<ResidualLevels> levels) const override;
  void split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors,
                    std::span<int64_t> upper_count) const override;
  const BlockCoder* block_coder() const override { return this; }
  void code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols,
                  View<float> error) const override;
  double squared_distance(WeightView a, WeightView b) const override;
  void hadamard_rows(View<float> w) const override;

  void linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const override;
  void rms_norm(WeightView x, std::span<const float> gamma, float eps, View<float> y) const override;
  void layer_norm(WeightView x, std::span<const float> gamma, std::span<const float> beta, float eps,
                  View<float> y) const override;
  void rotary(View<float> x, int heads, const RotaryTable& table, int64_t first_position) const override;
  void attention(WeightView q, WeightView k, WeightView v, const AttentionShape& shape, View<float> out) const override;
  void require_attention(const AttentionShape& shape) const override;
  void silu_mul(WeightView gate, WeightView up, View<float> out) const override;
  void relu(View<float> x) const override;
  void gelu(View<float> x) const override;
  void add(View<float> x, WeightView y) const override;

  void gram_update(WeightView x, double keep, double weight, View<float> gram) const override;
  void gram_update(WeightView x, double keep, double weight, View<double> gram) const override;

  void subtract_outer(std::span<const float> u, std::span<const float> e, View<float> x) const override;
  void subtract_product(WeightView a, WeightView b, View<float> x) const override;

  void head_nll(WeightView hidden, WeightView head, std::span<const int32_t> target, std::span<double> nll,
                std::span<int32_t> top1) const override;
  void head_divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView head, std::span<double> kl,
                       std::span<uint8_t> agree, std::span<const int32_t> target, std::span<double> nll) const override;

 private:
  friend class Call;

  // Products of the forward pass (products.cpp). operand(): the matrix on the device as numbers of operand_number(). With a
  // 16-bit kind it is converted there: a matrix that is held once, others at each call, so pass views as the caller gave them.
  Number operand_number() const;
  DeviceRows operand(Call& call, WeightView m) const;
  // y[T x m] = x[T x n] w[m x n]^T + beta y for operands x and w, summed in FP32; n > 0.
  void multiply(Call& call, const DeviceRows& x, const DeviceRows& w, View<float> y, double beta = 0) const;

  std::unique_ptr<Api> api_;
  const KernelTable kernels_;
  const Precision precision_;
  const DeviceSizes sizes_;
  DeviceInfo info_;
  // The device's state changes with every operation, which is const to its caller.
  mutable std::mutex mutex_;  // one operation at a time
  Stream compute_ = nullptr;
  mutable std::unique_ptr<DeviceMemory> memory_;
  mutable std::unique_ptr<Mirrors> mirrors_;
  mutable std::unique_ptr<Timeline> timeline_;
};

}  // namespace sage::cuda
