#include "kernels/cuda_on_cpu/emulated_api.h"

#include <cblas.h>
#include <fmt/format.h>
#include <omp.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/util/half.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/tasks.h"

namespace sage::cuda {
namespace {

constexpr Status kSuccess{};
constexpr uint64_t kTotalBytes = uint64_t{8} << 30;
constexpr int kInvalidValue = 1;      // cudaErrorInvalidValue
constexpr int kBlasNotInitialized = 1;  // CUBLAS_STATUS_NOT_INITIALIZED
constexpr int kBlasInvalidValue = 7;    // CUBLAS_STATUS_INVALID_VALUE
constexpr int kNanPattern = 0xff;

using Clock = std::chrono::steady_clock;

int blas_int(int64_t n) { return static_cast<int>(n); }
CBLAS_TRANSPOSE transposed(bool t) { return t ? CblasTrans : CblasNoTrans; }

// A column-major operand in FP32, widened where it is 16-bit.
class Widened {
 public:
  Widened(const void* data, int64_t ld, int64_t rows, int64_t cols, Number number) : data_(static_cast<const float*>(data)) {
    if (number == Number::kFloat32 || number == Number::kFloat64) return;
    storage_.resize(static_cast<size_t>(ld * cols));
    const auto* half = static_cast<const uint16_t*>(data);
    for (int64_t j = 0; j < cols; ++j)
      for (int64_t i = 0; i < rows; ++i) {
        const uint16_t h = half[j * ld + i];
        storage_[static_cast<size_t>(j * ld + i)] = number == Number::kFloat16 ? half_to_float(h) : bfloat16_to_float(h);
      }
    data_ = storage_.data();
  }
  const float* data() const { return data_; }

 private:
  std::vector<float> storage_;
  const float* data_;
};

class EmulatedApi final : public Api {
 public:
  explicit EmulatedApi(bool products) : products_(products) { cpu::keep_openblas_serial(); }
  std::string name() const override { return "cuda_on_cpu"; }
  std::string describe(Status s) const override {
    if (s.library == Status::Library::kBlas) return fmt::format("cuBLAS status {}", s.code);
    return s.code == kOutOfMemory ? "cudaErrorMemoryAllocation (2): out of memory" : fmt::format("CUDA error {}", s.code);
  }

  Status device_count(int* count) override {
    *count = 1;
    return kSuccess;
  }
  Status device_info(int device, DeviceInfo* info) override {
    if (device != 0) return {kInvalidValue};
    *info = {"kernels executed on the CPU", 8, 0, kTotalBytes, omp_get_max_threads()};
    return kSuccess;
  }
  Status set_device(int device) override { return {device == 0 ? 0 : kInvalidValue}; }
  Status memory_info(uint64_t* free_bytes, uint64_t* total_bytes) override {
    *free_bytes = *total_bytes = kTotalBytes;
    return kSuccess;
  }

  Status allocate(void** memory, size_t bytes) override { return take(memory, bytes); }
  Status release(void* memory) override {
    std::free(memory);
    return kSuccess;
  }
  Status allocate_pinned(void** host, size_t bytes) override { return take(host, bytes); }
  Status release_pinned(void* host) override { return release(host); }

  Status copy(void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t width_bytes, int64_t rows, Direction,
              Stream) override {
    // As cudaMemcpy2D: a pitch below the width is refused, of a single row too.
    if (width_bytes > 0 && rows > 0 && (to_pitch < width_bytes || from_pitch < width_bytes)) return {kInvalidValue};
    for (int64_t i = 0; i < rows && width_bytes > 0; ++i)
      std::memcpy(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch,
                  static_cast<size_t>(width_bytes));
    return kSuccess;
  }
  Status fill(void* memory, int byte, size_t bytes, Stream) override {
    std::memset(memory, byte, bytes);
    return kSuccess;
  }

