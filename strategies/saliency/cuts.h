// What the saliency filters share: reading a cut, and refusing weights that are not numbers.
#pragma once

#include <cstdint>

#include "core/strategy/saliency.h"

namespace sage::saliency {

// The ratio of a kRatio cut, 0 .. 1. UserError for another unit or a value outside, naming the filter.
double ratio_of(const Cut& cut, const char* filter);

// A ratio r keeps the scores above the order statistic of rank floor((1 - r)(n - 1)) (0-based): at most n - 1 - rank of them,
// and fewer where scores tie with it, so that the outcome never depends on the order of equal scores.
int64_t rank_of(double ratio, int64_t n);

// The rank floor(n f) of a kPercentile cut f, the product taken in double as PB-LLM takes it. UserError unless 0 <= f < 1: at
// f = 1 there is no such rank (the released code reads past the end).
int64_t percentile_rank(const Cut& cut, int64_t n, const char* filter);

// Statistics of the block. RunError when it holds a NaN or an infinity: no score means anything then.
MatrixStats finite_stats(const BlockContext& ctx);

[[noreturn]] void fail_unit(const Cut& cut, const char* filter, const char* known);

}  // namespace sage::saliency
