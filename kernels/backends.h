// The devices this program can compute on, by name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/backend/backend.h"

namespace sage {

// "reference" | "cpu". UserError for an unknown name (the nearest one is offered), ResourceError for a known backend that this
// build or machine does not have.
std::unique_ptr<Backend> make_backend(const std::string& name);

// Every backend the program knows, available or not, in the order of the documentation.
std::vector<BackendStatus> backend_status();

}  // namespace sage
