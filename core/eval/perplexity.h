// Perplexity of a model on token windows, and its divergence from the full-precision model.
//
//   nll(w)      = 1/S sum_t -log P(x_t | x_<t)             over the S scored targets t of window w, natural logarithm
//   perplexity  = exp(mean of nll(w))                       (all windows score equally many targets, so both aggregates agree)
//   kl          = mean_t KL(P_ref(. | x_<t) || P(. | x_<t)) in nats; top1 = share of t where both have the same likeliest token
//
// The model is run block by block over all windows, so each block's weights are read (or decoded) once per pass; hidden states
// of as many windows as fit into a byte budget (and into what a device has free) stay in the backend's memory, the rest takes
// further passes. Logits exist only in slices inside the backend. What is kept of the full-precision run for `kl` are its final
// hidden states (FP32, after the final norm, at the positions that predict a scored target: scored tokens x width of the
// embedding x 4 bytes) in a file in the cache folder.
//
// Results do not depend on the byte budget nor on the number of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "core/eval/protocol.h"
#include "core/model/safetensors.h"
#include "core/model/weight_source.h"
#include "core/util/lru_folder.h"

namespace sage {

struct EvalOptions {
  uint64_t hidden_budget_bytes = uint64_t{1} << 30;  // hidden states in memory at a time
  std::string states_folder;                         // for final hidden states; "" = cache_folder()/eval
  uint64_t states_budget_bytes = uint64_t{4} << 30;  // of that folder: the least recently used go, none that is in use
  bool progress = true;                              // draw a progress line
  std::string task = "evaluate";                     // what that line says is done
};

// Everything the final states depend on, as text: model, tokens, protocol, number of windows, backend.
std::string final_states_key(const WeightSource& source, const TokenWindows& windows, const Backend& backend);

// Final hidden states of a model on windows, memory-mapped from their file.
class FinalStates {
 public:
  // From the file if it is there and whole, otherwise computed and written (atomically), even if it alone exceeds the budget:
  // the states are read from it. Filed under final_states_key. Where the file cannot be written they are held in memory.
  static FinalStates of(const WeightSource& source, const TokenWindows& windows, const Backend& backend,
                        const EvalOptions& options);
  // Nothing if the file is not there.
  static std::optional<FinalStates> find(const WeightSource& source, const TokenWindows& windows, const Backend& backend,
                                         const EvalOptions& options);
  // scored_per_window x embedding_width: row t predicts target first_scored + t of window i.
  WeightView window(int64_t i) const;
  const std::string& path() const { return path_; }  // empty: in memory

 private:
  std::shared_ptr<const SafetensorsFile> file_;
  std::shared_ptr<const std::vector<float>> memory_;  // without a file
  std::shared_ptr<const LruFolder::InUse> in_use_;
  std::string path_;
  const float* data_ = nullptr;
  int64_t rows_ = 0;
  int64_t cols_ = 0;
};

// A mean with its standard error: sample standard deviation of the windows' values / sqrt(windows); NaN for one window.
struct MeanError {
  double mean = 0;
  double standard_error = std::numeric_limits<double>::quiet_NaN();
};
MeanError mean_error(const std::vector<double>& values);

struct PerplexityResult {
  Protocol protocol;
  int64_t windows = 0;
  int64_t scored_tokens = 0;
  std::vector<double> nll;  // per window
  double perplexity = 0;
  double standard_error = 0;        // of the perplexity, from the spread between windows; NaN for one window
  double token_standard_error = 0;  // from the spread between targets, as llama-perplexity reports it
  // Against the reference; empty and NaN without one.
  std::vector<double> kl, top1;  // per window
  MeanError kl_mean, top1_mean;
  std::string model_digest, text_digest, tokens_digest, text_name;
  bool from_states = false;  // the final hidden states were read from their file, the model was not run
  double seconds = 0;
  double tokens_per_second = std::numeric_limits<double>::quiet_NaN();  // windows x window / seconds, where the model was run
};

// The full-precision side of a divergence.
struct Reference {
  const WeightSource* source = nullptr;
  FinalStates states;
};

// RunError: a loss that is not finite. ResourceError: ids outside the model's vocabulary, unreadable weights.
PerplexityResult evaluate_perplexity(const WeightSource& source, const TokenWindows& windows, const Backend& backend,
                                     const EvalOptions& options = {}, const Reference* reference = nullptr);

// Runs the model; `take(i, states)` receives what the head reads of each window (window x embedding_width), in order: a view of
// the backend's memory that ends with the call.
void run_windows(const WeightSource& source, const TokenWindows& windows, const Backend& backend, const EvalOptions& options,
                 const std::function<void(int64_t, WeightView)>& take);

}  // namespace sage
