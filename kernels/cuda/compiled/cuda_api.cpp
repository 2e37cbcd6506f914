#include "kernels/cuda/compiled/cuda_api.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <mutex>

#include "core/util/errors.h"
#include "kernels/cuda/compiled/cublas_functions.h"

namespace sage::cuda {
namespace {

static_assert(Api::kOutOfMemory == cudaErrorMemoryAllocation);

// A failure that leaves the device usable is remembered by the runtime and would be found again by the next launch.
Status runtime(cudaError_t error) {
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
  return {static_cast<int>(error), Status::Library::kRuntime};
}
Status blas_status(cublasStatus_t status) { return {static_cast<int>(status), Status::Library::kBlas}; }

cudaStream_t native(Stream stream) { return static_cast<cudaStream_t>(stream); }
cudaEvent_t native_event(Event event) { return static_cast<cudaEvent_t>(event); }
cublasOperation_t operation(bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; }

cudaMemcpyKind kind(Direction direction) {
  switch (direction) {
    case Direction::kToDevice: return cudaMemcpyHostToDevice;
    case Direction::kToHost: return cudaMemcpyDeviceToHost;
    case Direction::kOnDevice: break;
  }
  return cudaMemcpyDeviceToDevice;
}

class CudaApi final : public Api {
 public:
  explicit CudaApi(std::shared_ptr<const CublasFunctions> blas) : blas_(std::move(blas)) {}
  ~CudaApi() override {
    if (handle_ != nullptr) static_cast<void>(blas_->destroy(handle_));
  }

  std::string name() const override { return "cuda"; }
  std::string describe(Status s) const override {
    if (s.library == Status::Library::kBlas) {
      if (blas_ == nullptr) return fmt::format("cuBLAS status {}", s.code);
      const auto status = static_cast<cublasStatus_t>(s.code);
      return fmt::format("{} ({}): {}", blas_->status_name(status), s.code, blas_->status_string(status));
    }
    const auto error = static_cast<cudaError_t>(s.code);
    return fmt::format("{} ({}): {}", cudaGetErrorName(error), s.code, cudaGetErrorString(error));
  }

  Status device_count(int* count) override {
    *count = 0;
    return runtime(cudaGetDeviceCount(count));
  }
  Status device_info(int device, DeviceInfo* info) override {
    cudaDeviceProp p{};
    const Status s = runtime(cudaGetDeviceProperties(&p, device));
    if (s.ok()) *info = {p.name, p.major, p.minor, p.totalGlobalMem, p.multiProcessorCount};
    return s;
  }
  Status set_device(int device) override { return runtime(cudaSetDevice(device)); }
  Status memory_info(uint64_t* free_bytes, uint64_t* total_bytes) override {
    size_t f = 0, t = 0;
    const Status s = runtime(cudaMemGetInfo(&f, &t));
    *free_bytes = f;
    *total_bytes = t;
    return s;
  }

  Status allocate(void** memory, size_t bytes) override { return runtime(cudaMalloc(memory, bytes)); }
  Status release(void* memory) override { return runtime(cudaFree(memory)); }
  Status allocate_pinned(void** host, size_t bytes) override {
    return runtime(cudaHostAlloc(host, bytes, cudaHostAllocDefault));
  }
  Status release_pinned(void* host) override { return runtime(cudaFreeHost(host)); }

  Status copy(void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t width_bytes, int64_t rows,
              Direction direction, Stream stream) override {
    if (width_bytes <= 0 || rows <= 0) return {};
    // Pitches of cudaMemcpy2D are limited, and single rows have any.
    if (rows == 1 || (to_pitch == width_bytes && from_pitch == width_bytes))
      return runtime(cudaMemcpyAsync(to, from, static_cast<size_t>(width_bytes * rows), kind(direction), native(stream)));
    return runtime(cudaMemcpy2DAsync(to, static_cast<size_t>(to_pitch), from, static_cast<size_t>(from_pitch),
                                     static_cast<size_t>(width_bytes), static_cast<size_t>(rows), kind(direction),
                                     native(stream)));
  }
  Status fill(void* memory, int byte, size_t bytes, Stream stream) override {
    return runtime(cudaMemsetAsync(memory, byte, bytes, native(stream)));
  }

