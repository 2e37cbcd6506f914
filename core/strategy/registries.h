// All component registries, passed by reference from main; filled once by register_builtin (strategies/builtin.cpp).
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/coder.h"
#include "core/strategy/compensator.h"
#include "core/strategy/grouping.h"
#include "core/strategy/quantizer.h"
#include "core/strategy/saliency.h"
#include "core/strategy/threshold.h"
#include "core/strategy/transform.h"

namespace sage {

struct Registries {
  Registry<SaliencyFilter> saliency{"saliency"};
  Registry<GroupingStrategy> grouping{"grouping"};
  Registry<Quantizer> quantizer{"quantizer"};
  Registry<ThresholdSearcher> threshold{"threshold"};
  Registry<Transform> transform{"transform"};
  Registry<Compensator> compensator{"compensator"};
  Registry<Coder> coder{"coder"};

  // Every component of every kind, for listings and for the tests that run over all of them.
  std::vector<ComponentInfo> all() const;
};

}  // namespace sage
