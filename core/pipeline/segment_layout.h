// Which columns make a segment of either slot (pipeline.h, Scope): from a pipeline and its order of work, and from a file.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/pipeline/pipeline.h"
#include "core/pipeline/segments.h"

namespace sage {

struct SegmentLayout {
  std::vector<ColumnSet> unsalient, salient;
  bool scattered = false;  // segments follow the order of work, and the file holds the segment of every column
};

// order: position -> column. RunError naming the matrix for more scattered segments than ids.
SegmentLayout segment_layout(const Pipeline& pipeline, std::span<const int64_t> order, const std::string& matrix);
// The ids, where the file needs them.
void emit_layout(const SegmentLayout& layout, int64_t cols, PlaneWriter& writer);
// The inverse, from a pipeline and the planes of a file. ResourceError where ids do not fit the pipeline.
SegmentLayout stored_layout(const Pipeline& pipeline, int64_t cols, PlaneReader& reader, const std::string& matrix);

}  // namespace sage
