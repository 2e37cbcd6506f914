#include "core/pipeline/column_coder.h"

#include <algorithm>
#include <numeric>

#include "core/util/errors.h"

namespace sage {
namespace {

constexpr int64_t kTileRows = 256;  // a tile of 128 columns stays in the second-level cache

// Where each column is coded: the fit of its segment and its place there.
struct Place {
  FittedQuantizer* fit = nullptr;
  int64_t column = 0;
};

std::vector<Place> places_of(const std::vector<CodedSegment>& segments, std::span<const int64_t> order, int64_t first, int64_t last) {
  std::vector<Place> out(static_cast<size_t>(last - first));
  for (const CodedSegment& s : segments)
    for (int64_t p = first; p < last; ++p) {
      const int64_t c = order[static_cast<size_t>(p)];
      if (c < s.columns.first() || c > s.columns[s.columns.size() - 1]) continue;
      const int64_t k = s.columns.index_of(c);
      if (k < s.columns.size() && s.columns[k] == c) out[static_cast<size_t>(p - first)] = {s.fit.get(), k};
    }
  return out;
}

// Codes a block whose columns stand in stored order, segment by segment.
void code_whole(const ColumnCoderJob& job, int64_t first, int64_t last) {
  for (const std::vector<CodedSegment>* slot : {&job.unsalient, &job.salient})
    for (const CodedSegment& s : *slot) {
      const int64_t a = std::max(first, s.columns.first()), b = std::min(last, s.columns.first() + s.columns.size());
      if (a < b && s.fit) s.fit->encode(job.weights.columns(a, b), 0, a - s.columns.first(), job.decoded.columns(a, b));
    }
}

void code_by_column(const ColumnCoderJob& job, int64_t first, int64_t last, WeightView u, View<float> error) {
  const std::vector<Place> unsalient = places_of(job.unsalient, job.order, first, last);
  const std::vector<Place> salient = places_of(job.salient, job.order, first, last);
  const int64_t n = job.weights.rows, k = last - first, tiles = (n + kTileRows - 1) / kTileRows;
#pragma omp parallel for schedule(dynamic) if (tiles > 1)
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t row0 = t * kTileRows, rows = std::min(n, row0 + kTileRows) - row0;
    Matrix tile(k, rows), errors(k, rows);
    std::vector<float> decoded(static_cast<size_t>(rows));
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < k; ++c)
        tile(c, r) = job.weights(row0 + r, first + c);
    for (int64_t c = 0; c < k; ++c) {
      const WeightView column(tile.row(c), rows, 1, 1);
      const View<float> out(decoded.data(), rows, 1, 1);
      for (const std::vector<Place>* places : {&unsalient, &salient})
        if (!places->empty() && (*places)[static_cast<size_t>(c)].fit != nullptr)
          (*places)[static_cast<size_t>(c)].fit->encode(column, row0, (*places)[static_cast<size_t>(c)].column, out);
      const int64_t stored = job.order[static_cast<size_t>(first + c)];
      for (int64_t r = 0; r < rows; ++r)
        job.decoded(row0 + r, stored) = decoded[static_cast<size_t>(r)];
      job.pipeline.compensator->column_done(u, c, tile.view(), decoded, {errors.row(c), static_cast<size_t>(rows)}, job.backend);
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < k; ++c)
        error(row0 + r, c) = errors(c, r);
  }
}

double half_square_sum(WeightView e) {
  double sum = 0;
  for (int64_t i = 0; i < e.rows; ++i)
    for (int64_t j = 0; j < e.cols; ++j)
      sum += 0.5 * static_cast<double>(e(i, j)) * e(i, j);
  return sum;
}

}  // namespace

double code_columns(const ColumnCoderJob& job) {
  const Compensator& compensator = *job.pipeline.compensator;
  const int64_t n = job.weights.rows, m = job.weights.cols;
  if (!compensator.needs_calibration()) {
    job.fit_segments(0, m);
    code_whole(job, 0, m);
    return 0;
  }
  if (job.factor.rows != m || job.factor.cols != m)
    throw Error(ExitCode::kInternalError, "code_columns: the factor does not fit the matrix");
  int64_t block = job.pipeline.block_columns;
  if (block <= 0) block = job.pipeline.scope.columns > 0 ? job.pipeline.scope.columns : m;
  Matrix error(n, std::min(block, m));
  double loss = 0;
  for (int64_t first = 0; first < m; first += block) {
    const int64_t last = std::min(first + block, m);
    job.fit_segments(first, last);
    const WeightView u = job.factor.row_range(first, last).columns(first, last);
    const View<float> e = error.view().columns(0, last - first);
    if (compensator.columnwise()) {
      code_by_column(job, first, last, u, e);
    } else {
      code_whole(job, first, last);
      compensator.block_error(u, job.work.columns(first, last), job.decoded.columns(first, last), e, job.backend);
    }
    loss += half_square_sum(e);
    if (last < m) job.backend.subtract_product(e, job.factor.row_range(first, last).columns(last, m), job.work.columns(last, m));
  }
  return loss;
}

}  // namespace sage
