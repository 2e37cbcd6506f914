// Limits on processors, read from trees like those of real machines, and what becomes of them.
#include "core/util/processors.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

constexpr const char* kVersion2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

class Machine {
 public:
  Machine(const std::string& mounts, const std::string& groups) {
    put("/proc/self/mountinfo", "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n" + mounts);
    put("/proc/self/cgroup", groups);
  }
  Machine& put(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_.path() + path).parent_path());
    folder_.write(path.substr(1), text);
    return *this;
  }
  double quota() const {
    const auto q = cpu_quota(folder_.path());
    return q ? q->processors : 0;
  }
  std::string file() const { return cpu_quota(folder_.path())->file.substr(folder_.path().size()); }

 private:
  TemporaryFolder folder_;
};

TEST(CpuQuota, OfVersion2) {
  Machine m(kVersion2, "0::/batch/job\n");
  EXPECT_EQ(m.quota(), 0);
  m.put("/sys/fs/cgroup/batch/job/cpu.max", "max 100000\n");
  EXPECT_EQ(m.quota(), 0);
  m.put("/sys/fs/cgroup/batch/job/cpu.max", "150000 100000\n");
  EXPECT_EQ(m.quota(), 1.5);
  EXPECT_EQ(m.file(), "/sys/fs/cgroup/batch/job/cpu.max");
}

TEST(CpuQuota, OfAGroupAboveCountsToo) {
  Machine m(kVersion2, "0::/batch/job\n");
  m.put("/sys/fs/cgroup/batch/cpu.max", "200000 50000").put("/sys/fs/cgroup/batch/job/cpu.max", "800000 100000");
  EXPECT_EQ(m.quota(), 4);
  EXPECT_EQ(m.file(), "/sys/fs/cgroup/batch/cpu.max");
  m.put("/sys/fs/cgroup/cpu.max", "300000 100000");
  EXPECT_EQ(m.quota(), 3);
}

// A container with a name space of its own sees its group as the root.
TEST(CpuQuota, OfAContainer) {
  Machine own(kVersion2, "0::/\n");
  own.put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(own.quota(), 1);
  Machine outside(kVersion2, "0::/../other\n");
  outside.put("/sys/fs/cgroup/cpu.max", "250000 100000\n").put("/sys/fs/other/cpu.max", "1000 100000\n");
  EXPECT_EQ(outside.quota(), 2.5);
}

TEST(CpuQuota, OfVersion1) {
  const std::string mounts =
      "35 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
      "36 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
      "37 30 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
  Machine m(mounts, "9:cpuset:/c\n4:cpu,cpuacct:/slurm/uid_7/job_12\n0::/slurm\n");
  const std::string job = "/sys/fs/cgroup/cpu,cpuacct/slurm/uid_7/job_12/cpu.cfs_";
  m.put(job + "quota_us", "-1\n").put(job + "period_us", "100000\n");
  EXPECT_EQ(m.quota(), 0);
  m.put(job + "quota_us", "300000\n");
  EXPECT_EQ(m.quota(), 3);
  EXPECT_EQ(m.file(), job + "quota_us");
}

// Without a name space of its own, a container of version 1 sees the host's path, but its group mounted.
TEST(CpuQuota, OfAMountedGroup) {
  Machine m("36 30 0:31 /docker/0f3a /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n", "4:cpu:/docker/0f3a\n");
  m.put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n").put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(m.quota(), 2);
}

TEST(CpuQuota, FilesOfAnotherShapeAreNone) {
  EXPECT_FALSE(cpu_quota("/nowhere"));
  for (const char* text : {"", "\n", "abc def\n", "0 100000\n", "100000 0\n", "-5 100000\n", "100000\n"}) {
    Machine m(kVersion2, "0::/\n");
    m.put("/sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(m.quota(), 0) << text;
  }
  Machine m("half a line -\n\n", "nonsense\n::\n");
  EXPECT_EQ(m.quota(), 0);
}

TEST(Threads, AreTheLeastOfTheLimits) {
  ThreadLimits l;
  l.machine = l.affinity = 8;
  EXPECT_EQ(choose_threads(l).count, 8);
  EXPECT_EQ(choose_threads(l).reason, "one for each processor");
  l.affinity = 6;
  EXPECT_EQ(choose_threads(l).count, 6);
  EXPECT_EQ(choose_threads(l).reason, "affinity: 6 of 8 processors");
  l.quota = {2.5, "/f"};
  EXPECT_EQ(choose_threads(l).count, 3);
  EXPECT_EQ(choose_threads(l).reason, "control group: 2.5 processors by /f");
  l.quota = {16, "/f"};
  EXPECT_EQ(choose_threads(l).count, 6);
  l.quota = {0.1, "/f"};
  EXPECT_EQ(choose_threads(l).count, 1);
  l.quota.reset();
  l.slurm_cpus_per_task = "4";
  EXPECT_EQ(choose_threads(l).count, 4);
  EXPECT_EQ(choose_threads(l).reason, "SLURM_CPUS_PER_TASK");
  l.slurm_cpus_per_task = "64";
  EXPECT_EQ(choose_threads(l).count, 6);
  l.slurm_cpus_per_task = "4";
  l.omp_num_threads = "12,2";
  EXPECT_EQ(choose_threads(l).count, 12) << "an order is an order";
  EXPECT_EQ(choose_threads(l).reason, "OMP_NUM_THREADS");
  for (const char* nothing : {"", "0", "-3", "many", "99999999999999999999"}) {
    l.omp_num_threads = nothing;
    EXPECT_EQ(choose_threads(l).count, 4) << nothing;
  }
}

}  // namespace
}  // namespace sage
