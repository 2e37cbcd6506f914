#include "core/util/lru_folder.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "core/util/files.h"
#include "core/util/log.h"

namespace sage {
namespace fs = std::filesystem;

namespace {

constexpr size_t kNameDigits = 32;

// Files of this process, by normalized path.
struct Registry {
  std::mutex mutex;
  std::map<std::string, int> holders;
};
Registry& registry() {
  static Registry r;
  return r;
}
std::string normal(const fs::path& path) { return fs::absolute(path).lexically_normal().string(); }
bool in_use(const fs::path& path) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  return registry().holders.count(normal(path)) > 0;
}

}  // namespace

void warn_without_cache(const std::string& why) {
  static std::atomic<bool> said{false};
  if (said.exchange(true)) {
    log_debug("cache: {}", why);
  } else {
    log_warning("cache: {}; going on without it, which takes longer (set SAGEPTQ_CACHE to a folder that can be written)", why);
  }
}

LruFolder::InUse::InUse(const std::string& path) : path_(normal(path)) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  ++registry().holders[path_];
}
LruFolder::InUse::~InUse() {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  const auto held = registry().holders.find(path_);
  if (--held->second == 0) registry().holders.erase(held);
}

LruFolder::LruFolder(std::string folder, std::string suffix, uint64_t budget_bytes)
    : folder_(std::move(folder)), suffix_(std::move(suffix)), budget_bytes_(budget_bytes) {}

std::string LruFolder::path(const std::string& key) const {
  return folder_ + "/" + sha256_hex(key).substr(0, kNameDigits) + suffix_;
}

void LruFolder::mark_used(const std::string& path) const {
  std::error_code ignored;
  fs::last_write_time(path, fs::file_time_type::clock::now(), ignored);
}

bool LruFolder::is_entry(const std::string& name) const {
  return name.size() == kNameDigits + suffix_.size() && name.ends_with(suffix_) &&
         name.find_first_not_of("0123456789abcdef") >= kNameDigits;
}

void LruFolder::evict(const std::string& keep) const {
  struct Entry {
    fs::path path;
    fs::file_time_type used;
    uint64_t bytes;
  };
  std::vector<Entry> entries;
  uint64_t total = 0;
  std::error_code error;
  const auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
    const fs::path& p = it->path();
    const std::string name = p.filename().string();
    std::error_code gone;  // other processes evict as well
    const auto used = fs::last_write_time(p, gone);
    const uint64_t bytes = gone ? 0 : fs::file_size(p, gone);
    if (gone) continue;
    if (name.find(suffix_ + ".part.") != std::string::npos) {
      // What a killed run left behind; one that is being written now is younger.
      if (now - used > std::chrono::hours(1)) fs::remove(p, gone);
      continue;
    }
    if (!is_entry(name)) continue;
    total += bytes;
    if (p != fs::path(keep) && !in_use(p)) entries.push_back({p, used, bytes});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.used != b.used ? a.used < b.used : a.path < b.path; });
  for (const Entry& e : entries) {
    if (total <= budget_bytes_) break;
    std::error_code ignored;
    fs::remove(e.path, ignored);
    total -= e.bytes;
    log_debug("cache: removed {}", e.path.string());
  }
}

}  // namespace sage
