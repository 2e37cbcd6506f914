#include "core/pipeline/column_coder.h"

#include <algorithm>
#include <array>
#include <optional>

#include "core/pipeline/coded_blocks.h"
#include "core/util/errors.h"

namespace sage {
namespace {

constexpr int64_t kTileRows = 256;  // a tile of 128 columns stays in the second-level cache

std::vector<CodedPlace> places_of(const std::vector<CodedSegment>& segments, std::span<const int64_t> order, int64_t first, int64_t last) {
  std::vector<CodedPlace> out(static_cast<size_t>(last - first));
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
  const std::vector<CodedPlace> unsalient = places_of(job.unsalient, job.order, first, last);
  const std::vector<CodedPlace> salient = places_of(job.salient, job.order, first, last);
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
      for (const std::vector<CodedPlace>* places : {&unsalient, &salient})
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

// The same by the backend, where it can. Returns false, and nothing was done, where it cannot.
bool code_on_backend(const ColumnCoderJob& job, CodedBlocks& blocks, int64_t first, int64_t last, WeightView u, WeightView weights,
                     View<float> error) {
  const std::vector<CodedPlace> unsalient = places_of(job.unsalient, job.order, first, last);
  const std::vector<CodedPlace> salient = places_of(job.salient, job.order, first, last);
  const int64_t k = last - first;
  std::vector<std::array<CodedPlace, 2>> columns(static_cast<size_t>(k));
  bool in_order = true;
  for (size_t c = 0; c < columns.size(); ++c) {
    columns[c] = {unsalient[c], salient.empty() ? CodedPlace{} : salient[c]};
    in_order = in_order && job.order[static_cast<size_t>(first) + c] == first + static_cast<int64_t>(c);
  }
  Matrix scattered;
  if (!in_order) scattered = Matrix(weights.rows, k);
  const View<float> decoded = in_order ? job.decoded.columns(first, last) : scattered.view();
  if (!blocks.code(columns, job.pipeline.compensator->correction(), u, weights, decoded, error)) return false;
  if (in_order) return true;
#pragma omp parallel for schedule(static) if (scattered.size() > 1 << 14)
  for (int64_t i = 0; i < scattered.rows(); ++i)
    for (int64_t c = 0; c < k; ++c) job.decoded(i, job.order[static_cast<size_t>(first + c)]) = scattered(i, c);
  return true;
}

// Without a compensator, in blocks as wide as a backend takes them.
void code_whole_on_backend(const ColumnCoderJob& job, CodedBlocks& blocks) {
  const int64_t m = job.weights.cols;
  for (int64_t first = 0; first < m; first += BlockCoder::kMostColumns) {
    const int64_t last = std::min(first + BlockCoder::kMostColumns, m);
    if (!code_on_backend(job, blocks, first, last, {}, job.weights.columns(first, last), {})) code_whole(job, first, last);
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
  const Backend& backend = job.backend;
  const int64_t n = job.weights.rows, m = job.weights.cols;
  std::optional<CodedBlocks> blocks;
  if (const BlockCoder* coder = backend.block_coder()) blocks.emplace(backend, *coder);
  if (!compensator.needs_calibration()) {
    job.fit_segments(0, m);
    if (blocks) code_whole_on_backend(job, *blocks);
    else code_whole(job, 0, m);
    return 0;
  }
  if (job.factor.rows != m || job.factor.cols != m)
    throw Error(ExitCode::kInternalError, "code_columns: the factor does not fit the matrix");
  int64_t block = job.pipeline.block_columns;
  if (block <= 0) block = job.pipeline.scope.columns > 0 ? job.pipeline.scope.columns : m;
  block = std::min(block, m);
  WorkMatrix& work = *job.work;
  if (blocks) work.send(backend);
  const BackendMatrix device_error = work.on_device() ? BackendMatrix(backend, n, block) : BackendMatrix();
  Matrix host_error;
  double loss = 0;
  for (int64_t first = 0; first < m; first += block) {
    const int64_t last = std::min(first + block, m);
    job.fit_segments(first, last);
    const WeightView u = job.factor.row_range(first, last).columns(first, last);
    const auto errors = [&] {
      if (host_error.size() == 0) host_error = Matrix(n, block);
      return host_error.view().columns(0, last - first);
    };
    View<float> e = work.on_device() ? device_error.view().columns(0, last - first) : errors();
    if (blocks && code_on_backend(job, *blocks, first, last, u, work.view().columns(first, last), e)) {
      loss += 0.5 * backend.matrix_stats(e).moments.sq_sum;
    } else {
      const View<float> weights = work.read_back(backend, first, last);
      e = errors();
      if (compensator.columnwise()) {
        code_by_column(job, first, last, u, e);
      } else {
        code_whole(job, first, last);
        compensator.block_error(u, weights, job.decoded.columns(first, last), e, backend);
      }
      loss += half_square_sum(e);
    }
    if (last < m) backend.subtract_product(e, job.factor.row_range(first, last).columns(last, m), work.view().columns(last, m));
  }
  return loss;
}

}  // namespace sage
