// Runs one experiment: quantize, read the packed file back, evaluate from it, record.
//
// Identity of a run (its key): SHA-256 over the canonical experiment without names and paths, the versions of its components, the
// digests of model, tokenizer and texts, and the backend. The same experiment on the same inputs has the same key whatever it is
// called, so the same command resumes, and two sweeps share the points they have in common.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/eval/text.h"
#include "core/model/checkpoint.h"
#include "core/pipeline/calibration_pass.h"
#include "core/pipeline/packed_checkpoint.h"
#include "core/strategy/registries.h"
#include "experiments/engine/evaluation.h"
#include "experiments/engine/experiment.h"
#include "results/run_file.h"
#include "results/store.h"

namespace sage {

struct RunnerOptions {
  std::string store;                // root of the store
  std::string backend = "cpu";
  std::vector<std::string> argv;    // for provenance
};

struct RunResult {
  std::string key;
  std::string file;     // the run's record
  bool reused = false;  // it was there already
  RunRecord record;     // summary parts
};

class Runner {
 public:
  Runner(const Registries& registries, RunnerOptions options);
  ~Runner();

  // Everything a run needs exists and fits: model, tokenizer, texts, components. Throws what run() would throw at its start.
  std::string key_of(const Experiment& experiment);
  // `packed`: where to leave the packed directory; empty = beside the record if keep_packed, otherwise removed after evaluation.
  RunResult run(const Experiment& experiment, const std::string& packed = "");
  // Writes the record of a run that failed with this message. Returns its path.
  std::string record_failure(const Experiment& experiment, const std::string& key, const Error& error);
  // Quantizes without evaluating or recording: `run --until quantize`.
  PackedReport quantize_only(const Experiment& experiment, const std::string& packed);

  const Store& store() const { return store_; }
  const CheckpointSource& model(const std::string& path);  // opened once
  // Tokens the experiment's evaluations score, windows times window length (for plans).
  int64_t evaluation_tokens(const Experiment& experiment);

 private:
  RunRecord start_record(const Experiment& experiment, const std::string& key);
  // The text calibration draws from, read once, and the samples drawn from it.
  const Text& calibration_text(const Experiment& experiment);
  std::unique_ptr<CalibrationJob> calibration_of(const Experiment& experiment);
  // Where a text that is evaluated is also the calibration's.
  std::string note_on_seen_text(const Experiment& experiment);

  const Registries& registries_;
  RunnerOptions options_;
  Store store_;
  std::unique_ptr<Backend> backend_;
  std::map<std::string, std::unique_ptr<CheckpointSource>> models_;
  std::map<std::string, Text> texts_;
  std::unique_ptr<Evaluator> evaluator_;
};

// The folder with the files of `model.path`: as model_files_folder finds it; "default" is the fetched default model. ResourceError
// if it is not there, with the command to run.
std::string resolve_model_path(const std::string& path);

}  // namespace sage
