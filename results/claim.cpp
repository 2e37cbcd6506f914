// Claims of a Store. A claim is the file pending/<key>/claim.<n>; the holder is the one with the highest n. To take over a
// stale claim.<n> is to create claim.<n+1> exclusively, which only one worker can do: no file is ever replaced, so there is no
// moment at which two workers may both believe they hold the run.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/log.h"
#include "core/util/write_error.h"
#include "results/store.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kClaimPrefix = "claim.";
constexpr uint64_t kMaxClaimBytes = 4096;

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// Two processes with the same answer see each other's ids; hosts alone do not tell containers or reboots apart.
std::string process_space() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  std::error_code ec;
  return fmt::format("{} {} {}", host, first_line("/proc/sys/kernel/random/boot_id"),
                     fs::read_symlink("/proc/self/ns/pid", ec).string());
}

// Field 22 of /proc/PID/stat: tells a process from a later one with the same id. Empty if there is none, or if it is dead and
// only waits for its parent to ask how it ended (field 3: Z, X), which in containers and batch jobs nobody may ever do.
std::string start_time(int64_t pid) {
  const std::string line = first_line(fmt::format("/proc/{}/stat", pid));
  size_t at = line.rfind(')');  // the name before it may hold spaces
  if (at == std::string::npos || at + 2 >= line.size() || std::string_view("ZXx").find(line[at + 2]) != std::string_view::npos)
    return "";
  for (int field = 3; field <= 22; ++field) {
    at = line.find(' ', at);
    if (at == std::string::npos) return "";
    ++at;
  }
  return line.substr(at, line.find(' ', at) - at);
}

// Highest n of claim.<n> other than `except`, or -1.
int64_t highest_claim(const std::string& folder, int64_t except) {
  int64_t best = -1;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(folder, ec)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kClaimPrefix)) continue;
    int64_t n = -1;
    const auto [end, problem] = std::from_chars(name.data() + kClaimPrefix.size(), name.data() + name.size(), n);
    if (problem == std::errc{} && end == name.data() + name.size() && n != except) best = std::max(best, n);
  }
  return best;
}

std::string claim_path(const std::string& folder, int64_t n) { return fmt::format("{}/{}{}", folder, kClaimPrefix, n); }

bool stale(const std::string& path, double stale_after) {
  struct stat st {};
  if (stat(path.c_str(), &st) != 0) return true;
  struct timespec now {};
  clock_gettime(CLOCK_REALTIME, &now);
  const double age =
      static_cast<double>(now.tv_sec - st.st_mtim.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec - st.st_mtim.tv_nsec);
  if (age > stale_after) return true;
  try {
    const auto j = nlohmann::json::parse(read_file(path, kMaxClaimBytes));
    return j.at("space").get<std::string>() == process_space() &&
           start_time(j.at("pid").get<int64_t>()) != j.at("start_time").get<std::string>();
  } catch (const std::exception&) {
    return false;  // unreadable: only time tells
  }
}

// Creates claim.<n> with its contents at once; false if it exists. link() is exclusive on network disks too.
bool create_claim(const std::string& folder, int64_t n) {
  nlohmann::json j;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  j["pid"] = getpid();
  j["host"] = host;
  j["space"] = process_space();
  j["start_time"] = start_time(getpid());
  j["heartbeat"] = "time of last change of this file";
  const std::string path = claim_path(folder, n);
  const std::string draft =
      fmt::format("{}/draft.{}.{}.{}", folder, host, getpid(), fmt::ptr(&j));  // each thread has its own j
  {
    std::ofstream out(draft);
    if (!out && errno == ENOENT) return false;  // the holder just finished and removed the folder
    out << j.dump(2) << '\n';
    if (!out.flush()) {
      std::error_code ec;
      fs::remove(draft, ec);
      throw WriteError("{}: cannot be written ({}); expected a writable store; free some space or choose another --store",
                          draft, std::strerror(errno));
    }
  }
  const int linked = link(draft.c_str(), path.c_str());
  const int code = errno;
  unlink(draft.c_str());
  if (linked == 0) return true;
  if (code == EEXIST || code == ENOENT) return false;
  throw WriteError("{}: cannot be made ({}); expected a file system with hard links; choose another --store", path,
                      std::strerror(code));
}

}  // namespace

struct Claim::State {
  std::string folder;
  int64_t number = 0;
  double beat_seconds = 0;
  std::mutex mutex;
  std::condition_variable wake;
  bool stop = false;
  std::thread heart;

  std::string path() const { return claim_path(folder, number); }
  void start() {
    heart = std::thread([this] {
      std::unique_lock lock(mutex);
      while (!wake.wait_for(lock, std::chrono::duration<double>(beat_seconds), [this] { return stop; }))
        if (utimensat(AT_FDCWD, path().c_str(), nullptr, 0) != 0)
          log_warning("{}: the claim cannot be renewed ({})", path(), std::strerror(errno));
    });
  }
  void stop_heart() {
    {
      const std::scoped_lock lock(mutex);
      stop = true;
    }
    wake.notify_all();
    if (heart.joinable()) heart.join();
  }
  // Lower numbers first: as long as ours stands nobody can begin at 0.
  void remove_claims() {
    for (int64_t n = 0; n <= number; ++n)
      unlink(claim_path(folder, n).c_str());
  }
};

Claim::Claim(std::unique_ptr<State> state) : state_(std::move(state)) { state_->start(); }
Claim::Claim(Claim&&) noexcept = default;
Claim& Claim::operator=(Claim&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
Claim::~Claim() {
  if (!state_) return;
  state_->stop_heart();
  state_->remove_claims();
  std::error_code ec;
  fs::remove(state_->folder, ec);  // only if nothing is left to resume from
}
const std::string& Claim::folder() const { return state_->folder; }

void Claim::finish() {
  state_->stop_heart();
  std::error_code ec;
  std::vector<fs::path> rest;
  for (const auto& entry : fs::directory_iterator(state_->folder, ec))
    if (!entry.path().filename().string().starts_with(kClaimPrefix)) rest.push_back(entry.path());
  for (const fs::path& p : rest)
    fs::remove_all(p, ec);
  state_->remove_claims();
  fs::remove(state_->folder, ec);
  state_.reset();
}

std::string Store::holder(const std::string& key) const {
  const std::string folder = pending_folder(key);
  const int64_t n = highest_claim(folder, -1);
  if (n < 0 || stale(claim_path(folder, n), stale_after_)) return "";
  try {
    const auto j = nlohmann::json::parse(read_file(claim_path(folder, n), kMaxClaimBytes));
    return fmt::format("process {} on {}", j.at("pid").get<int64_t>(), j.at("host").get<std::string>());
  } catch (const std::exception&) {
    return "another process";
  }
}

std::optional<Claim> Store::claim(const std::string& key) const {
  if (exists(key)) return std::nullopt;
  auto state = std::make_unique<Claim::State>();
  state->folder = pending_folder(key);
  state->beat_seconds = stale_after_ / 6;
  make_folders(state->folder);
  const int64_t before = highest_claim(state->folder, -1);
  if (before >= 0 && !stale(claim_path(state->folder, before), stale_after_)) return std::nullopt;
  state->number = before + 1;
  if (!create_claim(state->folder, state->number)) return std::nullopt;
  // Between the look and the claim another worker may have finished and a third begun again at a lower number.
  const int64_t other = highest_claim(state->folder, state->number);
  if (exists(key) || (other >= 0 && (other > state->number || !stale(claim_path(state->folder, other), stale_after_)))) {
    unlink(state->path().c_str());
    return std::nullopt;
  }
  return Claim(std::move(state));
}

}  // namespace sage
