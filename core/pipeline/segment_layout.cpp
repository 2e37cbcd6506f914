#include "core/pipeline/segment_layout.h"

#include <algorithm>

#include "core/util/errors.h"

namespace sage {
namespace {

constexpr const char* kColumnSegments = "column_segments";
constexpr int64_t kMostScattered = 256;  // segment ids are symbols of one byte

SegmentLayout contiguous(const Pipeline& p, int64_t cols) { return {contiguous_segments(cols, p.scope.columns), contiguous_segments(cols, p.salient_scope.columns)}; }

}  // namespace

SegmentLayout segment_layout(const Pipeline& p, std::span<const int64_t> order, const std::string& matrix) {
  const int64_t cols = static_cast<int64_t>(order.size());
  if (!p.scattered_segments()) return contiguous(p, cols);
  SegmentLayout out;
  out.scattered = true;
  out.unsalient = out.salient = ordered_segments(order, p.scope.columns);
  if (static_cast<int64_t>(out.unsalient.size()) > kMostScattered)
    throw RunError("{}: {} segments of {} columns with column_order activation; expected at most {}; use wider segments, or fit them upfront "
                   "(segment_weights: cleaned)",
                   matrix, out.unsalient.size(), p.scope.columns, kMostScattered);
  return out;
}

void emit_layout(const SegmentLayout& layout, int64_t cols, PlaneWriter& writer) {
  if (!layout.scattered || layout.unsalient.size() < 2) return;
  std::vector<uint8_t> ids(static_cast<size_t>(cols));
  for (size_t k = 0; k < layout.unsalient.size(); ++k)
    for (const int64_t c : layout.unsalient[k].columns()) ids[static_cast<size_t>(c)] = static_cast<uint8_t>(k);
  writer.symbols(kColumnSegments, Role::kGroupIndex, static_cast<int>(layout.unsalient.size()), std::move(ids));
}

SegmentLayout stored_layout(const Pipeline& p, int64_t cols, PlaneReader& reader, const std::string& matrix) {
  const int64_t count = p.scope.columns > 0 ? (cols + p.scope.columns - 1) / p.scope.columns : 1;
  if (!p.scattered_segments() || count < 2) return contiguous(p, cols);
  if (count > kMostScattered)
    throw ResourceError("{}: {} segments in stored order; expected at most {}; the packed file does not match its config.json", matrix, count, kMostScattered);
  SegmentLayout out;
  out.scattered = true;
  out.unsalient = out.salient = segments_of_ids(reader.symbols(kColumnSegments, cols, static_cast<int>(count)), count);
  for (size_t k = 0; k < out.unsalient.size(); ++k)
    if (out.unsalient[k].size() != std::min(p.scope.columns, cols - static_cast<int64_t>(k) * p.scope.columns))
      throw ResourceError("{}: segment {} has {} columns; expected {}; the packed file is damaged", matrix, k, out.unsalient[k].size(), p.scope.columns);
  return out;
}

}  // namespace sage
