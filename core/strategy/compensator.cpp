#include "core/strategy/compensator.h"

#include "core/util/errors.h"

namespace sage {

void Compensator::column_done(WeightView, int64_t, View<float>, std::span<const float>, std::span<float>, const Backend&) const {
  throw Error(ExitCode::kInternalError, "compensator: does not work column by column");
}

void Compensator::block_error(WeightView, View<float>, WeightView, View<float>, const Backend&) const {
  throw Error(ExitCode::kInternalError, "compensator: does not work block by block");
}

}  // namespace sage
