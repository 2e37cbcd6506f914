// The patterns of `include` and `exclude`, held against a model's linear layers.
//
// A pattern is a glob on a full name, "model.layers.3.mlp.down_proj.weight": * stands for any characters, ? for one, [abc] for
// one of a set; everything else stands for itself. It is no regular expression, and it must match the name from end to end.
#pragma once

#include <string>
#include <vector>

#include "core/model/checkpoint.h"
#include "experiments/engine/experiment.h"

namespace sage {

// The language in one sentence, for messages and help.
extern const char* const kPatternLanguage;

bool matches_pattern(const std::string& pattern, const std::string& name);

// A pattern that matches what `pattern` was probably meant to match, or "": bare names and those without .weight get stars,
// what is written as a regular expression (re:, .*, \., ^ and $) is rewritten, words that no name has become the nearest that
// one has.
std::string suggested_pattern(const std::string& pattern, const std::vector<std::string>& linear_names);

// UserError naming the first pattern that matches no linear layer, with what was probably meant; or if nothing is left to
// quantize though the experiment quantizes.
void check_patterns(const Experiment& experiment, const CheckpointSource& model);

}  // namespace sage
