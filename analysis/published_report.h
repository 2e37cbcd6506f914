// Tables of published numbers, alone and beside ours.
#pragma once

#include <string>

#include "analysis/published.h"
#include "analysis/selection.h"
#include "core/util/table.h"

namespace sage {

// A row per figure of one model (a name as models.yaml or a folder has it), or of every model where `model` is "all". UserError
// with the known models for another name.
Table make_published_table(const Published& published, const std::string& model);

// A row per model and method, and where several of our runs are that method, per run (runs that differ only in their seeds are
// one): published by the method's authors | least and largest of the runs by others | ours. Runs are matched by the model's
// name, the text of the evaluation and the settings they resolved to; what has no counterpart stands beside nothing, and the
// caption says why. Expects RunParts::kAll, for standard errors over windows.
Table make_published_comparison(const Published& published, const std::vector<SelectedRun>& runs);

}  // namespace sage
