// Which weights share a scale: the unit number of every weight of a row, from the group map and the scale option.
#pragma once

#include <cstdint>

#include "core/tensor/mask.h"

namespace sage {

class ScaleUnits {
 public:
  // by_row: units differ between rows. by_group: units differ between groups. Neither: one unit.
  // `groups` must outlive this unless it is a single group (engines pass a temporary there). RunError if there were more units
  // than weights: such scales would cost more than the weights themselves. `quantizer` names the component in it.
  ScaleUnits(const char* quantizer, const GroupMap& groups, bool by_row, bool by_group);

  bool by_row() const { return by_row_; }
  int64_t per_row() const { return groups_; }  // units of one row when by_row
  int64_t count() const { return by_row_ ? rows_ * groups_ : groups_; }
  const GroupMap* map() const { return map_; }  // whose labels tell units of a row apart; null: one for all
  // units[j - first] = unit of weight (i, j), first <= j < last.
  void fill(int64_t i, int64_t first, int64_t last, uint32_t* units) const;

 private:
  const GroupMap* map_;  // null: one group
  bool by_row_;
  int64_t rows_, groups_;
};

}  // namespace sage
