// Where a number came from: commit, machine, libraries, inputs.
#pragma once

#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "results/run_record.h"

namespace sage {

// Fills everything that does not depend on the experiment: commit, host, CPU, threads, libraries, command line.
RunProvenance describe_process(const std::vector<std::string>& argv, const Backend& backend);

// SHA-256 of the sources this program was built from, as far as they decide numbers: core, kernels, strategies, experiments/engine.
// Two builds of one digest give the same results; of two others, a component's version need not say so while it is under work.
std::string build_digest();
// The record was made by a program of other sources. One that does not say so is of no known build: false.
bool of_another_build(const RunProvenance& provenance);
// For captions: which of these complete runs another build stored, "Stored by another build than this program: a, b. ..."; "" if none.
std::string other_builds_note(const std::vector<std::pair<std::string, const RunRecord*>>& labelled);

std::string iso_time_now();  // UTC, "2026-11-22T17:40:00Z"
std::string program_version();

}  // namespace sage
