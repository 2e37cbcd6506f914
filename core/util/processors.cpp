#include "core/util/processors.h"

#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

namespace sage {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> words(const std::string& line, char separator = ' ') {
  std::vector<std::string> out;
  std::istringstream in(line);
  for (std::string word; std::getline(in, word, separator);)
    if (!word.empty()) out.push_back(word);
  return out;
}

bool contains(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

template <class T>
std::optional<T> number(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

// The first line; empty where there is no such file.
std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

struct Hierarchy {
  bool version2 = false;
  std::string mounted_root;  // the group that is seen at the mount point
  std::string mount_point;
};

// Where groups that may have a quota are mounted: version 2, and version 1 with the controller `cpu`.
std::vector<Hierarchy> hierarchies(const std::string& root) {
  std::vector<Hierarchy> out;
  std::ifstream in(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    // 30 23 0:26 /group /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> left = words(line.substr(0, dash)), right = words(line.substr(dash + 3));
    if (left.size() < 5 || right.empty()) continue;
    const bool version2 = right[0] == "cgroup2";
    if (version2 || (right[0] == "cgroup" && contains(words(right.back(), ','), "cpu")))
      out.push_back({version2, left[3], left[4]});
  }
  return out;
}

// The group of this process in a hierarchy.
std::optional<std::string> group_of(const Hierarchy& h, const std::string& root) {
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {
    // 0::/user.slice/session-1.scope    4:cpu,cpuacct:/docker/0f3a
    const size_t first = line.find(':'), second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (h.version2 ? controllers.empty() : contains(words(controllers, ','), "cpu")) return line.substr(second + 1);
  }
  return std::nullopt;
}

std::optional<CpuQuota> quota_in(const std::string& folder, bool version2) {
  std::optional<double> quota, period;
  const std::string file = folder + (version2 ? "/cpu.max" : "/cpu.cfs_quota_us");
  if (version2) {
    const std::vector<std::string> both = words(first_line(file));  // "150000 100000"; "max 100000": none
    if (both.size() != 2) return std::nullopt;
    quota = number<double>(both[0]);
    period = number<double>(both[1]);
  } else {
    quota = number<double>(first_line(file));  // -1: none
    period = number<double>(first_line(folder + "/cpu.cfs_period_us"));
  }
  if (!quota || !period || !(*quota > 0) || !(*period > 0)) return std::nullopt;
  return CpuQuota{*quota / *period, file};
}

}  // namespace

std::optional<CpuQuota> cpu_quota(const std::string& root) {
  std::optional<CpuQuota> least;
  for (const Hierarchy& h : hierarchies(root)) {
    const std::optional<std::string> group = group_of(h, root);
    if (!group) continue;
    // A group outside of what is mounted (another name space) has its limits at the mount point, if anywhere.
    fs::path below;
    const fs::path relative = fs::path(*group).lexically_relative(h.mounted_root);
    if (!relative.empty() && *relative.begin() != "..") below = relative;
    const fs::path top = root + h.mount_point;
    fs::path folder = below == "." || below.empty() ? top : top / below;
    for (;; folder = folder.parent_path()) {
      const std::optional<CpuQuota> q = quota_in(folder.string(), h.version2);
      if (q && (!least || q->processors < least->processors)) least = q;
      if (folder == top || !folder.has_relative_path()) break;
    }
  }
  return least;
}

ThreadChoice choose_threads(const ThreadLimits& limits) {
  // "4,2": one number for each level of nesting.
  if (limits.omp_num_threads)
    if (const auto n = number<int>(*limits.omp_num_threads); n && *n > 0) return {*n, "OMP_NUM_THREADS"};
  ThreadChoice choice = {std::max(1, limits.affinity), "one for each processor"};
  if (limits.affinity < limits.machine)
    choice.reason = fmt::format("affinity: {} of {} processors", limits.affinity, limits.machine);
  if (limits.quota) {
    const double whole = std::max(1.0, std::ceil(limits.quota->processors - 1e-9));
    if (whole < choice.count)
      choice = {static_cast<int>(whole),
                fmt::format("control group: {:.3g} processors by {}", limits.quota->processors, limits.quota->file)};
  }
  if (limits.slurm_cpus_per_task)
    if (const auto n = number<int>(*limits.slurm_cpus_per_task); n && *n > 0 && *n < choice.count)
      choice = {*n, "SLURM_CPUS_PER_TASK"};
  return choice;
}

const ThreadChoice& default_threads() {
  static const ThreadChoice choice = [] {
    const auto variable = [](const char* name) -> std::optional<std::string> {
      const char* text = std::getenv(name);
      if (text == nullptr) return std::nullopt;
      return text;
    };
    ThreadLimits limits;
    limits.machine = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
    // OpenMP's count, not the mask as it is now: with OMP_PROC_BIND this thread is bound to one of its processors already.
    limits.affinity = omp_get_num_procs();
    limits.quota = cpu_quota();
    limits.omp_num_threads = variable("OMP_NUM_THREADS");
    limits.slurm_cpus_per_task = variable("SLURM_CPUS_PER_TASK");
    return choose_threads(limits);
  }();
  return choice;
}

}  // namespace sage
