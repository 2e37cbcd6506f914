// A device for tests: computes what the reference backend computes, but in memory the host cannot touch.
//
// What allocate() gives are pages without access rights; an operation opens those of its own arguments while it runs, so host
// code that reads or writes device memory dies. Held memory (Backend::hold) is really copied and the copy used, so a change
// between hold and use gives wrong results, and every end of a hold compares. Memory starts as NaN and ends at a page that is
// never opened.
//
// Limits: a stray access from one thread is seen only while no operation of another thread works on the same block.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/backend/backend.h"
#include "core/backend/block_coder.h"

namespace sage::test {

class DeviceDouble final : public Backend, public BlockCoder {
 public:
  static constexpr uint64_t kRoomy = uint64_t{1} << 30;
  enum class Coding { kByDevice, kByHost };  // kByHost: no block_coder()
  explicit DeviceDouble(uint64_t total_bytes = kRoomy, Coding coding = Coding::kByDevice);
  ~DeviceDouble() override;

  // Bytes of matrices in host memory that was not held, by operation: what a real device would have been sent for one call.
  std::map<std::string, uint64_t> host_bytes() const;
  uint64_t host_bytes(const std::string& operation) const;
  // Holds whose memory had changed by their end.
  int64_t broken_promises() const;
  int64_t held_now() const;

  std::string name() const override { return "device_double"; }
  std::string description() const override { return "the reference backend in memory of its own"; }
  std::shared_ptr<void> allocate(size_t bytes) const override;
  bool memory_is_host() const override { return false; }
  void copy(Pitched<const void*> from, Pitched<void*> to, int64_t width_bytes, int64_t rows) const override;
  HeldMemory hold(WeightView w) const override;
  DeviceMemoryUse device_memory() const override;
  void restart_peak() const override;

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
  const BlockCoder* block_coder() const override { return coding_ == Coding::kByDevice ? this : nullptr; }
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
  void require_attention(const AttentionShape& shape) const override { compute_->require_attention(shape); }
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
  class Use;
  struct Block {
    std::byte* pages = nullptr;
    size_t page_bytes = 0;  // without the last page, which stays closed
    size_t bytes = 0;       // asked for
    std::byte* data = nullptr;
  };
  struct Held {
    WeightView host;
    float* device = nullptr;  // host.cols numbers from row to row
  };
  void* take(size_t bytes) const;
  void give(void* data) const;
  const Block* owner(const void* p) const;
  const Held* covering(WeightView w) const;
  void end_hold(uint64_t id) const;

  const std::unique_ptr<Backend> compute_;
  const Coding coding_;
  mutable std::recursive_mutex mutex_;  // of everything below; an operation has it while it runs
  mutable std::map<uintptr_t, Block> blocks_;
  mutable std::map<uint64_t, Held> held_;
  mutable uint64_t next_ = 0;
  mutable DeviceMemoryUse use_;
  mutable std::map<std::string, uint64_t> host_bytes_;
  mutable int64_t broken_promises_ = 0;
};

}  // namespace sage::test