  Status create_stream(Stream* stream) override {
    cudaStream_t s = nullptr;
    const Status status = runtime(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    *stream = s;
    return status;
  }
  Status destroy_stream(Stream stream) override { return runtime(cudaStreamDestroy(native(stream))); }
  Status synchronize(Stream stream) override { return runtime(cudaStreamSynchronize(native(stream))); }
  Status create_event(Event* event) override {
    cudaEvent_t e = nullptr;
    const Status status = runtime(cudaEventCreate(&e));
    *event = e;
    return status;
  }
  Status destroy_event(Event event) override { return runtime(cudaEventDestroy(native_event(event))); }
  Status record(Event event, Stream stream) override { return runtime(cudaEventRecord(native_event(event), native(stream))); }
  Status wait(Stream stream, Event event) override {
    return runtime(cudaStreamWaitEvent(native(stream), native_event(event), 0));
  }
  Status synchronize_event(Event event) override { return runtime(cudaEventSynchronize(native_event(event))); }
  Status elapsed(float* milliseconds, Event from, Event to) override {
    return runtime(cudaEventElapsedTime(milliseconds, native_event(from), native_event(to)));
  }

  Status launched(int code) override { return {code}; }

  Status gemm(const GemmCall& g, Stream stream) override {
    const std::lock_guard lock(mutex_);
    if (const cublasStatus_t s = open(stream); s != CUBLAS_STATUS_SUCCESS) return blas_status(s);
    const cublasOperation_t ta = operation(g.transpose_a), tb = operation(g.transpose_b);
    if (g.output == Number::kFloat64 && g.input == Number::kFloat64)
      return blas_status(blas_->dgemm(handle_, ta, tb, g.m, g.n, g.k, &g.alpha, static_cast<const double*>(g.a), g.lda,
                                      static_cast<const double*>(g.b), g.ldb, &g.beta, static_cast<double*>(g.c), g.ldc));
    if (g.output != Number::kFloat32 || g.input == Number::kFloat64) return blas_status(CUBLAS_STATUS_NOT_SUPPORTED);
    const auto alpha = static_cast<float>(g.alpha), beta = static_cast<float>(g.beta);
    if (g.input == Number::kFloat32)
      return blas_status(blas_->sgemm(handle_, ta, tb, g.m, g.n, g.k, &alpha, static_cast<const float*>(g.a), g.lda,
                                      static_cast<const float*>(g.b), g.ldb, &beta, static_cast<float*>(g.c), g.ldc));
    const cudaDataType_t input = g.input == Number::kFloat16 ? CUDA_R_16F : CUDA_R_16BF;
    return blas_status(blas_->gemm_ex(handle_, ta, tb, g.m, g.n, g.k, &alpha, g.a, input, g.lda, g.b, input, g.ldb, &beta, g.c,
                                      CUDA_R_32F, g.ldc, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
  }
  Status syrk(const SyrkCall& s, Stream stream) override {
    const std::lock_guard lock(mutex_);
    if (const cublasStatus_t status = open(stream); status != CUBLAS_STATUS_SUCCESS) return blas_status(status);
    const cublasFillMode_t triangle = s.lower ? CUBLAS_FILL_MODE_LOWER : CUBLAS_FILL_MODE_UPPER;
    const cublasOperation_t t = operation(s.transpose);
    if (s.number == Number::kFloat64)
      return blas_status(blas_->dsyrk(handle_, triangle, t, s.n, s.k, &s.alpha, static_cast<const double*>(s.a), s.lda, &s.beta,
                                      static_cast<double*>(s.c), s.ldc));
    if (s.number != Number::kFloat32) return blas_status(CUBLAS_STATUS_NOT_SUPPORTED);
    const auto alpha = static_cast<float>(s.alpha), beta = static_cast<float>(s.beta);
    return blas_status(blas_->ssyrk(handle_, triangle, t, s.n, s.k, &alpha, static_cast<const float*>(s.a), s.lda, &beta,
                                    static_cast<float*>(s.c), s.ldc));
  }

 private:
  // The handle, made when the first product is asked for, on the product's stream.
  cublasStatus_t open(Stream stream) {
    if (handle_ == nullptr) {
      if (blas_ == nullptr) {
        try {
          blas_ = load_cublas();
        } catch (const ResourceError&) {
          return CUBLAS_STATUS_NOT_INITIALIZED;
        }
      }
      cublasHandle_t handle = nullptr;
      if (const cublasStatus_t s = blas_->create(&handle); s != CUBLAS_STATUS_SUCCESS) return s;
      // Nothing narrower than the numbers that go in and come out, for partial sums of 16-bit products too.
      const auto mode = static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
      if (const cublasStatus_t s = blas_->set_math_mode(handle, mode); s != CUBLAS_STATUS_SUCCESS) {
        static_cast<void>(blas_->destroy(handle));
        return s;
      }
      handle_ = handle;
    }
    return blas_->set_stream(handle_, native(stream));
  }

  std::shared_ptr<const CublasFunctions> blas_;
  std::mutex mutex_;  // a handle serves one call at a time
  cublasHandle_t handle_ = nullptr;
};

}  // namespace

std::unique_ptr<Api> make_cuda_api(std::shared_ptr<const CublasFunctions> blas) {
  return std::make_unique<CudaApi>(std::move(blas));
}

std::string driver_version() {
  int version = 0;
  if (!runtime(cudaDriverGetVersion(&version)).ok() || version == 0) return "";
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace sage::cuda
