// Fits of units on the device. Moments of cells and columns come back to the host, which adds them up in their order, by the
// labels it has; where neither is of one unit, labels go over and units come back.
#include <algorithm>
#include <span>
#include <vector>

#include "kernels/cuda/call.h"
#include "kernels/cuda/moments_sum.h"
#include "kernels/cuda/owned_bits.h"
#include "kernels/shapes.h"

namespace sage::cuda {
namespace {

// Of rows [row0, row1).
UnitLabels send(Call& call, const ScaleUnits& units, int64_t row0, int64_t row1) {
  UnitLabels out;
  out.by_row = units.by_row();
  out.groups = static_cast<uint32_t>(units.per_row());
  const GroupMap* map = units.map();
  if (map == nullptr || map->cols == 0) return out;
  if (map->shape == LabelShape::kElement) {
    out.element = call.in(View<const uint8_t>(map->element.data() + row0 * map->cols, row1 - row0, map->cols)).data;
    return out;
  }
  out.row_labels = map->shape == LabelShape::kRow ? 1 : map->shape == LabelShape::kRowBlock ? map->blocks_per_row() : 0;
  if (map->shape == LabelShape::kRow) out.block = static_cast<uint32_t>(map->cols);
  if (map->shape == LabelShape::kRowBlock) out.block = static_cast<uint32_t>(std::min(map->block, map->cols));
  const std::span<const uint32_t> labels = map->label;
  out.label = call.in(out.row_labels == 0 ? labels
                                          : labels.subspan(static_cast<size_t>(row0 * out.row_labels),
                                                           static_cast<size_t>((row1 - row0) * out.row_labels)));
  return out;
}

// The part of `values`, one per unit, that belongs to rows [row0, row1).
template <class T>
std::span<T> of_rows(std::span<T> values, const ScaleUnits& units, int64_t row0, int64_t row1) {
  if (!units.by_row() || values.empty()) return values;
  return values.subspan(static_cast<size_t>(row0 * units.per_row()), static_cast<size_t>((row1 - row0) * units.per_row()));
}

const float* send(Call& call, std::span<const float> center) { return center.empty() ? nullptr : call.in(center); }

}  // namespace

void DeviceBackend::unit_moments(WeightView w, const Selection& own, const ScaleUnits& units, std::span<const float> center,
                                 std::span<Moments> out) const {
  shapes::unit_moments(w, own, units, center, out);
  std::fill(out.begin(), out.end(), Moments{});
  if (w.size() == 0) return;
  const FitKernels& k = kernels_.fits;
  const LabelShape shape = units.map() == nullptr ? LabelShape::kSingle : units.map()->shape;

  if (shape == LabelShape::kElement || (shape == LabelShape::kColumn && units.by_row())) {
    int out_of_range = 0;
    Call call(*this, "unit_moments");
    const WeightView d = call.in(w);
    auto* parts = units.by_row() ? nullptr : call.scratch<Moments>(label_parts(w.rows) * units.per_row());
    call.launched(k.label_moments(d, send(call, own, 0, w.rows), send(call, units, 0, w.rows), send(call, center), parts,
                                  call.out(out), call.inout(View<int>(&out_of_range, 1, 1)).data, call.stream()));
    call.finish();
    shapes::require(out_of_range == 0, "unit_moments", shapes::kLabelRule);
    return;
  }
  if (shape == LabelShape::kColumn) {
    std::vector<Moments> columns(static_cast<size_t>(w.cols));
    Call call(*this, "unit_moments");
    const WeightView d = call.in(w);
    auto* parts = call.scratch<Moments>(column_bands(w.rows, w.cols) * w.cols);
    call.launched(k.column_moments(d, send(call, own, 0, w.rows), send(call, units, 0, w.rows), send(call, center), parts,
                                   call.out(std::span(columns)), call.stream()));
    call.finish();
    for (size_t j = 0; j < columns.size(); ++j)
      add_to(out[units.map()->label[j]], columns[j]);
    return;
  }
  // Rows, or blocks of them. Bands of rows, so that the cells of all blocks of a large matrix are never in memory at once.
  constexpr int64_t kCellsAtOnce = int64_t{1} << 18;
  const bool whole = shape != LabelShape::kRowBlock;
  const int64_t blocks = whole ? 1 : units.map()->blocks_per_row(), block = whole ? w.cols : units.map()->block;
  const int64_t band = std::max<int64_t>(1, kCellsAtOnce / blocks);
  std::vector<Moments> cells(static_cast<size_t>(std::min(band, w.rows) * blocks));
  for (int64_t row0 = 0; row0 < w.rows; row0 += band) {
    const int64_t row1 = std::min(w.rows, row0 + band), count = (row1 - row0) * blocks;
    Call call(*this, "unit_moments");
    const WeightView d = call.in(w.row_range(row0, row1));
    call.launched(k.cell_moments(d, send(call, own, row0, row1), send(call, units, row0, row1),
                                 send(call, of_rows(center, units, row0, row1)), block,
                                 call.out(std::span(cells).first(static_cast<size_t>(count))), call.stream()));
    call.finish();
    for (int64_t c = 0; c < count; ++c) {
      const int64_t label = shape == LabelShape::kSingle ? 0 : units.map()->label[static_cast<size_t>(row0 * blocks + c)];
      const int64_t first = units.by_row() ? (row0 + c / blocks) * units.per_row() : 0;
      add_to(out[static_cast<size_t>(first + label)], cells[static_cast<size_t>(c)]);
    }
  }
}

double DeviceBackend::residual_binarize(WeightView w, const Selection& own, const ScaleUnits& units, const ResidualRule& rule,
                                        std::span<ResidualLevels> levels) const {
  shapes::residual_binarize(w, own, units, rule, levels);
  std::fill(levels.begin(), levels.end(), ResidualLevels{});
  if (w.size() == 0) return 0;
  const int64_t tiles = residual_tiles(units.per_row());
  std::vector<double> errors(static_cast<size_t>(w.rows * tiles));
  int out_of_range = 0;
  Call call(*this, "residual_binarize");
  const WeightView d = call.in(w);
  call.launched(kernels_.fits.residual_binarize(d, send(call, own, 0, w.rows), send(call, units, 0, w.rows), rule,
                                                call.out(levels), call.out(std::span(errors)),
                                                call.inout(View<int>(&out_of_range, 1, 1)).data, call.stream()));
  call.finish();
  shapes::require(out_of_range == 0, "residual_binarize", shapes::kLabelRule);
  double error = 0;
  for (int64_t i = 0; i < w.rows; ++i) {
    double of_row = 0;
    for (int64_t t = 0; t < tiles; ++t)
      of_row += errors[static_cast<size_t>(i * tiles + t)];
    error += of_row;
  }
  return error;
}

}  // namespace sage::cuda
