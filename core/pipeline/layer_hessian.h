// The Gram of a layer's inputs and its factors, shared by the matrices that read the same inputs (query, key and value).
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "core/calibration/hessian_factor.h"
#include "core/tensor/view.h"

namespace sage {

class LayerHessian {
 public:
  // `gram` (cols x cols, upper triangle) must outlive the object. `layer` names it in errors.
  LayerHessian(WeightView gram, FactorOptions options, std::string layer)
      : gram_(gram), options_(options), layer_(std::move(layer)) {}

  WeightView gram() const { return gram_; }
  const FactorOptions& options() const { return options_; }
  const std::string& layer() const { return layer_; }
  // Of the Gram as it is, made when first asked for; the reference lives as long as the object. Throws as factor_hessian does.
  const HessianFactor& factor(bool act_order) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::unique_ptr<HessianFactor>& f = factors_[act_order ? 1 : 0];
    if (f == nullptr) {
      FactorOptions o = options_;
      o.act_order = act_order;
      f = std::make_unique<HessianFactor>(factor_hessian(gram_, o, layer_));
    }
    return *f;
  }

 private:
  WeightView gram_;
  FactorOptions options_;
  std::string layer_;
  mutable std::mutex mutex_;
  mutable std::unique_ptr<HessianFactor> factors_[2];
};

}  // namespace sage
