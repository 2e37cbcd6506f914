// Checks the grouping strategies share.
#pragma once

#include <cstdint>
#include <optional>

namespace sage::grouping {

// UserError unless `forced` is absent or equals the only number of groups the strategy can give here.
void expect_groups(const char* strategy, std::optional<int64_t> forced, int64_t only);
// ResourceError unless a packed file's number of groups lies in [low, high].
void expect_stored_groups(const char* strategy, int64_t groups, int64_t low, int64_t high);

}  // namespace sage::grouping
