// Every component with every compensator, in combinations that were never published together, and the scopes to try them in.
#pragma once

#include <fmt/format.h>

#include <ostream>
#include <string>
#include <vector>

#include "tests/pipeline/pipelines.h"

namespace sage::test {

inline const std::vector<NamedPipeline>& components() {
  static const std::vector<NamedPipeline> all = {
      {"uniform", "quantizer: {type: uniform, bits: 3}"},
      {"uniform_groups", "quantizer: {type: uniform, bits: 4, group_size: 8, symmetric: true}, coder: {codes: range}"},
      {"sage", "saliency: sigma, threshold: {type: fixed, ratio: 0.05}, grouping: {type: kmeans, groups: 3}, quantizer: binary,"
               " salient_quantizer: {type: multibit, bits: 4}, coder: {salient_index: csr}"},
      {"sage_spectral", "saliency: sigma, threshold: {type: fixed, ratio: 0.02}, grouping: spectral, quantizer: binary, salient_quantizer: multibit"},
      {"offset_multibit", "saliency: magnitude, threshold: {type: fixed, ratio: 0.1}, grouping: {type: equal_count, groups: 4}, quantizer: {type: binary, scale: row_group},"
                          " salient_quantizer: {type: multibit, bits: 3, grid: offset}, coder: {salient_index: delta8, group_index: range, codes: range}"},
      {"mean_shift", "saliency: hessian, threshold: {type: fixed, ratio: 0.05}, grouping: {type: positional}, quantizer: {type: binary, mean_shift: true},"
                     " salient_quantizer: {type: residual_binary, order: 2}"},
      {"whole_columns", "saliency: columns, threshold: {type: fixed, ratio: 0.2}, grouping: single, quantizer: {type: binary, scale: row},"
                        " salient_quantizer: {type: multibit, bits: 5}, coder: {salient_index: bitmap}"},
      {"pb_llm", "saliency: {type: hessian, unit: weights}, threshold: {type: percentile, low_frac: 0.9}, quantizer: {type: pb_binary, method: xnor},"
                 " salient_quantizer: {type: uniform, bits: 8, range: all}, coder: {salient_index: bitmap}"},
      {"billm", "saliency: {type: hessian, unit: columns}, threshold: column_search, grouping: percentile_split, quantizer: {type: residual_binary, order: 1},"
                " salient_quantizer: {type: residual_binary, order: 2}, coder: {salient_index: bitmap}"},
      {"billm_text", "saliency: {type: hessian_inverse_diag, unit: columns}, threshold: {type: column_search, error_on: weights, order: 1, centered: false, least: 3, most: 30},"
                     " grouping: max_fraction_split, quantizer: {type: residual_binary, order: 1, mean: false}, salient_quantizer: {type: residual_binary, order: 2, mean: false}"},
      {"half_kept", "saliency: magnitude, threshold: {type: fixed, ratio: 0.5}, quantizer: prune, salient_quantizer: keep, numerics: reference"},
      {"searched", "saliency: sigma, threshold: {type: grid, points: 3, hi: 0.2, objective: lagrangian, lambda: 0.2}, grouping: {type: kmeans, groups: 2}, quantizer: binary,"
                   " salient_quantizer: {type: multibit, bits: 3}, trial_weights: 400"},
  };
  return all;
}

// Segments, moments and blocks; none of the widths divides the matrices below.
inline const std::vector<std::string>& natural_scopes() {
  static const std::vector<std::string> all = {
      "segment_columns: 0, block_columns: 16",
      "segment_columns: 0, block_columns: 0",
      "segment_columns: 0, segment_weights: original, block_columns: 24",
      "segment_columns: 16, block_columns: 16, dead_columns: zero",
      "segment_columns: 20, block_columns: 0",
      "segment_columns: 8, block_columns: 32",
      "segment_columns: 48, block_columns: 16",
      "segment_columns: 16, segment_weights: cleaned, block_columns: 16, dead_columns: zero",
      "segment_columns: 0, segment_weights: cleaned, salient_segment_columns: 12, block_columns: 12",
      "segment_columns: 32, salient_segment_columns: 8, block_columns: 16",
      "segment_columns: 16, segment_weights: cleaned, salient_segment_columns: 0, salient_segment_weights: original, block_columns: 16, dead_columns: zero",
  };
  return all;
}
inline const std::vector<std::string>& activation_scopes() {
  static const std::vector<std::string> all = {
      "column_order: activation, segment_columns: 0, block_columns: 16",
      "column_order: activation, segment_columns: 16, block_columns: 16, dead_columns: zero",
      "column_order: activation, segment_columns: 8, block_columns: 32",
      "column_order: activation, segment_columns: 16, segment_weights: cleaned, block_columns: 16, dead_columns: zero",
      "column_order: activation, segment_columns: 0, segment_weights: original, salient_segment_columns: 16, block_columns: 16",
      "column_order: activation, segment_columns: 0, salient_segment_columns: 16, block_columns: 32",
  };
  return all;
}

inline std::string pipeline(const std::string& parts, const std::string& compensator, const std::string& scope) {
  return fmt::format("{{{}, compensator: {}, {}}}", parts, compensator, scope);
}

struct Combination {
  NamedPipeline parts;
  std::string compensator;
  std::vector<std::string> scopes() const {
    std::vector<std::string> out = natural_scopes();
    if (compensator == "gptq") out.insert(out.end(), activation_scopes().begin(), activation_scopes().end());
    return out;
  }
};
inline void PrintTo(const Combination& c, std::ostream* out) { *out << c.parts.name << " " << c.compensator; }

inline std::vector<Combination> combinations() {
  std::vector<Combination> out;
  for (const NamedPipeline& parts : components())
    for (const char* compensator : {"none", "gptq", "block", "block_exact"}) out.push_back({parts, compensator});
  return out;
}

}  // namespace sage::test
