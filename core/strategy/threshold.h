// Threshold searchers: where to cut the saliency scores. They see numbers and scores, never a quantizer.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/strategy/saliency.h"

namespace sage {

// What quantizing with one cut would give. Bits are per weight of the matrix.
struct TrialResult {
  double relative_error = 0;  // D = ||W - What||^2 / ||W||^2 in the domain the quantizer works in
  double paper_bits = 0;      // weight + scaling bits by the paper's formula
  double stored_bits = 0;     // estimate of what the file will hold, every plane counted
};

struct SearchProblem {
  std::function<TrialResult(const Cut&)> trial;            // costs a pass over the matrix
  std::function<double(double ratio)> paper_weight_bits;   // closed form (1 - r) b_unsalient + r b_salient
  int64_t weights = 0;                                     // of the block
  // For searchers that measure error on the scores themselves (BiLLM's column search); never null inside the engine.
  const BlockContext* context = nullptr;
  const SaliencyScores* scores = nullptr;
};

struct SearchOutcome {
  Cut cut;
  double objective = 0;  // value at the cut, by the searcher's own objective; engines compare alternatives with it
  struct Point {
    Cut cut;
    TrialResult result;
    double objective = 0;
  };
  std::vector<Point> path;  // every evaluation, in order
};

class ThresholdSearcher {
 public:
  virtual ~ThresholdSearcher() = default;
  virtual SearchOutcome search(const SearchProblem& problem) const = 0;
  virtual Cut::Unit unit() const { return Cut::Unit::kRatio; }
  // The objective this searcher minimises, for a finished trial; used to compare alternatives of a pipeline.
  virtual double objective(const TrialResult& r) const = 0;
  // The limit it keeps, if it has one: the engine then checks what was found on a sample against all rows.
  virtual std::optional<double> most_stored_bits() const { return std::nullopt; }
  // The cut whose groups define K while the search runs (the lower end), so that D(r) is continuous.
  virtual double lowest_ratio() const = 0;
  // True when search() calls trial at all; a plain fixed cut does not.
  virtual bool needs_trials() const = 0;
};

}  // namespace sage
