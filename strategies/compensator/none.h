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

  void begin(View<float> work, const CalibrationStats* stats, const Backend& backend) override;
  void column_done(int64_t column, int64_t block_last, View<const float> decoded) override;
  void block_done(int64_t first, int64_t last, View<const float> decoded) override;
};

}  // namespace sage
