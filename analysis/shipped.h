// Folders of files that come with the program: tables, published numbers.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sage {

// Where analysis/NAME may be, nearest first: below the working folder, installed beside the program (../share/sage-ptq/NAME),
// upwards from the program, and in the tree it was built from. Folders that do not exist are listed, too.
std::vector<std::filesystem::path> shipped_folders(const std::string& name);

}  // namespace sage
