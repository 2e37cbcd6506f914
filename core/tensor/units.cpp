#include "core/tensor/units.h"

#include <algorithm>

#include "core/util/errors.h"

namespace sage {

ScaleUnits::ScaleUnits(const char* quantizer, const GroupMap& groups, bool by_row, bool by_group)
    : map_(by_group && groups.shape != LabelShape::kSingle ? &groups : nullptr),
      by_row_(by_row),
      rows_(groups.rows),
      groups_(map_ != nullptr ? groups.groups : 1) {
  const int64_t weights = groups.rows * groups.cols;
  if (groups_ > (by_row_ && rows_ > 0 ? std::max<int64_t>(weights / rows_, 256) : std::max<int64_t>(weights, 256)))
    throw RunError(
        "{}: {} rows with {} groups of {} weights ask for more scales than weights; expected fewer groups; use a coarser "
        "grouping "
        "or, with binary, scale: group",
        quantizer, rows_, groups_, weights);
}

void ScaleUnits::fill(int64_t i, int64_t first, int64_t last, uint32_t* units) const {
  const uint32_t base = by_row_ ? static_cast<uint32_t>(i * groups_) : 0;
  const int64_t n = last - first;
  if (map_ == nullptr) {
    std::fill_n(units, n, base);
    return;
  }
  switch (map_->shape) {
    case LabelShape::kSingle: std::fill_n(units, n, base); break;
    case LabelShape::kRow: std::fill_n(units, n, base + map_->label[static_cast<size_t>(i)]); break;
    case LabelShape::kColumn:
      for (int64_t t = 0; t < n; ++t)
        units[t] = base + map_->label[static_cast<size_t>(first + t)];
      break;
    case LabelShape::kRowBlock: {
      const int64_t block = map_->block, blocks = map_->blocks_per_row();
      for (int64_t j = first; j < last;) {
        const int64_t end = std::min(last, (j / block + 1) * block);
        std::fill_n(units + (j - first), end - j, base + map_->label[static_cast<size_t>(i * blocks + j / block)]);
        j = end;
      }
      break;
    }
    case LabelShape::kElement: {
      const uint8_t* label = map_->element.data() + i * map_->cols + first;
      for (int64_t t = 0; t < n; ++t)
        units[t] = base + label[t];
      break;
    }
  }
}

}  // namespace sage
