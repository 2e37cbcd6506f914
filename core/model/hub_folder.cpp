#include "core/model/hub_folder.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "core/util/errors.h"
#include "core/util/file_kind.h"
#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kModelPrefix = "models--";
constexpr const char* kExpected = "a Hugging Face model directory with config.json and safetensors files";

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}
bool is_folder(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

// Folders in `folder` that `take` wants, by name.
template <class Take>
std::vector<fs::path> folders_in(const fs::path& folder, const Take& take) {
  std::vector<fs::path> out;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (is_folder(entry.path()) && take(entry.path())) out.push_back(entry.path());
  std::sort(out.begin(), out.end());
  return out;
}

std::string list_of(const std::vector<fs::path>& paths) {
  constexpr size_t kShown = 5;
  std::string out;
  for (size_t i = 0; i < std::min(paths.size(), kShown); ++i)
    out += (i == 0 ? "" : ", ") + paths[i].string();
  return out + (paths.size() > kShown ? ", ..." : "");
}

std::string main_revision(const fs::path& folder) {
  const fs::path ref = folder / "refs" / "main";
  if (!is_file(ref)) return "";
  std::string revision = read_file(ref.string(), 4096);
  while (!revision.empty() && (revision.back() == '\n' || revision.back() == '\r' || revision.back() == ' '))
    revision.pop_back();
  const bool plain = !revision.empty() && revision.find('/') == std::string::npos && revision != "." && revision != "..";
  return plain ? revision : "";
}

std::string snapshot_of(const fs::path& folder) {
  const auto has_config = [](const fs::path& p) { return is_file(p / "config.json"); };
  const std::vector<fs::path> snapshots = folders_in(folder / "snapshots", has_config);
  const std::string revision = main_revision(folder);
  const fs::path main = folder / "snapshots" / revision;
  fs::path chosen;
  if (!revision.empty() && has_config(main))
    chosen = main;
  else if (snapshots.size() == 1)
    chosen = snapshots[0];
  else if (snapshots.empty())
    throw ResourceError(
        "{}: a folder of the hub's cache without a snapshot that has a config.json; expected {}; fetch the model again",
        folder.string(), kExpected);
  else
    throw ResourceError("{}: a folder of the hub's cache with {} snapshots; expected {}; name one of them: {}", folder.string(),
                        snapshots.size(), kExpected, list_of(snapshots));
  log_debug("model: {}", chosen.string());
  return chosen.string();
}

[[noreturn]] void refuse_file(const std::string& path) {
  std::string head(512, '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(in.gcount()));
  std::error_code error;
  const std::optional<FileKind> kind = file_kind(head, fs::file_size(path, error), path);
  const fs::path parent = fs::path(path).has_parent_path() ? fs::path(path).parent_path() : fs::path(".");
  const bool beside = is_file(parent / "config.json");
  throw ResourceError("{}: is {}; expected {}; {}", path, kind ? kind->what : "a file", kExpected,
                      beside ? "name its folder: " + parent.string()
                      : kind ? kind->remedy
                             : "check the path");
}

}  // namespace

std::string model_files_folder(const std::string& path) {
  const fs::path folder(path);
  if (is_file(folder)) refuse_file(path);
  if (!is_folder(folder)) throw ResourceError("{}: no such folder; expected {}; check the path", path, kExpected);
  if (is_file(folder / "config.json")) return path;
  if (is_folder(folder / "snapshots")) return snapshot_of(folder);
  const std::vector<fs::path> models =
      folders_in(folder, [](const fs::path& p) { return p.filename().string().starts_with(kModelPrefix); });
  if (!models.empty())
    throw ResourceError("{}: a cache of the hub with {} model{}; expected {}; name one of them: {}", path, models.size(),
                        models.size() == 1 ? "" : "s", kExpected, list_of(models));
  const std::vector<fs::path> inside = folders_in(folder, [](const fs::path& p) { return is_file(p / "config.json"); });
  if (!inside.empty())
    throw ResourceError("{}: no config.json, but there is one in {}; expected {}; name that folder", path, list_of(inside),
                        kExpected);
  return path;  // whoever reads it says what is missing
}

std::string model_folder_name(const std::string& folder) {
  const fs::path path = fs::absolute(folder).lexically_normal();
  const fs::path last = path.has_filename() ? path : path.parent_path();
  const fs::path snapshots = last.parent_path();
  std::string name = snapshots.parent_path().filename().string();
  if (snapshots.filename() != "snapshots" || !name.starts_with(kModelPrefix)) return last.filename().string();
  name.erase(0, kModelPrefix.size());
  if (const size_t dashes = name.find("--"); dashes != std::string::npos) name.replace(dashes, 2, "/");
  return name;
}

}  // namespace sage
