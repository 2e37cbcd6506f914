// The `pipeline` section of an experiment: slots filled with components, and how they are driven.
//
//   pipeline:
//     transform:         {type: none}            # registry `transform`
//     saliency:          {type: sigma}           # registry `saliency`
//     threshold:         {type: cap, bits: 1.03} # registry `threshold`
//     grouping:          {type: spectral}        # registry `grouping`
//     quantizer:         {type: binary}          # registry `quantizer`, for the unsalient weights
//     salient_quantizer: {type: multibit}        # registry `quantizer`
//     compensator:       {type: none}            # registry `compensator`
//     coder: {salient_index: csr, group_index: raw, codes: raw, signs: raw}   # registry `coder`
//     segment_columns: 0        # columns selected, grouped and fitted together; 0 = the whole matrix
//     segment_weights: compensated          # original | cleaned | compensated: what a segment is fitted on
//     salient_segment_columns: -1           # the same for the salient quantizer; -1 = as segment_columns
//     salient_segment_weights: compensated
//     block_columns: 0          # columns between two updates of a compensator; 0 = one segment
//     column_order: natural     # natural | activation
//     dead_columns: keep        # keep | zero
//     numerics: packed          # packed = FP16 parameters as stored, reference = FP32
//     trial_weights: 0          # weights a threshold trial looks at; 0 = all
//     paper_formula: nominal    # nominal | claimed_width
//     alternatives:             # tried per matrix, the best objective is kept
//       - {salient_quantizer.bits: 2}
//       - {salient_quantizer.bits: 3, grouping: {type: single}}
//
// A bare name means a component with all its defaults. `pipeline: none` is a model in full precision.
// `alternatives` may also be {list: [...], grid: {dotted.key: [values], ...}}: every combination, the last key fastest.
#pragma once

#include <vector>

#include "core/config/value.h"
#include "core/strategy/registries.h"

namespace sage {

// The slots in the order they are printed; "coder.*" are members of the `coder` map.
struct PipelineSlot {
  const char* path;          // "saliency", "coder.codes"
  const char* kind;          // registry: "saliency", "quantizer", "coder", ...
  const char* default_type;  // nullptr = must be given
  const char* doc;
};
const std::vector<PipelineSlot>& pipeline_slots();
// The scalar keys (block_columns, numerics, ...) for help and completion.
std::vector<ParamInfo> pipeline_parameters();

bool is_full_precision(const Value& pipeline);  // `none`, or nothing

// Bare names of components become {type: NAME}, so that {groups: 4} of a later layer merges into them. A bare name stands for
// all defaults: it replaces the block of an earlier layer, it does not merge with it.
void expand_bare_names(Value& pipeline);

// Every default filled in, every key known, every component makes sense where it stands; otherwise a UserError with
// file:line:column and the nearest name. Idempotent. Without alternatives, a saliency that never selects leaves the threshold and
// everything about salient weights without effect: checked all the same, these come out as their defaults. Alternatives come out
// as the list of whole slots in which each differs.
Value canonical_pipeline(const Value& pipeline, const Registries& registries);

// The complete pipelines a canonical section describes, without `alternatives`: one, or one per alternative.
std::vector<Value> pipeline_variants(const Value& canonical);

}  // namespace sage
