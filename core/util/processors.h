// How many processors this process may use, and how many threads it computes with for want of other orders.
//
// OpenMP counts the processors of the affinity mask. A control group's quota of processor time (containers; systemd's CPUQuota)
// it does not see, and threads beyond that quota are stopped together for most of every period. Slurm's CPUs per task is a
// quota, too, where its configuration binds no tasks.
#pragma once

#include <optional>
#include <string>

namespace sage {

// Processor time per time that a control group allows, and the file that says so.
struct CpuQuota {
  double processors = 0;
  std::string file;
};

// The smallest quota of this process's control group (versions 1 and 2) and those above it, up to where they are mounted;
// nullopt where there is none. `root` stands before /proc and the mount points: tests have a tree of their own.
std::optional<CpuQuota> cpu_quota(const std::string& root = "");

struct ThreadLimits {
  int machine = 1;   // processors on line
  int affinity = 1;  // those this process may run on
  std::optional<CpuQuota> quota;
  std::optional<std::string> omp_num_threads, slurm_cpus_per_task;  // of the environment
};

struct ThreadChoice {
  int count = 1;
  std::string reason;  // what decided it, in words
};

// OMP_NUM_THREADS, where it begins with a whole number above 0. Otherwise the smallest of affinity, quota (rounded up) and
// SLURM_CPUS_PER_TASK.
ThreadChoice choose_threads(const ThreadLimits& limits);

// For this process, which is asked once.
const ThreadChoice& default_threads();

}  // namespace sage
