// The backend computes with as many threads as OpenMP offers.
#include <gtest/gtest.h>
#include <fmt/format.h>
#include <omp.h>

#include "kernels/cpu/cpu_backend.h"

namespace sage {
namespace {

TEST(Threads, MakingTheBackendLeavesTheirNumber) {
  const int before = omp_get_max_threads();
  for (int n : {1, 2, 3}) {
    omp_set_num_threads(n);
    const std::unique_ptr<Backend> backend = make_cpu_backend();
    EXPECT_EQ(omp_get_max_threads(), n);
    EXPECT_NE(backend->description().find(fmt::format("{} threads", n)), std::string::npos) << backend->description();
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace sage
