// Where a number came from: commit, machine, libraries, inputs.
#pragma once

#include <string>
#include <vector>

#include "core/backend/backend.h"
#include "results/run_record.h"

namespace sage {

// Fills everything that does not depend on the experiment: commit, host, CPU, threads, libraries, command line.
RunProvenance describe_process(const std::vector<std::string>& argv, const Backend& backend);

std::string iso_time_now();  // UTC, "2026-11-22T17:40:00Z"
std::string program_version();

}  // namespace sage
