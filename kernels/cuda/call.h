// One operation on its way through the device: arguments in, kernels, results out.
//
//   Call call(*this, "add");
//   const WeightView b = call.in(y);               // on the device: where it is, or a copy of host memory
//   const View<float> a = call.inout(x);
//   call.launched(kernels_.forward.add(a.data, a.ld, b.data, b.ld, a.rows, a.cols, call.stream()));
//   call.finish();                                 // host memory that was written holds the results now
//
// Holds the backend's lock: operations of several threads follow one another. Scratch memory and copies of host arguments go
// back to the pool when the call ends, in stream order. finish() waits for the device only where host memory was read or
// written.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "kernels/cuda/device_backend.h"
#include "kernels/cuda/status.h"

namespace sage::cuda {

class Call {
 public:
  Call(const DeviceBackend& backend, const char* operation);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  Stream stream() const { return backend_.compute_; }
  const KernelTable& kernels() const { return backend_.kernels_; }
  const DeviceInfo& device() const { return backend_.info_; }

  // Device versions of matrix arguments. T: float, double, uint8_t, int32_t, uint64_t, ...
  template <class T>
  View<const T> in(View<const T> v) {
    if constexpr (std::is_same_v<T, float>) {
      if (v.size() > 0)
        if (const WeightView m = backend_.mirrors_->find(v); m.data != nullptr) return m;
    }
    return argument(v, true, false);
  }
  template <class T>
  View<T> out(View<T> v) {
    return argument(v, false, true);
  }
  template <class T>
  View<T> inout(View<T> v) {
    return argument(v, true, true);
  }
  template <class T>
  const T* in(std::span<const T> v) {
    return in(View<const T>(v.data(), 1, static_cast<int64_t>(v.size()))).data;
  }
  template <class T>
  T* out(std::span<T> v) {
    return out(View<T>(v.data(), 1, static_cast<int64_t>(v.size()))).data;
  }
  // Scratch memory and copies of inputs taken while a scope lives go back to the pool at its end, in stream order, not only
  // with the call: for loops over slices. Not for results, which are brought back when the call ends.
  class Scope {
   public:
    explicit Scope(Call& call) : call_(call), first_(call.scratch_.size()) {}
    ~Scope() { call_.give_from(first_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Call& call_;
    const size_t first_;
  };

  // Uninitialised; `zeroed` memory is all zero bytes.
  template <class T>
  T* scratch(int64_t n, bool zeroed = false) {
    return static_cast<T*>(scratch_bytes(static_cast<size_t>(n) * sizeof(T), zeroed));
  }

  void launched(int code) { require(backend_.api_->launched(code)); }
  void gemm(const GemmCall& call) {
    if (call.m > 0 && call.n > 0) require(backend_.api_->gemm(call, stream()));
  }
  void syrk(const SyrkCall& call) {
    if (call.n > 0) require(backend_.api_->syrk(call, stream()));
  }
  void finish();

 private:
  struct Result {  // device memory to be brought back
    const void* device;
    int64_t device_pitch;
    void* host;
    int64_t host_pitch, width, rows;
  };
  void require(Status s) { check(*backend_.api_, s, operation_); }
  void* scratch_bytes(size_t bytes, bool zeroed);
  void give_from(size_t first) noexcept;  // scratch_[first], ...
  void send(void* device, int64_t device_pitch, const void* host, int64_t host_pitch, int64_t width, int64_t rows);

  template <class T>
  View<T> argument(View<T> v, bool read, bool write) {
    if (v.rows == 0 || v.cols == 0 || backend_.memory_->owns(v.data)) return v;
    using Plain = std::remove_const_t<T>;
    constexpr auto kBytes = static_cast<int64_t>(sizeof(T));
    auto* device = scratch<Plain>(v.size());
    const View<T> copy(device, v.rows, v.cols);
    if (read) send(device, v.cols * kBytes, v.data, v.ld * kBytes, v.cols * kBytes, v.rows);
    if constexpr (!std::is_const_v<T>)
      if (write) results_.push_back({device, v.cols * kBytes, v.data, v.ld * kBytes, v.cols * kBytes, v.rows});
    return copy;
  }

  const DeviceBackend& backend_;
  const char* operation_;
  const std::unique_lock<std::mutex> lock_;
  bool host_memory_ = false;  // some was read or written: the device must be done with it before the caller goes on
  bool finished_ = false;
  std::vector<void*> scratch_;
  std::vector<Result> results_;
};

}  // namespace sage::cuda
