// Runs the points of an expanded experiment one after the other and leaves a manifest behind.
//
// Points already stored are skipped, so the same command resumes; a point that fails is recorded, printed at once, and the sweep
// goes on. A disk that does not take a run (WriteError) will not take the next one, and ends the sweep. The manifest,
// DIR/sweep.json, lists label, key and record of every point for `report` and the figures; a copy stands in the store under the
// sweep's name. Both are there before the first point is run.
//
// Several processes may work on one sweep. A point in another's hands is left, and looked at again when the others are done: it
// is stored by then, or free because its holder died.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/util/table.h"
#include "experiments/engine/expand.h"
#include "experiments/engine/runner.h"

namespace sage {

struct SweepOptions {
  std::string folder;         // for the manifest
  bool fail_fast = false;
  bool retry_failed = false;
  bool wait = true;  // at the end, for points in the hands of other processes
};

struct SweepOutcome {
  int complete = 0;
  int reused = 0;
  int failed = 0;
  int elsewhere = 0;  // left to other processes, which have not finished them
  std::vector<RunRecord> records;  // in the order of the points; failed ones included
  std::string manifest;
};

// UserError: the folder holds the manifest of another sweep, or a live process runs other points under this name. Stopped.
SweepOutcome run_sweep(const Expansion& expansion, Runner& runner, const SweepOptions& options);

// What a sweep would do and cost: one row per stage. Costs come from operation counts over the rates of stored runs where there are
// any, and over assumed rates otherwise; the basis is in the table.
Table plan_sweep(const Expansion& expansion, Runner& runner);

}  // namespace sage
