// The devices this program can compute on, by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend/backend.h"

namespace sage {

// "reference", "cpu", "cuda", "cuda-bf16", "cuda-fp16", "cuda_on_cpu", in the order of the documentation. Looks at no device.
std::vector<std::string> backend_names();

// UserError for an unknown name (the nearest one is offered), ResourceError for a known backend that this build or machine does
// not have.
std::unique_ptr<Backend> make_backend(const std::string& name);

// Every backend the program knows, available or not.
std::vector<BackendStatus> backend_status();

}  // namespace sage
