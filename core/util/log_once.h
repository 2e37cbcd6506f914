// Warnings about files that are opened again and again.
#pragma once

#include <string>

namespace sage {

// A warning (log.h), said once per process however often it is found.
void log_warning_once(const std::string& text);

}  // namespace sage
