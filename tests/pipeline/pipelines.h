// Pipelines the tests of this folder run: one of every shape the engine can meet.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/config/value.h"
#include "core/pipeline/pipeline.h"
#include "core/pipeline/pipeline_config.h"
#include "strategies/builtin.h"

namespace sage::test {

inline const Registries& registries() {
  static const Registries* const r = [] {
    auto* all = new Registries;
    register_builtin(*all);
    return all;
  }();
  return *r;
}

inline PipelineFactory factory(const std::string& yaml) {
  return PipelineFactory(canonical_pipeline(parse_yaml(yaml, "test"), registries()), registries());
}

struct NamedPipeline {
  const char* name;
  const char* yaml;
};

// The base of the effect tests: SAGE-PTQ with few nodes.
inline constexpr const char* kSage =
    "{saliency: {type: sigma}, threshold: {type: fixed, ratio: 0.02}, grouping: {type: spectral}, quantizer: {type: binary},"
    " salient_quantizer: {type: multibit}, coder: {salient_index: csr, group_index: raw}}";

inline std::vector<NamedPipeline> all_shapes_of_pipelines() {
  return {
      {"sage", kSage},
      {"rtn_row", "{saliency: none, threshold: {type: fixed}, grouping: single, quantizer: {type: uniform, bits: 3}, salient_quantizer: multibit}"},
      {"rtn_groups", "{saliency: none, threshold: {type: fixed}, grouping: single, quantizer: {type: uniform, bits: 4, group_size: 32}, salient_quantizer: multibit}"},
      {"entropy_coded", "{saliency: sigma, threshold: {type: fixed, ratio: 0.05}, grouping: {type: kmeans, groups: 3}, quantizer: binary, salient_quantizer: {type: multibit, bits: 3,"
                        " grid: offset}, coder: {salient_index: range, group_index: range, codes: range, signs: raw}}"},
      {"delta8_bitmap", "{saliency: magnitude, threshold: {type: fixed, ratio: 0.1}, grouping: {type: equal_count, groups: 5}, quantizer: {type: binary, mean_shift: true},"
                        " salient_quantizer: {type: multibit, bits: 2, grid: midtread}, coder: {salient_index: delta8}}"},
      {"columns", "{saliency: columns, threshold: {type: fixed, ratio: 0.06}, grouping: single, quantizer: {type: binary, scale: row}, salient_quantizer: multibit,"
                  " coder: {salient_index: bitmap}}"},
      {"scaled", "{transform: {type: scale, mode: rank1}, saliency: sigma, threshold: {type: fixed, ratio: 0.01}, grouping: {type: kmeans, groups: 4}, quantizer: binary,"
                 " salient_quantizer: multibit, coder: {salient_index: csr}}"},
      {"rotated", "{transform: {type: hadamard}, saliency: none, threshold: {type: fixed}, grouping: single, quantizer: {type: binary, scale: rank1}, salient_quantizer: multibit}"},
      {"blocks", "{segment_columns: 48, saliency: sigma, threshold: {type: fixed, ratio: 0.03}, grouping: {type: kmeans, groups: 2}, quantizer: {type: binary, scale: row_group},"
                 " salient_quantizer: multibit, coder: {salient_index: csr}}"},
      {"positional", "{saliency: sigma, threshold: {type: fixed, ratio: 0.01}, grouping: {type: positional}, quantizer: binary, salient_quantizer: multibit, coder: {salient_index: csr}}"},
      {"searched", "{saliency: sigma, threshold: {type: brent, objective: rate_distortion}, grouping: {type: kmeans, groups: 2}, quantizer: binary, salient_quantizer: {type: multibit,"
                   " bits: 3, grid: offset}, trial_weights: 4096, coder: {salient_index: csr, group_index: range},"
                   " alternatives: [{salient_quantizer: {bits: 2}}, {grouping: {groups: 4}}, {saliency: {type: none}}]}"},
      {"residual", "{saliency: columns, threshold: {type: fixed, ratio: 0.06}, grouping: {type: equal_count, groups: 2}, quantizer: residual_binary,"
                   " salient_quantizer: {type: residual_binary, order: 2}, coder: {salient_index: bitmap, group_index: raw}}"},
      {"partly_binarized", "{saliency: magnitude, threshold: {type: fixed, ratio: 0.1}, grouping: single, quantizer: {type: pb_binary, keep_zero: true},"
                           " salient_quantizer: {type: uniform, bits: 8, range: all}, coder: {salient_index: bitmap}}"},
      {"pruned", "{saliency: magnitude, threshold: {type: fixed, ratio: 0.5}, grouping: single, quantizer: prune, salient_quantizer: keep, coder: {salient_index: bitmap}}"},
      {"reference_numerics", "{numerics: reference, saliency: sigma, threshold: {type: fixed, ratio: 0.02}, grouping: {type: kmeans, groups: 2}, quantizer: binary,"
                             " salient_quantizer: multibit, coder: {salient_index: csr}}"},
  };
}

}  // namespace sage::test
