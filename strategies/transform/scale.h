// Divides a matrix by the magnitude of its rows, or of its rows and columns, before it is quantized.
//
//   W'_ij = W_ij / (s_i t_j);   row: s_i = RMS of row i, t_j = 1
//   rank1: from t = 1, `passes` times: s_i = RMS_j(W_ij / t_j), then t_j = RMS_i(W_ij / s_i); t scaled to unit RMS
// Rows and columns of zeros keep 1. s and t are rounded to FP16 before they are used. One set of levels per matrix starves rows
// and columns of small norm; after this transform it does not.
// Source: our own measurement on SmolLM2 (the square-root form of matrix equilibration, Sinkhorn and Knopp 1967).
// Stored: "scale_rows", "scale_columns" (kTransform): 16 / cols bits per weight, + 16 / rows for rank1. Paper count: as stored.
// Cost: one pass (row) or `passes` passes, one to divide. Errors are then spread like s_i t_j: D in the original domain differs
// from D in the transformed one.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/transform.h"

namespace sage {

enum class ScaleMode { kRow, kRank1 };

class ScaleTransform final : public Transform {
 public:
  struct Params {
    ScaleMode mode = ScaleMode::kRank1;
    int passes = 4;
  };
  static constexpr auto kName = "scale";
  static constexpr auto kDoc = "Divides by the RMS of each row, or by a rank-1 pattern of rows and columns; scales are stored.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() {
    return Schema<Params>{}
        .add("mode", &Params::mode, choices<ScaleMode>({{"row", ScaleMode::kRow}, {"rank1", ScaleMode::kRank1}}),
             "Rows only, or rows times columns.")
        .add("passes", &Params::passes, range(1, 64), "Alternating passes of rank1.");
  }
  explicit ScaleTransform(Params p) : p_(p) {}

  std::unique_ptr<FittedTransform> fit(const BlockContext& whole_matrix) const override;
  void invert(PlaneReader& reader, View<float> w, const Backend& backend) const override;

 private:
  Params p_;
};

}  // namespace sage
