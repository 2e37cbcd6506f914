// What one run leaves behind, as plain data. The experiments engine fills it, run_file.h keeps it in HDF5, analysis/ and
// paper_figures/ read it. A number that was not measured is NaN (a text: empty) and appears as a dash in tables.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace sage {

inline constexpr double kNotMeasured = std::numeric_limits<double>::quiet_NaN();
inline constexpr int64_t kRunSchemaVersion = 1;

// Names that report, compare and the figures look for in the metrics table.
inline constexpr const char* kMetricPerplexity = "perplexity";
inline constexpr const char* kMetricKl = "kl";                // mean KL(full precision || quantized), nats per position
inline constexpr const char* kMetricTop1 = "top1_agreement";  // share of positions with the same most likely token, 0 .. 1

// Rate audit: bits - 0.5*log2(1/D), with D the relative squared error. For Gaussian weights no code can have a negative
// excess (rate-distortion function of the Gaussian source, Cover & Thomas 2006, theorem 10.3.2), so a negative one says that
// `bits` leaves something out, or that the weights are far from Gaussian. Infinite for D = 0.
inline double rate_excess(double bits, double d) { return bits - 0.5 * std::log2(1.0 / d); }

struct ConfigEntry {
  std::string path;    // "pipeline.saliency.ratio"
  std::string value;   // canonical text
  std::string origin;  // "configs/x.yaml:9:42", "default", "--set"
};

struct RunProvenance {
  std::string commit;       // of the source tree the program was built from
  bool dirty = false;       // it had local changes; shown as "a1b2c3*"
  std::string diff_digest;  // of those changes
  std::vector<std::string> argv;
  std::string host;
  std::string cpu;
  std::string gpu;
  int64_t threads = 0;
  std::string backend;
  std::vector<std::pair<std::string, std::string>> libraries;  // name, version
  std::string job;                                             // batch system's id
  std::string model_path;
  std::string model_name;
  std::string model_digest;
  std::string model_note;  // a sentence for captions: "full-precision weights are themselves dequantized 4-bit weights"
  std::string text_name;
  std::string text_digest;
  std::string text_note;  // sentences for captions on the texts read: a byte order mark, calibration on the evaluated text, ...
  std::string tokenizer_digest;
};

struct MetricRow {
  std::string task;    // "gptq-2048@wikitext2": tells apart evaluations of one run
  std::string metric;  // kMetricPerplexity, ...
  double value = kNotMeasured;
  double standard_error = kNotMeasured;  // column "stderr"
  int64_t n = 0;                         // windows
  std::string protocol;                  // window, stride, scored positions, BOS mode and text join, in words
};

struct RoleBytes {
  std::string role;  // role_name() of core/strategy/planes.h
  uint64_t bytes = 0;
};

struct StorageSummary {
  uint64_t linear_weights = 0;               // weights in quantized matrices
  double stored_bits = kNotMeasured;         // payload bits of the packed file / linear_weights
  double paper_weight_bits = kNotMeasured;   // by the paper's formula, per weight
  double paper_scaling_bits = kNotMeasured;  // likewise
  double paper_bits = kNotMeasured;          // their sum
  double whole_model_bits = kNotMeasured;    // with embeddings, head and norms, per parameter of the model
  uint64_t file_bytes = 0;
  uint64_t metadata_bytes = 0;     // headers: file_bytes - payload
  uint64_t unquantized_bytes = 0;  // embeddings, head, norms, biases
};

struct MatrixRow {
  int64_t layer = 0;
  std::string name;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t groups = 0;
  double salient_ratio = kNotMeasured;
  double paper_bits = kNotMeasured;
  double stored_bits = kNotMeasured;
  double d = kNotMeasured;              // column "D": ||W - decoded||^2 / ||W||^2
  double gram_loss = kNotMeasured;      // the same weighted by the inputs' Gram, where calibration exists
  double excess_stored = kNotMeasured;  // rate_excess(stored_bits, d)
  double excess_paper = kNotMeasured;
  double seconds = kNotMeasured;
  std::string choice;  // the alternative a component took: "K=4", "absmax"
};

// Stages follow one another; their seconds add up to the run's.
struct StageRow {
  std::string stage;
  double seconds = 0;
  uint64_t peak_bytes = 0;         // resident, anonymous
  uint64_t device_peak_bytes = 0;  // handed out of a device's memory; 0 where the host computes
};

// A stretch of a device's work (core/backend/backend.h); kept with traces.
struct TimelineRow {
  std::string stream;
  std::string what;
  double start_s = 0;
  double end_s = 0;
};

// One value per window, in text order.
struct EvalSeries {
  std::string task;         // as in MetricRow
  std::vector<double> nll;  // mean over the window's scored positions, nats
  std::vector<double> kl;
  std::vector<double> top1;
};

struct TraceArray {
  std::string matrix;  // "layers.3.q_proj"
  std::string name;    // "eigenvalues"
  std::vector<uint64_t> shape;
  std::vector<double> values;  // row-major
};

struct RunFailure {
  int64_t exit_code = 0;
  std::string message;
};

struct RunRecord {
  std::string run_key;              // 64 hex digits
  std::string status = "complete";  // or "failed"
  std::string label;                // "grouping=spectral(4)"
  std::string started, finished;    // ISO 8601, UTC
  std::string numerics = "packed";  // or "reference": decoded with FP32 parameters, which no file of this size holds
  bool full_precision = false;      // nothing was quantized: the line others are compared with

  std::string config_source;    // as the user wrote it
  std::string config_resolved;  // canonical JSON, all defaults
  std::vector<ConfigEntry> config;

  RunProvenance provenance;
  std::vector<MetricRow> metrics;
  StorageSummary storage;
  std::vector<RoleBytes> storage_by_role;
  std::vector<MatrixRow> matrices;
  std::vector<StageRow> timing;
  std::vector<TimelineRow> timeline;
  std::vector<EvalSeries> eval;
  std::vector<TraceArray> trace;
  RunFailure failure;

  bool complete() const { return status == "complete"; }
};

}  // namespace sage
