// Statistics and quantization on the device. Group labels of rows, columns and row blocks stay on the host, which adds the
// cells' moments up in their order; labels of single weights go over, a byte each.
#include <span>
#include <vector>

#include "kernels/cuda/call.h"
#include "kernels/cuda/moments_sum.h"
#include "kernels/cuda/owned_bits.h"
#include "kernels/shapes.h"

namespace sage::cuda {
namespace {

template <class T>
std::span<T> one(T& value) {
  return {&value, 1};
}

}  // namespace

MatrixStats DeviceBackend::matrix_stats(WeightView w) const {
  MatrixStats out;
  if (w.size() == 0) return out;
  Call call(*this, "matrix_stats");
  const WeightView d = call.in(w);
  call.launched(kernels_.statistics.matrix_stats(d, call.scratch<MatrixStats>(kMostParts), call.out(one(out)), call.stream()));
  call.finish();
  if (out.moments.count == 0) out.min = out.max = 0;
  return out;
}

float DeviceBackend::deviation_order_statistic(WeightView w, float center, int64_t k) const {
  shapes::order_statistic(w, k);
  float out = 0;
  Call call(*this, "deviation_order_statistic");
  const WeightView d = call.in(w);
  call.launched(
      kernels_.statistics.order_statistic(d, center, k, call.scratch<RadixState>(1, true), call.out(one(out)), call.stream()));
  call.finish();
  return out;
}

BitMask DeviceBackend::deviation_above(WeightView w, float center, float threshold) const {
  BitMask out(w.rows, w.cols);
  if (w.size() == 0) return out;
  Call call(*this, "deviation_above");
  const WeightView d = call.in(w);
  const View<uint64_t> words = call.out(View<uint64_t>(out.row(0), out.rows(), out.words_per_row()));
  call.launched(kernels_.statistics.deviation_above(d, center, threshold, words.data, call.stream()));
  call.finish();
  return out;
}

void DeviceBackend::row_sq_sums(WeightView w, std::span<double> out) const {
  shapes::sq_sums(w.rows, out, "row_sq_sums");
  Call call(*this, "row_sq_sums");
  const WeightView d = call.in(w);
  call.launched(kernels_.statistics.row_squares(d, call.out(out), call.stream()));
  call.finish();
}

void DeviceBackend::column_sq_sums(WeightView w, std::span<double> out) const {
  shapes::sq_sums(w.cols, out, "column_sq_sums");
  Call call(*this, "column_sq_sums");
  const WeightView d = call.in(w);
  auto* parts = call.scratch<double>(column_bands(w.rows, w.cols) * w.cols);
  call.launched(kernels_.statistics.column_squares(d, parts, call.out(out), call.stream()));
  call.finish();
}

MagnitudeHistogram DeviceBackend::magnitude_histogram(WeightView w, const Selection& own, int shift) const {
  shapes::histogram(w, own, shift);
  MagnitudeHistogram out;
  out.shift = shift;
  const auto bins = static_cast<size_t>(magnitude_bins(shift));
  out.count.resize(bins);
  out.sum.resize(bins);
  out.sq_sum.resize(bins);
  if (w.size() == 0) return out;
  Call call(*this, "magnitude_histogram");
  const WeightView d = call.in(w);
  const OwnedBits owned = send(call, own, 0, w.rows);
  auto* fine = call.scratch<MagnitudeBin>(magnitude_bins(std::min(shift, kFinestShift)), true);
  call.launched(kernels_.statistics.magnitude_histogram(d, owned, shift, fine, call.out(std::span(out.count)),
                                                        call.out(std::span(out.sum)), call.out(std::span(out.sq_sum)),
                                                        call.stream()));
  call.finish();
  return out;
}

void DeviceBackend::assign_by_magnitude(WeightView w, std::span<const float> cuts, uint8_t* out) const {
  shapes::cuts(cuts);
  if (w.size() == 0) return;
  Call call(*this, "assign_by_magnitude");
  const WeightView d = call.in(w);
  const View<uint8_t> ids = call.out(View<uint8_t>(out, w.rows, w.cols));
  call.launched(
      kernels_.statistics.assign_by_magnitude(d, call.in(cuts), static_cast<int>(cuts.size()), ids.data, call.stream()));
  call.finish();
}

void DeviceBackend::group_moments(WeightView w, const Selection& own, const GroupMap& groups, std::span<Moments> out) const {
  shapes::group_moments(w, own, groups, out);
  std::fill(out.begin(), out.end(), Moments{});
  if (w.size() == 0) return;
  const StatisticsKernels& k = kernels_.statistics;

  switch (groups.shape) {
    case LabelShape::kSingle: {
      Call call(*this, "group_moments");
      const WeightView d = call.in(w);
      call.launched(k.matrix_moments(d, send(call, own, 0, w.rows), call.scratch<Moments>(kMostParts), call.out(out.first(1)),
                                     call.stream()));
      call.finish();
      return;
    }
    case LabelShape::kRow:
    case LabelShape::kRowBlock: {
      // A row is one block. Bands of rows, so that the cells of all blocks of a large matrix are never in memory at once.
      constexpr int64_t kCellsAtOnce = int64_t{1} << 18;
      const bool whole = groups.shape == LabelShape::kRow;
      const int64_t blocks = whole ? 1 : groups.blocks_per_row(), block = whole ? w.cols : groups.block;
      const int64_t band = std::max<int64_t>(1, kCellsAtOnce / blocks);
      std::vector<Moments> cells(static_cast<size_t>(std::min(band, w.rows) * blocks));
      for (int64_t row0 = 0; row0 < w.rows; row0 += band) {
        const int64_t row1 = std::min(w.rows, row0 + band), count = (row1 - row0) * blocks;
        Call call(*this, "group_moments");
        const WeightView d = call.in(w.row_range(row0, row1));
        call.launched(k.cell_moments(d, send(call, own, row0, row1), block,
                                     call.out(std::span(cells).first(static_cast<size_t>(count))), call.stream()));
        call.finish();
        for (int64_t c = 0; c < count; ++c)
          add_to(out[groups.label[static_cast<size_t>(row0 * blocks + c)]], cells[static_cast<size_t>(c)]);
      }
      return;
    }
    case LabelShape::kColumn: {
      std::vector<Moments> columns(static_cast<size_t>(w.cols));
      Call call(*this, "group_moments");
      const WeightView d = call.in(w);
      auto* parts = call.scratch<Moments>(column_bands(w.rows, w.cols) * w.cols);
      call.launched(k.column_moments(d, send(call, own, 0, w.rows), parts, call.out(std::span(columns)), call.stream()));
      call.finish();
      for (size_t j = 0; j < columns.size(); ++j)
        add_to(out[groups.label[j]], columns[j]);
      return;
    }
    case LabelShape::kElement: {
      int out_of_range = 0;
      Call call(*this, "group_moments");
      const WeightView d = call.in(w);
      const uint8_t* labels = call.in(View<const uint8_t>(groups.element.data(), w.rows, w.cols)).data;
      auto* parts = call.scratch<Moments>(kMostParts * groups.groups);
      call.launched(k.label_moments(d, send(call, own, 0, w.rows), labels, static_cast<int>(groups.groups), parts,
                                    call.out(out), call.inout(View<int>(&out_of_range, 1, 1)).data, call.stream()));
      call.finish();
      shapes::require(out_of_range == 0, "group_moments", shapes::kLabelRule);
      return;
    }
  }
}

double DeviceBackend::squared_distance(WeightView a, WeightView b) const {
  shapes::require(shapes::same(a, b), "squared_distance", "two matrices of one shape");
  double out = 0;
  if (a.size() == 0) return out;
  Call call(*this, "squared_distance");
  const WeightView da = call.in(a), db = call.in(b);
  call.launched(
      kernels_.statistics.squared_distance(da, db, call.scratch<double>(kMostParts), call.out(one(out)), call.stream()));
  call.finish();
  return out;
}

void DeviceBackend::hadamard_rows(View<float> w) const {
  shapes::hadamard(w);
  Call call(*this, "hadamard_rows");
  const View<float> d = call.inout(w);
  call.launched(kernels_.statistics.hadamard_rows(d, call.stream()));
  call.finish();
}

}  // namespace sage::cuda
