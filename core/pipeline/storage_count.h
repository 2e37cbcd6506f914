// What fitted segments of a matrix will store, counted without writing it, and the size of that file.
//
// Planes of several segments are one plane of the file and are priced as one, each by the coder its role has in the file
// (plane_store.h). Fits on a sample of the rows stand for all rows: what grows with them is scaled up, what is stored once (per
// column, group or matrix) is not.
//   bits = sum over planes of coder(role).symbol_bits + numbers of 16 (reference numerics: 32) + position_bits of the salient
//          weights + the header
// With all rows this is the payload of the file but for the header, which is estimated from the number of its entries.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <utility>

#include "core/pipeline/pipeline.h"
#include "core/pipeline/segments.h"

namespace sage {

// Rows x columns of the whole matrix, where a context sees a sample of its rows and a segment of its columns.
struct MatrixShape {
  int64_t rows = 0, cols = 0;
  int64_t size() const { return rows * cols; }
};

// What a transform stores and what the paper counts of it, in bits per weight of the matrix.
struct TransformCost {
  double stored_bits = 0, paper_bits = 0;
};
TransformCost cost_of(const Pipeline& pipeline, const FittedTransform& transform, MatrixShape matrix);

class StorageCount {
 public:
  enum class Slot { kUnsalient, kSalient };

  explicit StorageCount(const Pipeline& pipeline) : p_(pipeline) {}
  // All contexts must hold the same rows, the weights the fit saw.
  void add_labels(const BlockContext& ctx, const SaliencyMask& mask, const GroupMap& groups);
  // Codes the weights once where a coder's size depends on symbols the fit has not counted; the fit is spent then.
  void add_fit(const BlockContext& ctx, FittedQuantizer& fit, Slot slot);
  void add_mask(const SaliencyMask& mask);
  void add_column_ids(const std::vector<ColumnSet>& segments);  // of scattered segments

  // Per weight, of `cols` columns of a matrix of which `rows` rows were seen. Without the transform.
  double stored_bits(MatrixShape matrix, int64_t rows, int64_t cols) const;
  double paper_bits(MatrixShape matrix, int64_t rows, int64_t cols) const;

 private:
  // A plane of the file by slot, role and place among the planes of that role (BiLLM's orders of signs).
  using PlaneKey = std::pair<Slot, std::pair<Role, int>>;
  struct Numbers {
    int64_t all = 0, shared = 0;
  };

  const Pipeline& p_;
  std::map<PlaneKey, SymbolCount> planes_;
  SymbolCount element_labels_, other_labels_, column_ids_;  // one id per weight; per row, column or row block; segment of a column
  bool labels_by_row_ = false;
  std::array<Numbers, 2> numbers_;
  double row_mask_bits_ = 0, column_mask_bits_ = 0;
  int64_t segments_ = 0;
  double weight_bits_ = 0, scale_words_ = 0, shared_scale_words_ = 0;
};

}  // namespace sage
