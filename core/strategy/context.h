// What a component sees of the matrix it works on.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "core/strategy/planes.h"
#include "core/tensor/view.h"
#include "core/util/random.h"

namespace sage {

// What components report about their choices: written to OUT.h5 by `matrix` and to /trace by runs. Off unless asked for, so
// components test enabled() before they build a large array.
class Trace {
 public:
  struct Array {
    std::vector<int64_t> shape;
    std::vector<double> values;
  };
  explicit Trace(bool enabled = false) : enabled_(enabled) {}
  bool enabled() const { return enabled_; }
  void scalar(const std::string& name, double value) { scalars_[name] = value; }  // always kept: they are few
  void array(const std::string& name, std::vector<int64_t> shape, std::vector<double> values) {
    if (enabled_) arrays_[name] = {std::move(shape), std::move(values)};
  }
  const std::map<std::string, double>& scalars() const { return scalars_; }
  const std::map<std::string, Array>& arrays() const { return arrays_; }

 private:
  bool enabled_;
  std::map<std::string, double> scalars_;
  std::map<std::string, Array> arrays_;
};

// The columns a component is asked about: the whole matrix, or one segment of its columns (pipeline.h, Scope).
struct BlockContext {
  WeightView weights;                       // as they now stand (transformed, and compensated where a compensator runs)
  int64_t first_column = 0;                 // of the whole matrix; of a scattered segment, its least
  const Backend& backend;
  MatrixId id;
  uint64_t seed = 0;
  Numerics numerics = Numerics::kPacked;
  Trace* trace = nullptr;                   // never null inside the engine

  // Of the damped Hessian of the layer's inputs (core/calibration/hessian_factor.h), one value per column of `weights`; empty
  // unless the pipeline calibrates. factor_diagonal: u_j = U_jj with H^-1 = U^T U. inverse_diagonal: [H^-1]_jj.
  std::span<const float> factor_diagonal = {};
  std::span<const float> inverse_diagonal = {};
  // What the saliency filter measures salience by (SaliencyScores::target), same shape as weights; empty if it has none. For
  // grouping strategies that split the scores rather than the weights.
  WeightView saliency_target = {};

  // "split" for the first segment, "split@128" for the one that begins with column 128.
  std::string trace_name(const std::string& name) const {
    return first_column == 0 ? name : name + "@" + std::to_string(first_column);
  }

  // A random stream of this matrix and block for one purpose ("graph-nodes"): independent of order and threads.
  Rng rng(std::string_view purpose) const {
    return Rng(seed, hash_name(id.name) * 31 + hash_name(purpose) + static_cast<uint64_t>(first_column));
  }
};

}  // namespace sage