  Status create_stream(Stream* stream) override { return take(stream, 1); }
  Status destroy_stream(Stream stream) override { return release(stream); }
  Status synchronize(Stream) override { return kSuccess; }
  Status create_event(Event* event) override {
    *event = new Clock::time_point(Clock::now());
    return kSuccess;
  }
  Status destroy_event(Event event) override {
    delete static_cast<Clock::time_point*>(event);
    return kSuccess;
  }
  Status record(Event event, Stream) override {
    *static_cast<Clock::time_point*>(event) = Clock::now();
    return kSuccess;
  }
  Status wait(Stream, Event) override { return kSuccess; }
  Status synchronize_event(Event) override { return kSuccess; }
  Status elapsed(float* milliseconds, Event from, Event to) override {
    const auto a = *static_cast<Clock::time_point*>(from), b = *static_cast<Clock::time_point*>(to);
    *milliseconds = std::chrono::duration<float, std::milli>(b - a).count();
    return kSuccess;
  }

  Status launched(int code) override { return {code}; }

  Status gemm(const GemmCall& g, Stream) override {
    if (!products_) return {kBlasNotInitialized, Status::Library::kBlas};
    const int64_t a_rows = g.transpose_a ? g.k : g.m, b_rows = g.transpose_b ? g.n : g.k;
    if (g.m < 0 || g.n < 0 || g.k < 0 || g.lda < std::max<int64_t>(1, a_rows) || g.ldb < std::max<int64_t>(1, b_rows) ||
        g.ldc < std::max<int64_t>(1, g.m))
      return {kBlasInvalidValue, Status::Library::kBlas};
    const cpu::OneThread alone;
    if (g.output == Number::kFloat64) {
      if (g.input != Number::kFloat64) return {kBlasInvalidValue, Status::Library::kBlas};
      cblas_dgemm(CblasColMajor, transposed(g.transpose_a), transposed(g.transpose_b), blas_int(g.m), blas_int(g.n),
                  blas_int(g.k), g.alpha, static_cast<const double*>(g.a), blas_int(g.lda), static_cast<const double*>(g.b),
                  blas_int(g.ldb), g.beta, static_cast<double*>(g.c), blas_int(g.ldc));
      return kSuccess;
    }
    const Widened a(g.a, g.lda, a_rows, g.transpose_a ? g.m : g.k, g.input),
        b(g.b, g.ldb, b_rows, g.transpose_b ? g.k : g.n, g.input);
    cblas_sgemm(CblasColMajor, transposed(g.transpose_a), transposed(g.transpose_b), blas_int(g.m), blas_int(g.n),
                blas_int(g.k), static_cast<float>(g.alpha), a.data(), blas_int(g.lda), b.data(), blas_int(g.ldb),
                static_cast<float>(g.beta), static_cast<float*>(g.c), blas_int(g.ldc));
    return kSuccess;
  }
  Status syrk(const SyrkCall& s, Stream) override {
    if (!products_) return {kBlasNotInitialized, Status::Library::kBlas};
    if (s.n < 0 || s.k < 0 || s.lda < std::max<int64_t>(1, s.transpose ? s.k : s.n) || s.ldc < std::max<int64_t>(1, s.n))
      return {kBlasInvalidValue, Status::Library::kBlas};
    const cpu::OneThread alone;
    const CBLAS_UPLO uplo = s.lower ? CblasLower : CblasUpper;
    if (s.number == Number::kFloat64)
      cblas_dsyrk(CblasColMajor, uplo, transposed(s.transpose), blas_int(s.n), blas_int(s.k), s.alpha,
                  static_cast<const double*>(s.a), blas_int(s.lda), s.beta, static_cast<double*>(s.c), blas_int(s.ldc));
    else
      cblas_ssyrk(CblasColMajor, uplo, transposed(s.transpose), blas_int(s.n), blas_int(s.k), static_cast<float>(s.alpha),
                  static_cast<const float*>(s.a), blas_int(s.lda), static_cast<float>(s.beta), static_cast<float*>(s.c),
                  blas_int(s.ldc));
    return kSuccess;
  }

 private:
  static Status take(void** memory, size_t bytes) {
    *memory = std::malloc(bytes > 0 ? bytes : 1);
    if (*memory == nullptr) return {kOutOfMemory};
    std::memset(*memory, kNanPattern, bytes);
    return kSuccess;
  }

  bool products_;
};

}  // namespace

std::unique_ptr<Api> make_emulated_api(bool products) { return std::make_unique<EmulatedApi>(products); }

}  // namespace sage::cuda
