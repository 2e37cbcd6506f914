// Paths of what commands make, looked at before any work.
#pragma once

#include <string>

namespace sage {

// The path as typed, without the slash that completion leaves at its end and without doubled ones: "a//b/" is "a/b". `option`
// is what messages call it. UserError for an empty one; ResourceError if it could not be made: below something that is no
// folder, or in one that is not writable.
std::string output_path(const std::string& typed, const std::string& option = "-o");
// The same for what must not be there yet: UserError for anything that is, a link to nowhere included.
std::string new_output_path(const std::string& typed, const std::string& option = "-o");
// The same for a file, which may be there and is replaced; UserError for a folder.
std::string output_file_path(const std::string& typed, const std::string& option = "-o");

}  // namespace sage
