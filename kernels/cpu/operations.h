// Backend "cpu" as a class; its operations are in quantization.cpp (statistics, masks, groups), forward.cpp (linear layers,
// norms, rotary, elementwise), attention.cpp, gram.cpp and head.cpp.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "core/backend/backend.h"
#include "kernels/cpu/kernels.h"

namespace sage::cpu {

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const KernelTable& kernels);
  std::string name() const override { return "cpu"; }
  std::string description() const override;

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
  double squared_distance(WeightView a, WeightView b) const override;
  void hadamard_rows(View<float> w) const override;

  void linear(WeightView x, WeightView w, std::span<const float> bias, View<float> y) const override;
  void rms_norm(WeightView x, std::span<const float> gamma, float eps, View<float> y) const override;
  void layer_norm(WeightView x, std::span<const float> gamma, std::span<const float> beta, float eps,
                  View<float> y) const override;
  void rotary(View<float> x, int heads, const RotaryTable& table, int64_t first_position) const override;
  void attention(WeightView q, WeightView k, WeightView v, const AttentionShape& shape, View<float> out) const override;
  void silu_mul(WeightView gate, WeightView up, View<float> out) const override;
  void relu(View<float> x) const override;
  void gelu(View<float> x) const override;
  void add(View<float> x, WeightView y) const override;
  void subtract_outer(std::span<const float> u, std::span<const float> e, View<float> x) const override;
  void subtract_product(WeightView a, WeightView b, View<float> x) const override;
  void gram_update(WeightView x, double keep, double weight, View<float> gram) const override;
  void gram_update(WeightView x, double keep, double weight, View<double> gram) const override;
  void head_nll(WeightView hidden, WeightView head, std::span<const int32_t> target, std::span<double> nll,
                std::span<int32_t> top1) const override;
  void head_divergence(WeightView hidden_ref, WeightView head_ref, WeightView hidden, WeightView head, std::span<double> kl,
                       std::span<uint8_t> agree, std::span<const int32_t> target, std::span<double> nll) const override;

 private:
  struct Angles;  // cosines and sines of a range of positions
  std::shared_ptr<const Angles> angles(const RotaryTable& table, int64_t first, int64_t count) const;

  const KernelTable& k_;
  // Every layer of a model rotates by the same angles: the last table is kept.
  mutable std::mutex angles_mutex_;
  mutable std::shared_ptr<const Angles> angles_;
};

// y = x * w^T of one tile by single-threaded OpenBLAS, callable from any OpenMP thread.
void product_tile(WeightView x, WeightView w, View<float> y);

}  // namespace sage::cpu
