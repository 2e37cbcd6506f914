// The reference backend's fits, searches and coding of columns (backend.h, block_coder.h), in files of their own.
#pragma once

#include "core/backend/backend.h"
#include "core/backend/block_coder.h"

namespace sage::reference {

void unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                  std::span<Moments> out);
double residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                         std::span<ResidualLevels> levels);
void split_errors(WeightView x, const SplitTrials& trials, std::span<double> errors, std::span<int64_t> upper_count);
void code_block(const BlockCoding& block, WeightView w, View<float> decoded, View<uint8_t> symbols, View<float> error);

}  // namespace sage::reference
