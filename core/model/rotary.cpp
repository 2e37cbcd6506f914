#include "core/model/rotary.h"

#include <cmath>
#include <numbers>

#include "core/util/errors.h"

namespace sage {

RotaryTable rotary_table(const RotaryConfig& rotary, int64_t head_dim) {
  if (head_dim <= 0 || head_dim % 2 != 0)
    throw ResourceError("rotary embedding: head_dim {}; expected an even number; check the model's configuration", head_dim);
  RotaryTable table;
  table.head_dim = static_cast<int>(head_dim);
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double f = std::pow(rotary.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    double scaled = f;
    if (rotary.scaling == RotaryConfig::Scaling::kLinear) {
      scaled = f / rotary.factor;
    } else if (rotary.scaling == RotaryConfig::Scaling::kLlama3) {
      const double periods = static_cast<double>(rotary.original_positions) * f / (2.0 * std::numbers::pi);  // L / w
      if (periods < rotary.low_freq_factor) {
        scaled = f / rotary.factor;
      } else if (periods <= rotary.high_freq_factor) {
        const double s = (periods - rotary.low_freq_factor) / (rotary.high_freq_factor - rotary.low_freq_factor);
        scaled = (1.0 - s) * f / rotary.factor + s * f;
      }
    }
    table.inv_freq.push_back(scaled);
  }
  return table;
}

}  // namespace sage
