// Model folders as the Hugging Face hub keeps them: HUB/models--ORG--NAME/{refs/main, snapshots/REVISION/config.json ...}.
#pragma once

#include <string>

namespace sage {

// The folder with the model's files: `path` itself, or of a folder of the hub's cache the snapshot that refs/main names,
// otherwise its only one. ResourceError that names paths to type: several snapshots, none, the cache itself or a file in place
// of a folder.
std::string model_files_folder(const std::string& path);

// What to call the model of a folder: its name; of a snapshot in the hub's cache "ORG/NAME".
std::string model_folder_name(const std::string& folder);

}  // namespace sage
