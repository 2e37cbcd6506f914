#include "analysis/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

constexpr uint64_t kMaxManifestBytes = uint64_t{64} << 20;
constexpr size_t kMinPrefix = 4;
constexpr size_t kMaxListed = 5;

SelectedRun from_file(const std::string& path, RunParts parts) {
  SelectedRun run;
  run.path = path;
  run.record = read_run_file(path, parts);
  run.label = run.record->label.empty() ? fs::path(path).stem().string() : run.record->label;
  return run;
}

SelectedRun from_file_or_problem(const std::string& label, const std::string& path, RunParts parts) {
  SelectedRun run;
  try {
    run = from_file(path, parts);
  } catch (const Error& e) {
    run.path = path;
    run.problem = e.what();
  }
  if (!label.empty()) run.label = label;
  if (run.label.empty()) run.label = fs::path(path).stem().string();
  return run;
}

// By key; the failed record where there is no complete one.
SelectedRun from_key(const std::string& label, const std::string& key, const Store& store, RunParts parts) {
  if (store.exists(key)) return from_file_or_problem(label, store.path_of(key), parts);
  if (store.failed(key)) return from_file_or_problem(label, store.failed_path_of(key), parts);
  SelectedRun run;
  run.label = label.empty() ? key.substr(0, 10) : label;
  run.problem = "not run yet";
  run.pending = true;
  return run;
}

// The sweep's own store counts first; a manifest may have been copied beside its run files, or away from them.
SelectedRun from_point(const nlohmann::json& point, const fs::path& folder, const Store& store, RunParts parts) {
  const auto text = [&](const char* name) { return point.value(name, std::string()); };
  const std::string label = text("label"), key = text("key"), file = text("run_file");
  if (!file.empty()) {
    const std::string path = (folder / file).string();
    for (const std::string& p : {path, failed_name(path)})
      if (fs::is_regular_file(p)) return from_file_or_problem(label, p, parts);
  }
  if (!key.empty()) return from_key(label, key, store, parts);
  SelectedRun run;
  run.label = label;
  run.problem = "not run yet";
  run.pending = true;
  return run;
}

void add_manifest(const std::string& path, const Store& store, RunParts parts, std::vector<SelectedRun>& out) {
  const std::string text = read_file(path, kMaxManifestBytes);
  try {
    const auto points = nlohmann::json::parse(text).at("points").get<std::vector<nlohmann::json>>();
    for (const auto& point : points)
      out.push_back(from_point(point, fs::path(path).parent_path(), store, parts));
  } catch (const nlohmann::json::exception& e) {
    throw ResourceError(
        "{}: is not a sweep manifest ({}); expected {{\"name\": ..., \"points\": [{{\"label\", \"key\", \"run_file\"}}]}}; run "
        "the sweep "
        "again to write it",
        path, e.what());
  }
}

void add_keys(const std::string& path, const Store& store, RunParts parts, std::vector<SelectedRun>& out) {
  const std::string text = read_file(path, kMaxManifestBytes);
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    at = end + 1;
    line.erase(std::min(line.find('#'), line.size()));
    line.erase(line.find_last_not_of(" \t\r") + 1);
    line.erase(0, std::min(line.find_first_not_of(" \t"), line.size()));
    if (!line.empty()) out.push_back(from_key("", line, store, parts));
  }
}

void add_store(const Store& store, RunParts parts, std::vector<SelectedRun>& out) {
  for (const StoredRun& stored : store.list())
    out.push_back(from_file_or_problem("", stored.path, parts));
}

void add_folder(const std::string& path, const Store& store, RunParts parts, std::vector<SelectedRun>& out) {
  if (fs::is_regular_file(path + "/sweep.json")) return add_manifest(path + "/sweep.json", store, parts, out);
  if (fs::is_directory(path + "/runs")) return add_store(Store(path), parts, out);
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file() && entry.path().extension() == ".h5") files.push_back(entry.path().string());
  if (files.size() != 1)
    throw UserError(
        "{}: this folder holds {} run files, no sweep.json and no runs/; expected one of these; name the run file itself", path,
        files.size());
  out.push_back(from_file(files[0], parts));
}

void add_prefix(const std::string& word, const Store& store, RunParts parts, std::vector<SelectedRun>& out) {
  const bool hex = word.size() >= kMinPrefix && word.find_first_not_of("0123456789abcdef") == std::string::npos;
  const std::vector<std::string> keys = hex ? store.find(word) : std::vector<std::string>{};
  if (keys.size() == 1) {
    out.push_back(from_key("", keys[0], store, parts));
    return;
  }
  if (keys.empty())
    throw UserError(
        "'{}': found no such file, sweep or run in the store {}; expected a run file, a sweep.json, a sweep's name or the "
        "beginning of a run "
        "key; see `sageptq report` for what is stored",
        word, store.root());
  std::string listed;
  for (size_t i = 0; i < std::min(keys.size(), kMaxListed); ++i)
    listed += (i ? ", " : "") + keys[i].substr(0, word.size() + 6);
  throw UserError("'{}': {} runs begin with it ({}{}); expected one; type more digits", word, keys.size(), listed,
                  keys.size() > kMaxListed ? ", ..." : "");
}

}  // namespace

std::vector<SelectedRun> select_runs(const std::vector<std::string>& words, const Store& store, RunParts parts) {
  std::vector<SelectedRun> out;
  if (words.empty()) add_store(store, parts, out);
  for (const std::string& word : words) {
    if (fs::is_directory(word))
      add_folder(word, store, parts, out);
    else if (fs::is_regular_file(word) && word.ends_with(".h5"))
      out.push_back(from_file(word, parts));
    else if (fs::is_regular_file(word) && word.ends_with(".json"))
      add_manifest(word, store, parts, out);
    else if (fs::is_regular_file(word))
      add_keys(word, store, parts, out);
    else if (word.find('/') == std::string::npos && !word.starts_with('.') && fs::is_regular_file(store.sweep_path(word)))
      add_manifest(store.sweep_path(word), store, parts, out);
    else
      add_prefix(word, store, parts, out);
  }
  if (out.empty())
    throw ResourceError("{}: found no runs; expected at least one; run something first, or name another --store",
                        words.empty() ? store.root() : words[0]);
  return out;
}

}  // namespace sage
