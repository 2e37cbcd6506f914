// Compares our forward pass with numbers another implementation left in a safetensors file.
//
// Two layouts are understood. Small models: input_ids [B, T], hidden_states.K [B, T, hidden] for every level K (0 = after the
// embedding, K = output of block K, the last one after the final norm), logits [B, T, vocab], and optionally nll [B, T-1].
// Large models: input_ids [1, T], hidden_states [levels, P, hidden] (positions 0 .. P-1), logits [n, vocab] at logit_positions
// [n], and for all positions logsumexp [T], target_logit [T-1] (of the next token), top_values and top_ids [T, k].
//
// A value agrees when |ours - expected| <= tolerance + 2^-19 |expected|. The second part is 16 units of FP32 rounding: models
// grow single activations of 10^4 and more ("massive activations", Sun et al., arXiv:2402.17762), where two correct FP32
// programs differ by 10^-2. At the magnitude of ordinary activations and logits it is nothing beside the tolerance.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "core/model/family.h"
#include "core/model/safetensors.h"
#include "core/model/weight_source.h"

namespace sage {

// One compared tensor, in the order of the computation.
struct ParityRow {
  std::string tensor;     // "hidden_states.3"
  int64_t values = 0;     // compared
  double max_abs = 0;     // largest |ours - expected|; infinity when either is not finite
  double max_abs_at = 0;  // the expected value there
  double mean_abs = 0;
  bool within = true;
  // First value outside the tolerance.
  std::string first_place;  // "sequence 1, position 7, channel 12"; empty when within
  double first_ours = 0;
  double first_expected = 0;
};

struct ParityReport {
  double tolerance = 0;
  std::vector<ParityRow> rows;

  bool within() const;
  const ParityRow* first_outside() const;  // nullptr when within
  std::string verdict() const;             // one sentence
};

// ResourceError when the file has neither layout or does not fit the model.
ParityReport check_parity(const Family& family, const WeightSource& source, const SafetensorsFile& expected,
                          const Backend& backend, double tolerance);

}  // namespace sage
