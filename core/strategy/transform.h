// Transforms: invertible maps applied to a matrix before it is quantized and undone after it is decoded.
#pragma once

#include <memory>
#include <vector>

#include "core/strategy/context.h"
#include "core/strategy/planes.h"

namespace sage {

// Squared errors of transformed weights as errors of the weights: ||W - What||^2 = sum_ij rows_i columns_j (W'_ij - What'_ij)^2.
// Empty = all 1.
struct ErrorFactors {
  std::vector<double> rows, columns;
};

class FittedTransform {
 public:
  virtual ~FittedTransform() = default;
  virtual void apply(View<float> w, const Backend& backend) const = 0;  // in place, with parameters as stored
  // The Gram of the inputs the transformed matrix sees, in place: with W' = T(W) and x' so that W' x' = W x (up to a map of the
  // outputs that keeps squared norms row by row or is undone row by row), H' = sum x' x'^T. cols x cols, both triangles.
  virtual void apply_to_gram(View<float> gram, const Backend& backend) const = 0;
  virtual ErrorFactors error_factors() const { return {}; }             // of an isometry, none
  virtual void emit(PlaneWriter& writer) const = 0;                     // everything the inverse needs
  virtual int64_t number_count() const = 0;                             // real parameters stored
  virtual double paper_scale_words() const { return 0; }
};

class Transform {
 public:
  virtual ~Transform() = default;
  virtual std::unique_ptr<FittedTransform> fit(const BlockContext& whole_matrix) const = 0;
  // Undoes the transform in place. `seed` and `name` identify the random stream of randomized transforms.
  virtual void invert(PlaneReader& reader, View<float> w, const Backend& backend) const = 0;
  virtual bool is_identity() const { return false; }
};

}  // namespace sage
