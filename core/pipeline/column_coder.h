// Codes the columns of a matrix in their order, with the fits of their segments, and moves errors on where a compensator runs.
//
// Columns are worked through in blocks of k (Pipeline::block_columns), positions [a, b) of the order. With U the upper factor of the
// inverse Hessian in that order:
//   segments that begin in the block are fitted, on the weights as they now stand, unless they were before
//   the block is coded: column by column with corrections inside the block (GPTQ), or at once
//   E = what the compensator says the block leaves;  W[:, b:] -= E U[a:b, b:];  loss += 1/2 sum E^2
// Column by column, rows are independent: tiles of rows are transposed, so that a column is contiguous, and run on threads of
// their own. The result is the same for any number of threads. A backend that codes blocks itself (block_coder.h) gets those whose
// quantizers it can code, in its own memory: weights, errors and products then stay there, codes and decoded values come back.
//
// Cost of compensation: n m k operations inside blocks, n m^2 in the products between them.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "core/pipeline/pipeline.h"
#include "core/pipeline/segments.h"
#include "core/pipeline/work_matrix.h"

namespace sage {

// One segment of one slot, coded with one fit.
struct CodedSegment {
  ColumnSet columns;
  std::unique_ptr<FittedQuantizer> fit;  // null until it was fitted
};

struct ColumnCoderJob {
  const Pipeline& pipeline;
  const Backend& backend;
  WeightView weights;                // n x m, columns in the order they are worked through
  WorkMatrix* work;                  // the same weights where a compensator runs, which changes them; else null
  std::span<const int64_t> order;    // position -> column
  WeightView factor;                 // U in that order; empty without a compensator
  std::vector<CodedSegment>& unsalient;
  std::vector<CodedSegment>& salient;  // empty when nothing is salient
  // Called at the start of a block: fits what begins in positions [first, last).
  std::function<void(int64_t first, int64_t last)> fit_segments;
  View<float> decoded;               // n x m, columns where they are stored
};

// Returns the loss (0 without a compensator).
double code_columns(const ColumnCoderJob& job);

}  // namespace sage
