// From one file with a `sweep` section to the points it stands for.
//
//   sweep:
//     grid: {pipeline.grouping: [{type: single}, {type: kmeans, groups: 4}], seed: [0, 1]}   # every combination
//     zip:  {pipeline.salient_quantizer.bits: [2, 3], pipeline.threshold.ratio: [0.03, 0.015]} # side by side, equal lengths
//     list: [{name: rtn 4, extends: rtn, pipeline.quantizer.bits: 4}, ...]                      # explicit points
//     ablate: {no transform: {pipeline.transform: none}, ...}     # the file as it is, and named single replacements
//     exclude: [{pipeline.grouping: single, seed: 1}]             # points that match in all keys given are left out
//     union: [{grid: ...}, {list: ...}]                           # points of several such blocks, one after the other
//
// Keys are dotted paths, values whatever may stand there. The generators of one block multiply (list or ablate, then zip, then
// grid). An entry with `extends` takes its pipeline from that preset or file instead of from this one; all other sections of
// this file stay. --set comes last and holds for every point; setting what the sweep varies is an error.
#pragma once

#include <string>
#include <vector>

#include "experiments/engine/eval_overrides.h"
#include "experiments/engine/experiment.h"

namespace sage {

inline constexpr size_t kMaxPoints = 10000;

struct Point {
  std::string label;      // from what varies: "grouping=kmeans(4), seed=1"; unique
  Experiment experiment;  // label included
  std::string key;        // canonical JSON of all that distinguishes points; input digests and versions join it later
};

struct Expansion {
  std::string name;
  std::vector<Point> points;       // an experiment without a sweep is one point
  std::vector<std::string> notes;  // equal points that collapsed, exclusions that match nothing, evaluations changed
};

// Every point checked; the first wrong one is a UserError naming it. `evaluations` holds for every point; what it changes is noted
// once where it is the same everywhere.
Expansion expand(const LoadedExperiment& loaded, const Registries& registries, const EvalOverrides& evaluations = {});
Expansion expand(const std::string& file_or_preset, const std::vector<std::string>& overrides, const Registries& registries,
                 const EvalOverrides& evaluations = {});

}  // namespace sage
