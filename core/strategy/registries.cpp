#include "core/strategy/registries.h"

namespace sage {

std::vector<ComponentInfo> Registries::all() const {
  std::vector<ComponentInfo> out;
  const auto append = [&out](std::vector<ComponentInfo> more) {
    for (ComponentInfo& c : more) out.push_back(std::move(c));
  };
  append(saliency.list());
  append(grouping.list());
  append(quantizer.list());
  append(threshold.list());
  append(transform.list());
  append(compensator.list());
  append(coder.list());
  return out;
}

}  // namespace sage
