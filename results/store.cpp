#include "results/store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "results/run_file.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

constexpr size_t kKeyDigits = 64;
constexpr std::chrono::hours kLeftBehind{1};

bool is_hex(const std::string& s) { return s.find_first_not_of("0123456789abcdef") == std::string::npos; }

void check_key(const std::string& key) {
  if (key.size() < 8 || key.size() > kKeyDigits || !is_hex(key))
    throw UserError("run key: found '{}'; expected 8 to 64 lower-case hex digits; copy it from the run column of a report",
                    key);
}

// "ab12.h5" and "ab12.failed.h5" -> "ab12"; anything else -> "".
std::string key_of(const fs::path& file) {
  std::string name = file.filename().string();
  for (const char* end : {".failed.h5", ".h5"})
    if (name.ends_with(end)) {
      name.resize(name.size() - std::string_view(end).size());
      return is_hex(name) && name.size() >= 8 ? name : "";
    }
  return "";
}

std::vector<fs::path> run_files(const std::string& root) {
  std::vector<fs::path> out;
  std::error_code ec;
  fs::recursive_directory_iterator it(root + "/runs", ec), end;
  while (!ec && it != end) {
    if (it->is_regular_file(ec) && !key_of(it->path()).empty()) out.push_back(it->path());
    it.increment(ec);
  }
  if (ec && fs::exists(root + "/runs"))
    throw ResourceError("{}/runs: cannot be listed ({}); expected a readable store; check its permissions", root, ec.message());
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace

Store::Store(std::string root, double stale_after_seconds) : root_(std::move(root)), stale_after_(stale_after_seconds) {}

std::string Store::default_root() {
  if (const char* p = std::getenv("SAGEPTQ_STORE"); p != nullptr && *p != '\0') return p;
  return "results/store";
}

std::string Store::path_of(const std::string& key) const {
  check_key(key);
  return fmt::format("{}/runs/{}/{}.h5", root_, key.substr(0, 2), key);
}
std::string Store::failed_path_of(const std::string& key) const { return failed_name(path_of(key)); }
std::string Store::pending_folder(const std::string& key) const {
  check_key(key);
  return fmt::format("{}/pending/{}", root_, key);
}
std::string Store::sweep_path(const std::string& name) const {
  if (name.empty() || name.find('/') != std::string::npos || name[0] == '.')
    throw UserError("sweep name: found '{}'; expected a plain word; give the sweep a `name:`", name);
  return fmt::format("{}/sweeps/{}.json", root_, name);
}

bool Store::exists(const std::string& key) const { return fs::exists(path_of(key)); }
bool Store::failed(const std::string& key) const { return !exists(key) && fs::exists(failed_path_of(key)); }

std::string Store::put(const RunRecord& record) const {
  const std::string path = path_of(record.run_key);
  if (exists(record.run_key)) return path;
  const std::string folder = fs::path(path).parent_path().string();
  make_folders(folder);
  // Parts of writers that were killed. A young one may belong to a worker that is taken for dead and is not.
  std::error_code ec;
  std::vector<fs::path> parts;
  const auto now = fs::file_time_type::clock::now();
  for (const auto& entry : fs::directory_iterator(folder, ec)) {
    std::error_code gone;
    if (entry.path().filename().string().starts_with(record.run_key) &&
        entry.path().string().find(".part.") != std::string::npos && now - entry.last_write_time(gone) > kLeftBehind && !gone)
      parts.push_back(entry.path());
  }
  for (const fs::path& p : parts)
    fs::remove(p, ec);
  const std::string written = write_run_file(path, record);
  if (record.complete()) fs::remove(failed_name(path), ec);
  return written;
}

std::string Store::set_aside(const std::string& key) const {
  const std::string path = path_of(key), stem = path.substr(0, path.size() - std::string_view(".h5").size());
  for (int n = 1;; ++n) {
    const std::string aside = fmt::format("{}.former-{}.h5", stem, n);
    // A link, unlike a rename, never takes the place of what another process has just put there.
    if (::link(path.c_str(), aside.c_str()) != 0) {
      if (errno == EEXIST) continue;
      if (errno == ENOENT) return "";
      throw ResourceError("{}: cannot be kept as {} ({}); expected a writable store; check its permissions", path, aside, std::strerror(errno));
    }
    std::error_code ec;
    const std::string packed = root_ + "/packed/" + key;
    if (fs::exists(packed, ec)) fs::rename(packed, fmt::format("{}.former-{}", packed, n), ec);
    if (!fs::remove(path, ec)) {
      fs::remove(aside, ec);
      return "";
    }
    return aside;
  }
}

void Store::keep_out(const std::string& path) const {
  std::error_code ec;
  const fs::path inside =
      fs::weakly_canonical(fs::absolute(path), ec).lexically_relative(fs::weakly_canonical(fs::absolute(root_), ec));
  if (!ec && !inside.empty() && *inside.begin() != "..")
    throw UserError("-o {}: is inside the store {}; expected a place of its own; choose another path", path, root_);
}

RunRecord Store::get(const std::string& key) const {
  if (exists(key)) return read_run_file(path_of(key));
  if (failed(key)) return read_run_file(failed_path_of(key));
  throw ResourceError("{}: holds no run {}; expected {}; run it first or name another store", root_, key, path_of(key));
}

std::vector<StoredRun> Store::list() const {
  std::vector<StoredRun> out;
  for (const fs::path& path : run_files(root_)) {
    StoredRun run;
    run.path = path.string();
    try {
      run.record = read_run_file(run.path, RunParts::kSummary);
    } catch (const Error& e) {
      run.error = e.what();
    }
    out.push_back(std::move(run));
  }
  return out;
}

std::vector<std::string> Store::find(const std::string& prefix) const {
  std::set<std::string> keys;
  for (const fs::path& path : run_files(root_))
    if (const std::string key = key_of(path); key.starts_with(prefix)) keys.insert(key);
  return {keys.begin(), keys.end()};
}

}  // namespace sage
