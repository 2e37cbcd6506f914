// How much of a model a run quantized.
#pragma once

#include <string>

#include "results/run_record.h"

namespace sage {

// "3 of 7" where some of the linear layers were left as they are, else "". Records of schema 1 do not say how many layers the
// model has; where their configuration left some out, it is "3 of ?".
std::string matrices_quantized(const RunRecord& record);

// True for records whose bits are over the quantized matrices alone though others were left out: schema 1.
bool bits_leave_layers_out(const RunRecord& record);

}  // namespace sage
