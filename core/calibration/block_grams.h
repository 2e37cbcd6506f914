// The Grams of one decoder block, one for each group of linear layers that share an input, gathered while the block runs:
//
//   BlockGrams grams(layer, {"qkv", "o", "gate_up", "down"}, precision, backend);
//   for (each sequence i)
//     forward_block(..., grams.observer());
//   std::map<std::string, Gram> by_group = grams.finish();
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/calibration/gram.h"
#include "core/model/forward.h"

namespace sage {

class BlockGrams {
 public:
  // Inputs of other groups are not looked at.
  BlockGrams(int layer, std::vector<std::string> groups, GramPrecision precision, const Backend& backend);
  // For forward_block; each call of the observer counts as `sequences` sequences. Must not outlive the object.
  InputObserver observer(int64_t sequences = 1);
  // Grams by group. RunError: one of the groups was never seen, or what GramAccumulator reports.
  std::map<std::string, Gram> finish();

 private:
  int layer_;
  std::vector<std::string> groups_;
  GramPrecision precision_;
  const Backend& backend_;
  std::map<std::string, GramAccumulator> grams_;
};

}  // namespace sage
