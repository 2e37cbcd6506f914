// No compensation: every weight is coded as it was. Stored: nothing. Cost: none.
#pragma once

#include "core/registry/registry.h"
#include "core/strategy/compensator.h"

namespace sage {

class NoCompensation final : public Compensator {
 public:
  struct Params {};
  static constexpr auto kName = "none";
  static constexpr auto kDoc = "No error compensation: columns are coded as they are.";
  static constexpr int kVersion = 1;
  static constexpr Citation kReference{};
  static Schema<Params> schema() { return {}; }
  explicit NoCompensation(Params) {}

  bool needs_calibration() const override { return false; }
};

}  // namespace sage
