// Hidden states of all calibration sequences between two decoder blocks: N x L x d floats, in memory when they fit a budget,
// otherwise in a mapped file that has no name (it vanishes with the process, however that ends). The room on the disk is taken
// at once, so that a full disk is an error here and not a crash at some later write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/tensor/view.h"

namespace sage {

class HiddenStates {
 public:
  // `folder` for the file: "" = cache_folder()/hidden, or memory where that cannot be written and half of what is available
  // suffices. ResourceError: sizes that do not fit 2^62 bytes, a folder that cannot be
  // written, a disk without the room (says how much is needed), no memory.
  HiddenStates(int64_t sequences, int64_t length, int64_t width, uint64_t memory_budget_bytes, const std::string& folder = "");
  ~HiddenStates();
  HiddenStates(HiddenStates&& other) noexcept;
  HiddenStates& operator=(HiddenStates&& other) noexcept;

  int64_t sequences() const { return sequences_; }
  int64_t length() const { return length_; }
  int64_t width() const { return width_; }
  uint64_t bytes() const { return bytes_; }
  bool mapped() const { return mapped_; }

  // L x d. Zero until written.
  View<float> sequence(int64_t i) { return {data_ + i * length_ * width_, length_, width_}; }
  WeightView sequence(int64_t i) const { return {data_ + i * length_ * width_, length_, width_}; }
  // Sequences [first, last) one below the other.
  View<float> range(int64_t first, int64_t last) {
    return {data_ + first * length_ * width_, (last - first) * length_, width_};
  }
  // Sequence i is not needed for a while: its pages may leave memory (its values stay). Nothing when not mapped.
  void release(int64_t i);

 private:
  int64_t sequences_ = 0, length_ = 0, width_ = 0;
  uint64_t bytes_ = 0;
  bool mapped_ = false;
  float* data_ = nullptr;
};

}  // namespace sage
