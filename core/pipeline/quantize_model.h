// Quantizes every linear layer of a model and writes the packed checkpoint.
//
// One matrix is in memory at a time (its float values, its decoded values and its codes), with calibration one block and its Grams
// (calibration_pass.h), so a model larger than RAM can be quantized. Each finished decoder block is written to OUT.work/ under a
// fingerprint of everything that shapes it, and the build that made it; the same command picks up after the last one, so a killed
// run loses at most the block in work. On a wish to stop (core/util/stop.h) the matrix in work is finished, and what is finished of
// its block is kept, too. The directory OUT appears whole, by rename, when everything is done; a lock in OUT.work/ keeps two
// processes from working on one OUT.
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
  // Names the program: finished layers and Grams behind quantized layers that another build left are not taken up, since a
  // component under work changes without its version.
  std::string build{};
};

// Everything that shapes the packed file, as text: model, canonical pipeline, versions of engine and components, seed, format,
// backend, what is left out, and the calibration where the pipeline uses one. Its SHA-256 is the fingerprint; the scheme it
// begins with is raised when the text's meaning changes.
std::string fingerprint_text(const QuantizeModelJob& job);
std::string quantization_fingerprint(const QuantizeModelJob& job);

// Does job.out hold these weights? False if nothing is there; UserError if it is anything else.
bool holds_result(const QuantizeModelJob& job);

// Returns the ledger of OUT; its seconds are those of every process that worked on it. If OUT already holds the same fingerprint it
// is read, not made again; if it holds anything else that is a UserError. ResourceError while another process makes it; Stopped.
PackedReport quantize_model(const QuantizeModelJob& job);

}  // namespace sage
