// The calls of the CUDA runtime and of cuBLAS that the device backend makes, as an interface: the real libraries (cuda_api.h),
// the CPU executor (kernels/cuda_on_cpu), and in tests either of them with failures injected. No CUDA header is needed to use
// it.
//
// Names and meaning are CUDA's. Every call returns a Status; nothing throws. Memory pointers are device memory unless they are
// called host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace sage::cuda {

using Stream = void*;
using Event = void*;

// What a call returned: 0 is success.
struct Status {
  enum class Library { kRuntime, kBlas };
  int code = 0;
  Library library = Library::kRuntime;
  bool ok() const { return code == 0; }
};

enum class Direction { kToDevice, kToHost, kOnDevice };
enum class Number { kFloat64, kFloat32, kFloat16, kBfloat16 };
constexpr size_t number_bytes(Number n) { return n == Number::kFloat64 ? 8 : n == Number::kFloat32 ? 4 : 2; }

struct DeviceInfo {
  std::string name;  // "NVIDIA L40"
  int major = 0;     // compute capability
  int minor = 0;
  uint64_t total_bytes = 0;
  int multiprocessors = 0;
};

// C (m x n) = alpha op(A) op(B) + beta C, column-major as cuBLAS reads it: element (i, j) of a matrix is data[j * ld + i].
// op(A) is m x k, op(B) is k x n. A and B hold `input` numbers, C `output` numbers; products are summed in FP32 (in FP64 where
// the output is), never in TF32. Allowed: all FP64, all FP32, 16-bit inputs of one kind with FP32 output.
struct GemmCall {
  bool transpose_a = false, transpose_b = false;
  int64_t m = 0, n = 0, k = 0;
  double alpha = 1, beta = 0;
  const void* a = nullptr;
  int64_t lda = 0;
  const void* b = nullptr;
  int64_t ldb = 0;
  void* c = nullptr;
  int64_t ldc = 0;
  Number input = Number::kFloat32;
  Number output = Number::kFloat32;
};
// The lower (or upper) triangle of C (n x n) = alpha op(A) op(A)^T + beta C, column-major; op(A) is n x k. FP32 or FP64.
struct SyrkCall {
  bool lower = true;
  bool transpose = false;
  int64_t n = 0, k = 0;
  double alpha = 1, beta = 0;
  const void* a = nullptr;
  int64_t lda = 0;
  void* c = nullptr;
  int64_t ldc = 0;
  Number number = Number::kFloat32;
};

class Api {
 public:
  virtual ~Api() = default;
  virtual std::string name() const = 0;                   // "cuda", "cuda_on_cpu"
  virtual std::string describe(Status status) const = 0;  // "cudaErrorMemoryAllocation (2): out of memory"
  static constexpr int kOutOfMemory = 2;                  // cudaErrorMemoryAllocation

  virtual Status device_count(int* count) = 0;
  virtual Status device_info(int device, DeviceInfo* info) = 0;
  virtual Status set_device(int device) = 0;  // for the calling thread
  virtual Status memory_info(uint64_t* free_bytes, uint64_t* total_bytes) = 0;

  virtual Status allocate(void** memory, size_t bytes) = 0;
  virtual Status release(void* memory) = 0;
  virtual Status allocate_pinned(void** host, size_t bytes) = 0;
  virtual Status release_pinned(void* host) = 0;

  // In stream order. `width_bytes` of each of `rows` rows.
  virtual Status copy(void* to, int64_t to_pitch, const void* from, int64_t from_pitch, int64_t width_bytes, int64_t rows,
                      Direction direction, Stream stream) = 0;
  virtual Status fill(void* memory, int byte, size_t bytes, Stream stream) = 0;

  virtual Status create_stream(Stream* stream) = 0;
  virtual Status destroy_stream(Stream stream) = 0;
  virtual Status synchronize(Stream stream) = 0;
  virtual Status create_event(Event* event) = 0;
  virtual Status destroy_event(Event event) = 0;
  virtual Status record(Event event, Stream stream) = 0;
  virtual Status wait(Stream stream, Event event) = 0;  // work queued later waits for the event
  virtual Status synchronize_event(Event event) = 0;
  virtual Status elapsed(float* milliseconds, Event from, Event to) = 0;

  // What a kernel launch returned, as the code a launch wrapper gives. Here so that failures can be injected.
  virtual Status launched(int code) = 0;

  virtual Status gemm(const GemmCall& call, Stream stream) = 0;
  virtual Status syrk(const SyrkCall& call, Stream stream) = 0;
};

}  // namespace sage::cuda
