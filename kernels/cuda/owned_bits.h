// Ownership bits on their way to the device.
#pragma once

#include "core/tensor/mask.h"
#include "kernels/cuda/call.h"
#include "kernels/cuda/statistics_kernels.h"

namespace sage::cuda {

// The ownership bits of rows [row0, row1).
inline OwnedBits send(Call& call, const Selection& own, int64_t row0, int64_t row1) {
  if (own.all()) return {};
  const BitMask& bits = own.mask->bits();
  const bool per_row = own.mask->shape() == MaskShape::kElements;
  const View<const uint64_t> words(bits.row(per_row ? row0 : 0), per_row ? row1 - row0 : 1, bits.words_per_row());
  return {call.in(words).data, per_row ? words.cols : 0, own.salient};
}

}  // namespace sage::cuda
