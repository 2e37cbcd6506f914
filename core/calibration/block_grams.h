// The Grams of one decoder block, one for each group of linear layers that share an input, gathered while the block runs:
//
//   BlockGrams grams(layer, precision, backend);
//   for (each sequence i)
//     forward_block(..., grams.observer());
//   std::map<std::string, Gram> by_group = grams.finish({"qkv", "o", "gate_up", "down"});
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/calibration/gram.h"
#include "core/model/forward.h"

namespace sage {

class BlockGrams {
 public:
  BlockGrams(int layer, GramPrecision precision, const Backend& backend);
  // For forward_block; each call of the observer counts as `sequences` sequences. Must not outlive the object.
  InputObserver observer(int64_t sequences = 1);
  // Grams by group. RunError: one of `groups` was never seen, or what GramAccumulator reports.
  std::map<std::string, Gram> finish(const std::vector<std::string>& groups);

 private:
  int layer_;
  GramPrecision precision_;
  const Backend& backend_;
  std::map<std::string, GramAccumulator> grams_;
};

}  // namespace sage
