// Quantizes every linear layer of a model and writes the packed checkpoint.
//
// One matrix is in memory at a time (its float values, its decoded values and its codes), with calibration one block and its Grams
// (calibration_pass.h), so a model larger than RAM can be quantized. Each finished decoder block is written to OUT.work/ under a fingerprint of everything that shapes it; the same
// command picks up after the last one, so a killed run loses at most the block in work. On a wish to stop (core/util/stop.h) the
// matrix in work is finished, and what is finished of its block is kept, too. The directory OUT appears whole, by rename, when
// everything is done; a lock in OUT.work/ keeps two processes from working on one OUT.
#pragma once

#include <functional>
#include <string>

#include "core/pipeline/calibration_pass.h"
#include "core/pipeline/packed_checkpoint.h"

namespace sage {

struct QuantizeModelJob {
  const CheckpointSource& source;
  const PipelineFactory& factory;
  const Registries& registries;
  const Backend& backend;
  uint64_t seed = 0;
  std::string out;       // folder to make
  std::string run_key;   // goes into quantization_config; may be empty
  bool trace = false;
  std::function<bool(const std::string&)> selects;  // which linear layers to quantize, by name; empty = all
  // Sees each matrix after it was quantized in this call (not those a former call left behind).
  std::function<void(const MatrixReport&, const Trace&)> observe;
  const CalibrationJob* calibration = nullptr;  // required by pipelines that calibrate, ignored by others
  double* calibration_seconds = nullptr;        // set to the time spent in forward passes and Grams, if given
};

// SHA-256 of everything that shapes the packed file: model digest, canonical pipeline, versions of engine and components, seed,
// format, and the calibration where the pipeline uses one.
std::string quantization_fingerprint(const QuantizeModelJob& job);

// Does job.out hold these weights? False if nothing is there; UserError if it is anything else.
bool holds_result(const QuantizeModelJob& job);

// Returns the ledger of OUT. If OUT already holds the same fingerprint it is read, not made again; if it holds anything else
// that is a UserError. ResourceError while another process makes it; Stopped.
PackedReport quantize_model(const QuantizeModelJob& job);

}  // namespace sage
