#include "strategies/grouping/options.h"

#include "core/util/errors.h"

namespace sage::grouping {

void expect_groups(const char* strategy, std::optional<int64_t> forced, int64_t only) {
  if (forced && *forced != only)
    throw UserError(
        "grouping {}: found {} groups asked for; expected {}, which follows from its parameters; change those instead",
        strategy, *forced, only);
}

void expect_stored_groups(const char* strategy, int64_t groups, int64_t low, int64_t high) {
  if (groups < low || groups > high)
    throw ResourceError(
        "grouping {}: found {} groups in the packed file; expected {} .. {}; the file is damaged or of another recipe",
        strategy, groups, low, high);
}

}  // namespace sage::grouping
