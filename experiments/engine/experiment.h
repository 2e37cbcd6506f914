// An experiment: what to quantize, how, and how to score it. Files are YAML; every key is checked before anything runs.
//
//   name: grouping-ablation
//   about: One sentence for `sageptq list presets`.
//   extends: sage_paper            # a preset, or a file relative to this one; a list merges from left to right
//   model: {path: ../models/x}     # default: the fetched default model
//   seed: 0
//   eval: [{protocol: gptq-2048, text: default, windows: 0, kl: false}]   # windows 0 = all of the text
//   pipeline: {...}                # core/pipeline/pipeline_config.h, or `none` for full precision
//   calibration: {dataset: "default:calibration", samples: 128, ...}   # for pipelines that calibrate (calibration_config.h)
//   include: ["*"]                 # matrices to quantize, by glob on their full names; exclude: [...] removes some
//   trace: false                   # keep what components report about their choices, and the timeline of a device
//   keep_packed: false             # keep the packed checkpoint beside the run's record
//   sweep: {...}                   # expand.h
//
// Maps merge key by key, lists and scalars replace; a component whose `type` changes is replaced whole. Relative paths written
// in a file are relative to that file, those of --set to the working folder.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/calibration/calibration_config.h"
#include "core/config/schema.h"
#include "core/config/value.h"
#include "core/strategy/registries.h"

namespace sage {

struct EvalSpec {
  std::string protocol = "gptq-2048";
  std::string text = "default";  // a named text ("default", "wikitext-2") or a path
  int64_t windows = 0;           // 0 = all
  bool kl = false;               // divergence from the full-precision model, too
  bool operator==(const EvalSpec&) const = default;
};

struct Experiment {
  std::string name;
  std::string label;  // of one point of a sweep: "grouping=spectral(4), seed=1"
  std::string about;
  std::string source;      // the file or preset asked for
  std::string model_path;  // "default" = the fetched default model
  int64_t seed = 0;
  std::vector<EvalSpec> eval;
  std::vector<std::string> include{"*"};
  std::vector<std::string> exclude;
  bool trace = false;
  bool keep_packed = false;
  CalibrationConfig calibration;  // used where the pipeline calibrates
  bool calibrates = false;
  Value pipeline;  // canonical (canonical_pipeline); is_full_precision(pipeline) for `none`
  Value resolved;  // the whole experiment with every default, each node with its origin; reading it again gives the same

  // True when the matrix of this name is to be quantized.
  bool selects(const std::string& matrix_name) const;
};

// The part of `resolved` that decides results, for run keys: without names, labels and paths (whose digests join the key).
Value identity(const Experiment& experiment);

struct PresetInfo {
  std::string name;
  std::string path;
  std::string about;
};
// Folders searched for presets, in this order: $SAGEPTQ_PRESETS (colon-separated), share/sage-ptq/presets beside the program's
// bin folder, the source tree, the place of installation.
std::vector<std::string> preset_folders();
std::vector<PresetInfo> list_presets();  // sorted by name; the first folder wins
// Path of a preset; UserError with the known names and the nearest.
std::string find_preset(const std::string& name);

// A file or preset with everything it extends merged in, not yet checked.
struct LoadedExperiment {
  Value root;  // overrides of `sweep` are applied, others are not
  std::string source;
  std::vector<std::pair<std::string, Value>> overrides;  // the others: path, value; applied last, to every point
};
// `file_or_preset`: a path (with a slash or ending in .yaml or .yml) or the name of a preset.
LoadedExperiment load_experiment(const std::string& file_or_preset, const std::vector<std::string>& overrides);
// Only what `extends: a` or `extends: [a, b]` brings in.
Value load_extended(const Value& extends);
// One order for any order of writing: outer paths first, and a component's type before its parameters.
void sort_assignments(std::vector<std::pair<std::string, Value>>& assignments);
void apply_overrides(Value& root, const std::vector<std::pair<std::string, Value>>& overrides);

// Checks a root without `sweep` and gives it types.
Experiment resolve(const Value& root, const std::string& source, const Registries& registries);
// load + resolve, for verbs that run one experiment; an experiment with a sweep is a UserError.
Experiment resolve_experiment(const std::string& file_or_preset, const std::vector<std::string>& overrides,
                              const Registries& registries);

// Keys and parameters for help, completion and documentation: ("experiment", ...), ("eval", ...), ("model", ...).
std::vector<std::pair<std::string, std::vector<ParamInfo>>> experiment_parameters();

}  // namespace sage
