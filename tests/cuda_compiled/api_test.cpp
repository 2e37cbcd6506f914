// The calls made to NVIDIA's libraries, as far as they go without a device: cuBLAS against a stand-in that computes in host
// memory, loading, names of errors, and what the runtime answers where no device is.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/util/errors.h"
#include "core/util/half.h"
#include "core/util/random.h"
#include "kernels/cuda/compiled/cuda_api.h"
#include "kernels/cuda/compiled/cuda_backend.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/cuda_on_cpu/emulated_api.h"
#include "tests/cuda_compiled/fake_cublas/fake_cublas.h"

namespace sage::cuda {
namespace {

// Numbers of <cublas_v2.h>.
constexpr int kNotInitialized = 1, kExecutionFailed = 13, kNotSupported = 15;
constexpr int kTf32MathMode = 3, kCompute32F = 68;

// SAGE_FAKE_CUBLAS of the environment, where the program is no longer where it was built.
std::string fake_cublas_file() {
  const char* moved = std::getenv("SAGE_FAKE_CUBLAS");
  return moved != nullptr ? moved : SAGE_FAKE_CUBLAS;
}

FakeCublas& fake() {
  void* library = dlopen(fake_cublas_file().c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return *reinterpret_cast<FakeCublas* (*)()>(dlsym(library, "fake_cublas"))();
}
std::unique_ptr<Api> api_over_fake() { return make_cuda_api(load_cublas({fake_cublas_file()})); }

std::vector<unsigned char> numbers(Number kind, int64_t n, uint64_t stream) {
  Rng rng(7, stream);
  std::vector<unsigned char> out(static_cast<size_t>(n) * number_bytes(kind));
  for (int64_t i = 0; i < n; ++i) {
    const double d = rng.normal();
    const auto f = static_cast<float>(d);
    unsigned char* at = out.data() + static_cast<size_t>(i) * number_bytes(kind);
    if (kind == Number::kFloat64) std::memcpy(at, &d, sizeof d);
    if (kind == Number::kFloat32) std::memcpy(at, &f, sizeof f);
    const uint16_t h = kind == Number::kFloat16 ? float_to_half(f) : float_to_bfloat16(f);
    if (number_bytes(kind) == 2) std::memcpy(at, &h, sizeof h);
  }
  return out;
}
double value(const std::vector<unsigned char>& v, Number kind, size_t i) {
  double d = 0;
  float f = 0;
  std::memcpy(kind == Number::kFloat64 ? static_cast<void*>(&d) : &f, v.data() + i * number_bytes(kind), number_bytes(kind));
  return kind == Number::kFloat64 ? d : f;
}
void expect_near(const std::vector<unsigned char>& expected, const std::vector<unsigned char>& got, Number kind) {
  for (size_t i = 0; i < expected.size() / number_bytes(kind); ++i)
    EXPECT_NEAR(value(expected, kind, i), value(got, kind, i), kind == Number::kFloat64 ? 1e-12 : 1e-4) << "element " << i;
}

TEST(CudaApi, ProductsReachCublasAsAsked) {
  const std::unique_ptr<Api> ours = api_over_fake(), oracle = make_emulated_api();
  int stream_object = 0;
  for (const Number input : {Number::kFloat64, Number::kFloat32, Number::kFloat16, Number::kBfloat16})
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(input) << ", transposed " << ta << " " << tb);
        GemmCall g;
        g.transpose_a = ta, g.transpose_b = tb;
        g.m = 5, g.n = 7, g.k = 11;
        g.alpha = 1.5, g.beta = -0.25;
        g.lda = (ta ? g.k : g.m) + 2, g.ldb = (tb ? g.n : g.k) + 3, g.ldc = g.m + 1;
        g.input = input, g.output = input == Number::kFloat64 ? Number::kFloat64 : Number::kFloat32;
        const auto a = numbers(input, g.lda * 16, 1), b = numbers(input, g.ldb * 16, 2);
        auto expected = numbers(g.output, g.ldc * g.n, 3), got = expected;
        g.a = a.data(), g.b = b.data();
        g.c = expected.data();
        ASSERT_TRUE(oracle->gemm(g, nullptr).ok());
        g.c = got.data();
        ASSERT_TRUE(ours->gemm(g, &stream_object).ok());
        expect_near(expected, got, g.output);
        EXPECT_EQ(fake().stream, &stream_object);
        if (number_bytes(input) == 2) {
          EXPECT_EQ(fake().compute_type, kCompute32F);
        }
      }
}

TEST(CudaApi, RankUpdatesReachCublasAsAsked) {
  const std::unique_ptr<Api> ours = api_over_fake(), oracle = make_emulated_api();
  for (const Number kind : {Number::kFloat64, Number::kFloat32})
    for (const bool lower : {false, true})
      for (const bool transpose : {false, true}) {
        SCOPED_TRACE(testing::Message() << "kind " << static_cast<int>(kind) << ", lower " << lower << ", transposed "
                                        << transpose);
        SyrkCall s;
        s.lower = lower, s.transpose = transpose, s.number = kind;
        s.n = 6, s.k = 9;
        s.alpha = 2, s.beta = 0.5;
        s.lda = (transpose ? s.k : s.n) + 1, s.ldc = s.n + 2;
        const auto a = numbers(kind, s.lda * 16, 4);
        auto expected = numbers(kind, s.ldc * s.n, 5), got = expected;
        s.a = a.data();
        s.c = expected.data();
        ASSERT_TRUE(oracle->syrk(s, nullptr).ok());
        s.c = got.data();
        ASSERT_TRUE(ours->syrk(s, nullptr).ok());
        expect_near(expected, got, kind);  // the other triangle included: it is as before
      }
}

TEST(CudaApi, SizesOfMoreThan32BitsArriveWhole) {
  const std::unique_ptr<Api> api = api_over_fake();
  GemmCall g;
  g.m = int64_t{1} << 33, g.n = (int64_t{1} << 34) + 1, g.k = (int64_t{1} << 35) + 3;
  g.lda = g.m + 5, g.ldb = g.k + 7, g.ldc = g.m + 9;
  const Status s = api->gemm(g, nullptr);
  EXPECT_EQ(s.code, kExecutionFailed);
  EXPECT_EQ(s.library, Status::Library::kBlas);
  EXPECT_EQ(api->describe(s), "FAKE_STATUS (13): said by the stand-in");
  const FakeCublas& f = fake();
  EXPECT_EQ(std::vector<int64_t>({f.m, f.n, f.k, f.lda, f.ldb, f.ldc}),
            std::vector<int64_t>({g.m, g.n, g.k, g.lda, g.ldb, g.ldc}));
}

TEST(CudaApi, Float32ProductsNeverUseTf32) {
  fake().math_mode = -1;
  const std::unique_ptr<Api> api = api_over_fake();
  GemmCall g;
  g.m = g.n = g.k = g.lda = g.ldb = g.ldc = 1;
  const float one = 1;
  float c = 0;
  g.a = g.b = &one, g.c = &c;
  ASSERT_TRUE(api->gemm(g, nullptr).ok());
  EXPECT_GE(fake().math_mode, 0) << "the mode was left to chance";
  EXPECT_NE(fake().math_mode & 0xf, kTf32MathMode);
}

TEST(CudaApi, OneHandleIsMadeAndGivenBack) {
  const int before = fake().handles;
  {
    const std::unique_ptr<Api> api = api_over_fake();
    EXPECT_EQ(fake().handles, before) << "made before any product was asked for";
    SyrkCall s;
    s.n = s.k = s.lda = s.ldc = 1;
    const float one = 1;
    float c = 0;
    s.a = &one, s.c = &c;
    ASSERT_TRUE(api->syrk(s, nullptr).ok());
    ASSERT_TRUE(api->syrk(s, nullptr).ok());
    EXPECT_EQ(fake().handles, before + 1);
  }
  EXPECT_EQ(fake().handles, before);
}

TEST(CudaApi, KindsThatAreNotOfferedAreRefused) {
  const std::unique_ptr<Api> api = api_over_fake();
  for (const auto& [input, output] : std::vector<std::pair<Number, Number>>{{Number::kFloat32, Number::kFloat64},
                                                                            {Number::kFloat64, Number::kFloat32},
                                                                            {Number::kFloat16, Number::kFloat16},
                                                                            {Number::kFloat32, Number::kBfloat16}}) {
    GemmCall g;
    g.input = input, g.output = output;
    EXPECT_EQ(api->gemm(g, nullptr).code, kNotSupported);
  }
  SyrkCall s;
  s.number = Number::kFloat16;
  EXPECT_EQ(api->syrk(s, nullptr).code, kNotSupported);
}

TEST(CudaApi, ErrorsOfTheRuntimeHaveNames) {
  const std::unique_ptr<Api> api = make_cuda_api();
  EXPECT_EQ(api->describe({Api::kOutOfMemory}), "cudaErrorMemoryAllocation (2): out of memory");
  EXPECT_EQ(api->describe({700}).find("cudaErrorIllegalAddress (700): "), 0u);
}

TEST(CudaApi, WithoutADeviceEveryCallSaysSo) {
  const std::unique_ptr<Api> api = make_cuda_api();
  int count = -1;
  const Status s = api->device_count(&count);
  if (s.ok() && count > 0) GTEST_SKIP() << "this machine has a device";
  EXPECT_EQ(count, 0);
  ASSERT_FALSE(s.ok());
  void* memory = nullptr;
  Stream stream = nullptr;
  EXPECT_EQ(api->allocate(&memory, 16).code, s.code);
  EXPECT_EQ(api->create_stream(&stream).code, s.code);
  try {
    make_cuda_backend();
    FAIL() << "made";
  } catch (const ResourceError& e) {
    EXPECT_NE(std::string(e.what()).find(api->describe(s)), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("--device cpu"), std::string::npos) << e.what();
  }
}

// Which members of a family are set; families are structs of function pointers.
template <class Family>
std::vector<bool> filled(const Family& family) {
  std::vector<bool> out;
  if constexpr (!std::is_empty_v<Family>) {
    static_assert(sizeof(Family) % sizeof(void*) == 0);
    std::vector<void*> pointers(sizeof(Family) / sizeof(void*));
    std::memcpy(pointers.data(), &family, sizeof(Family));
    for (void* p : pointers)
      out.push_back(p != nullptr);
  }
  return out;
}

// On the CPU every test calls through the emulated table; that the other has no hole can be seen without a device.
TEST(CompiledKernels, AreThoseTheExecutorRuns) {
  const KernelTable emulated = emulated_kernels(), compiled = compiled_kernels();
  const auto& [forward, attention, head, statistics, fits, splits, coding, calibration, packed] =
      emulated;  // does not compile when a family is added and not compared
  EXPECT_EQ(filled(compiled.forward), filled(forward));
  EXPECT_EQ(filled(compiled.attention), filled(attention));
  EXPECT_EQ(filled(compiled.head), filled(head));
  EXPECT_EQ(filled(compiled.statistics), filled(statistics));
  EXPECT_EQ(filled(compiled.fits), filled(fits));
  EXPECT_EQ(filled(compiled.splits), filled(splits));
  EXPECT_EQ(filled(compiled.coding), filled(coding));
  EXPECT_EQ(filled(compiled.calibration), filled(calibration));
  EXPECT_EQ(filled(compiled.packed), filled(packed));
  EXPECT_EQ(filled(forward), std::vector<bool>(sizeof(ForwardKernels) / sizeof(void*), true));
}

TEST(Cublas, OfBothVersionsIsLookedFor) {
  const std::vector<std::string> names = cublas_candidates();
  for (const char* name : {"libcublas.so.12", "libcublas.so.13"})
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
}

TEST(Cublas, OfTheToolkitIsFoundAndHasAllEntryPoints) {
  const std::unique_ptr<Api> api = make_cuda_api(load_cublas());
  EXPECT_EQ(api->describe({kNotInitialized, Status::Library::kBlas}),
            "CUBLAS_STATUS_NOT_INITIALIZED (1): the library was not initialized");
}

TEST(Cublas, AbsentItSaysWhatToInstall) {
  try {
    load_cublas({"libnot_there.so.1", "/nowhere/libnot_there.so.1"});
    FAIL();
  } catch (const ResourceError& e) {
    const std::string text = e.what();
    for (const char* part : {"libnot_there.so.1", "/nowhere/libnot_there.so.1", "install libcublas", "LD_LIBRARY_PATH"})
      EXPECT_NE(text.find(part), std::string::npos) << text;
  }
}

TEST(Cublas, AnotherLibraryIsRefused) {
  try {
    load_cublas({"libm.so.6"});
    FAIL();
  } catch (const ResourceError& e) {
    EXPECT_NE(std::string(e.what()).find("lacks cublasCreate_v2"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sage::cuda
