// Choosing a backend by name, and closed forms that no backend may miss.
#include "kernels/cpu/openblas_choice.h"
#include "tests/kernels/support.h"

namespace sage::test {
namespace {

// A processor newer than OpenBLAS gets kernels without AVX of it; where it chose well, or by a name that is newer than this, it stays.
TEST(Backends, OpenBlasIsAskedForWhatTheMachineCanRun) {
  EXPECT_STREQ(better_openblas_kernels("Prescott", true, true), "SkylakeX");
  EXPECT_STREQ(better_openblas_kernels("Nehalem", true, false), "Haswell");
  EXPECT_EQ(better_openblas_kernels("Prescott", false, false), nullptr);
  for (const char* good : {"Haswell", "Zen", "SkylakeX", "Cooperlake", "SapphireRapids", "of a later year"})
    EXPECT_EQ(better_openblas_kernels(good, true, true), nullptr) << good;
}

TEST(Backends, AreFoundByName) {
  EXPECT_EQ(make_backend("reference")->name(), "reference");
  EXPECT_EQ(make_backend("cpu")->name(), "cpu");
  EXPECT_NE(make_backend("cpu")->description().find("OpenBLAS"), std::string::npos);
}

TEST(Backends, TheEnvironmentChoosesCpuKernels) {
  const char* const before = std::getenv("SAGEPTQ_CPU_KERNELS");
  const std::string kept = before == nullptr ? "" : before;
  for (const std::string& variant : cpu_variants()) {
    setenv("SAGEPTQ_CPU_KERNELS", variant.c_str(), 1);
    EXPECT_EQ(make_backend("cpu")->description(), make_cpu_backend(variant)->description());
    EXPECT_EQ(make_cpu_backend("portable")->description().substr(0, 8), "portable") << "an explicit choice comes first";
  }
  setenv("SAGEPTQ_CPU_KERNELS", "sse9", 1);
  try {
    make_backend("cpu");
    ADD_FAILURE() << "unknown kernels are taken";
  } catch (const ResourceError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("SAGEPTQ_CPU_KERNELS: this machine cannot run kernel variant 'sse9'"), std::string::npos) << text;
    EXPECT_NE(text.find("portable"), std::string::npos) << text;
  }
  setenv("SAGEPTQ_CPU_KERNELS", "", 1);
  EXPECT_EQ(make_backend("cpu")->description(), make_cpu_backend(cpu_variants().front())->description());
  if (before != nullptr)
    setenv("SAGEPTQ_CPU_KERNELS", kept.c_str(), 1);
  else
    unsetenv("SAGEPTQ_CPU_KERNELS");
}

TEST(Backends, UnknownNameOffersTheNearest) {
  try {
    make_backend("refrence");
    FAIL();
  } catch (const UserError& e) {
    const std::string text = e.what();
    EXPECT_NE(text.find("unknown backend 'refrence'"), std::string::npos) << text;
    EXPECT_NE(text.find("did you mean 'reference'?"), std::string::npos) << text;
    EXPECT_NE(text.find("cpu"), std::string::npos) << text;
    EXPECT_EQ(e.code(), ExitCode::kUsage);
  }
}

TEST(Backends, AreAllListed) {
  std::vector<std::string> listed;
  for (const BackendStatus& s : backend_status())
    listed.push_back(s.name);
  EXPECT_EQ(listed, sage::backend_names());
  EXPECT_EQ(listed, (std::vector<std::string>{"reference", "cpu", "cuda", "cuda-bf16", "cuda-fp16", "cuda_on_cpu"}));
}

TEST(Backends, UnavailableOnesSayWhy) {
  for (const BackendStatus& s : backend_status()) {
    EXPECT_FALSE(s.detail.empty()) << s.name;
    if (s.available) {
      EXPECT_EQ(make_backend(s.name)->name(), s.name);
    } else {
      try {
        make_backend(s.name);
        ADD_FAILURE() << s.name << " is not available but was made";
      } catch (const ResourceError& e) {
        EXPECT_EQ(e.code(), ExitCode::kMissingResource);
        EXPECT_NE(std::string(e.what()).find(s.detail), std::string::npos) << e.what();
        EXPECT_NE(std::string(e.what()).find("--device cpu"), std::string::npos) << e.what();
      }
    }
  }
}

TEST(Backends, CudaSaysWhatIsMissing) {
  if (!cuda_build().present) {
    EXPECT_EQ(cuda_status().detail, "this build has no CUDA (configure with -DSAGE_CUDA=ON)");
    return;
  }
  EXPECT_NE(cuda_build().architectures.find("sm_"), std::string::npos);
  if (cuda_build().driver.empty()) {
    EXPECT_EQ(cuda_status().detail.find("cudaErrorInsufficientDriver (35): "), 0u) << cuda_status().detail;
  } else if (!cuda_status().available) {
    EXPECT_FALSE(cuda_status().detail.empty());
  }
}

TEST(Backends, UnknownVariantIsRefused) { EXPECT_THROW(make_cpu_backend("mmx"), ResourceError); }

// The RNG-free matrix: a bijection of 0 .. 2^20-1 pushed through the Laplace quantile function. With N equally spaced
// probabilities, means are those of the distribution to about 1/N.
class ClosedForms : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, ClosedForms, testing::ValuesIn(backend_names()), test_name);

TEST_P(ClosedForms, LaplaceMoments) {
  Matrix w(1024, 1024);
  for (int64_t i = 0; i < w.size(); ++i) {
    uint64_t k = static_cast<uint64_t>(i);
    const int shift[] = {10, 7, 9};
    const uint64_t factor[] = {0x9E3779B1u, 0x85EBCA77u, 0xC2B2AE3Du};
    for (int r = 0; r < 3; ++r) {
      k ^= k >> shift[r];
      k = k * factor[r] & 0xfffffu;
    }
    k ^= k >> 11;
    const double u = (static_cast<double>(k) + 0.5) / 1048576.0;
    const double x = std::log(1 - 2 * std::fabs(u - 0.5)) / std::sqrt(2.0);
    w.data()[i] = static_cast<float>(u < 0.5 ? x : -x);
  }
  const MatrixStats s = backend_->matrix_stats(w.view());
  EXPECT_NEAR(s.moments.sum / 1048576.0, 0.0, 1e-6);
  EXPECT_NEAR(s.moments.abs_sum / 1048576.0, 1 / std::sqrt(2.0), 2e-5);  // mean |w| of a unit Laplace
  EXPECT_NEAR(std::sqrt(s.moments.sq_sum / 1048576.0), 1.0, 2e-5);
  // floor(0.99 (N - 1)) of |w|: the 1 % threshold, ln(100) / sqrt 2.
  const float t = backend_->deviation_order_statistic(w.view(), 0, static_cast<int64_t>(0.99 * 1048575));
  EXPECT_NEAR(t, 3.25626, 2e-4);
  EXPECT_EQ(backend_->deviation_above(w.view(), 0, t).count(), 10486);
}

}  // namespace
}  // namespace sage::test
