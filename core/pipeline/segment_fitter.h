// Plans and fits the segments of both slots: of a matrix that is being coded, or of a sample of its rows to see what that would give.
#pragma once

#include <functional>
#include <vector>

#include "core/pipeline/block_planner.h"
#include "core/pipeline/column_coder.h"
#include "core/pipeline/matrix_inputs.h"
#include "core/pipeline/segment_layout.h"

namespace sage {

// The columns of a set as they are at the moment a scope says, in stored order. Copies go to `storage`, and what the backend does
// not hold yet to `held`.
using SegmentWeights = std::function<WeightView(const ColumnSet& set, Scope::Weights when, Matrix& storage, HeldMemory& held)>;

class SegmentFitter {
 public:
  // `rows`: the rows seen and everything else the segments' contexts share. matrix: all of it. References must outlive the fitter.
  SegmentFitter(const Pipeline& pipeline, const BlockContext& rows, MatrixShape matrix, TransformCost transform, const MatrixCalibration& calibration,
                SegmentLayout layout, SegmentWeights weights);

  const SegmentLayout& layout() const { return layout_; }
  std::vector<CodedSegment>& unsalient() { return unsalient_; }
  std::vector<CodedSegment>& salient() { return salient_; }  // empty when nothing can be salient

  // The selection before what rests on it: a salient segment needs the plans of the columns it covers.
  void fit_unsalient(size_t index);
  void fit_salient(size_t index);
  void fit_all();

  // What a file of the fits holds and how far its weights are from those that were fitted, all segments together. With `factors`,
  // of the rows seen, the error is that of the weights before their transform. Spends the fits.
  TrialResult outcome(const ErrorFactors* factors = nullptr);

  SaliencyMask mask() const;  // of all columns
  int64_t groups() const;     // largest over the segments
  // Planes of all segments; adds what the paper counts.
  PaperCount emit(PlaneWriter& writer);

 private:
  struct Open {
    Matrix storage;
    HeldMemory held;
    std::vector<float> diagonal, inverse_diagonal;
    std::optional<BlockContext> ctx;
  };
  void open(Open& segment, const ColumnSet& set, Scope::Weights when) const;
  double salient_threshold(size_t index) const;
  void place_mask(const SaliencyMask& mask, const ColumnSet& set);
  void trace_segment(const SegmentPlan& plan, const ColumnSet& set) const;

  const Pipeline& p_;
  const BlockContext rows_;
  MatrixShape matrix_;
  TransformCost transform_;
  const MatrixCalibration& calibration_;
  SegmentLayout layout_;
  SegmentWeights weights_;
  std::vector<SegmentPlan> plans_;           // masks and groups outlive the fits that refer to them
  std::vector<SaliencyMask> salient_masks_;
  std::vector<CodedSegment> unsalient_, salient_;
  BitMask whole_;
  MaskShape shape_ = MaskShape::kNone;
};

}  // namespace sage
