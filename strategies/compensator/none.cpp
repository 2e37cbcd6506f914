#include "strategies/compensator/none.h"

namespace sage {

void NoCompensation::begin(View<float>, const CalibrationStats*, const Backend&) {}
void NoCompensation::column_done(int64_t, int64_t, View<const float>) {}
void NoCompensation::block_done(int64_t, int64_t, View<const float>) {}

}  // namespace sage
