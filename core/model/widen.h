// 16-bit floats in unaligned memory -> FP32, with F16C where the processor has it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sage {

void widen_half(const std::byte* from, int64_t count, float* to);
void widen_bfloat16(const std::byte* from, int64_t count, float* to);
bool all_finite(const float* x, int64_t count);

}  // namespace sage
