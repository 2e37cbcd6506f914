#include "strategies/compensator/gptq.h"

namespace sage {

void GptqCompensation::column_done(WeightView u, int64_t c, View<float> tile, std::span<const float> decoded, std::span<float> error,
                                   const Backend& backend) const {
  const float* column = tile.row(c);
  const float d = u(c, c);
  for (size_t r = 0; r < error.size(); ++r)
    error[r] = (column[r] - decoded[r]) / d;
  const int64_t rest = tile.rows - c - 1;
  if (rest > 0) backend.subtract_outer({u.row(c) + c + 1, static_cast<size_t>(rest)}, error, tile.row_range(c + 1, tile.rows));
}

}  // namespace sage
