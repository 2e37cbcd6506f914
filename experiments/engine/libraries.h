// Versions of the libraries this program runs with, for provenance and `sageptq doctor`.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace sage {

// Name and version, sorted by name. Loaded versions where the library can tell, else those it was compiled with.
std::vector<std::pair<std::string, std::string>> library_versions();

}  // namespace sage
