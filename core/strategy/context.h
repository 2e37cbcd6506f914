// What a component sees of the matrix it works on.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "core/strategy/planes.h"
#include "core/tensor/view.h"
#include "core/util/random.h"

namespace sage {

// Input statistics of one linear layer, in the layout of the calibration pass. gram = (2/N) sum X X^T, cols x cols, FP32.
struct CalibrationStats {
  View<const float> gram;
  int64_t tokens = 0;
  std::string digest;
};

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

// The columns now in work: the whole matrix, or one column block of it.
struct BlockContext {
  WeightView weights;                       // as they now stand (transformed, and compensated where a compensator runs)
  int64_t first_column = 0;                 // of the whole matrix
  const CalibrationStats* stats = nullptr;  // absent unless calibration was run
  const Backend& backend;
  MatrixId id;
  uint64_t seed = 0;
  Numerics numerics = Numerics::kPacked;
  Trace* trace = nullptr;                   // never null inside the engine

  // A random stream of this matrix and block for one purpose ("graph-nodes"): independent of order and threads.
  Rng rng(std::string_view purpose) const {
    return Rng(seed, hash_name(id.name) * 31 + hash_name(purpose) + static_cast<uint64_t>(first_column));
  }
};

}  // namespace sage
