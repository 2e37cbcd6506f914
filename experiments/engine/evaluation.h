// Evaluations of an experiment on a model: texts and tokens are read once per process, results go into the run's record.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "core/model/weight_source.h"
#include "experiments/engine/experiment.h"
#include "results/run_record.h"

namespace sage {

class Evaluator {
 public:
  explicit Evaluator(const Backend& backend);
  ~Evaluator();

  // Protocol, text and token digests: what decides the numbers of an evaluation. Part of a run's key.
  std::string identity_of(const EvalSpec& spec, const WeightSource& full_precision);
  std::string text_digest_of(const EvalSpec& spec, const WeightSource& full_precision);
  int64_t tokens_of(const EvalSpec& spec, const WeightSource& full_precision);  // windows times window length
  void describe(const EvalSpec& spec, const WeightSource& full_precision, RunProvenance& provenance);
  // Scores `weights` and adds metrics and per-window values to the record. `full_precision` is the model the divergence is taken
  // from, and whose tokenizer is used.
  void evaluate(const EvalSpec& spec, const WeightSource& weights, const WeightSource& full_precision, RunRecord& record);

 private:
  struct Prepared;
  const Prepared& prepare(const EvalSpec& spec, const WeightSource& full_precision);
  const Backend& backend_;
  std::map<std::string, std::unique_ptr<Prepared>> prepared_;
};

// Adds a sentence on a text, once.
void add_note(const std::string& note, RunProvenance& provenance);

// Every leaf of a resolved configuration as (path, value, origin).
void flatten_config(const Value& resolved, std::vector<ConfigEntry>& out);

}  // namespace sage
