// Which of a pipeline's alternatives codes a matrix.
#pragma once

#include <vector>

#include "core/pipeline/matrix_engine.h"

namespace sage {

struct AlternativeScore {
  TrialResult result;
  double objective = 0;  // of the alternative's threshold
};

// Transforms the matrix, takes a sample of its rows (trial_weights) and plans and fits every alternative's segments there, as they
// will be on the matrix: the same sets of columns, the same moments but compensation, which does not run. Alternatives run side by
// side; scores do not depend on which finishes first. Without a sample the bits are those of the file up to its header. The error is
// measured where the quantizer works, on transformed weights; for alternatives of several transforms, which these would measure
// differently, before the transform.
std::vector<AlternativeScore> score_alternatives(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend);

// The first of least objective; 0, unscored, where there is one. Under a budget the best in the sample is checked against all
// rows, and the next best taken where its file would be larger; where all are, the smallest.
int choose_alternative(const PipelineFactory& factory, const MatrixJob& job, const Backend& backend, Trace& trace);

}  // namespace sage
