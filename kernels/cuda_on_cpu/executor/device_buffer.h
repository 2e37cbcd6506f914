// Memory of the emulated device, for tests.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace kx {

// n values of type T, from a malloc of exactly their size, so that AddressSanitizer sees every access beyond them. Every byte
// starts as 0xff: NaN as a float, half or bfloat16, -1 as an integer.
template <class T>
class DeviceBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit DeviceBuffer(size_t n) : size_(n), data_(static_cast<T*>(std::malloc(n * sizeof(T)))) {
    if (data_ == nullptr && n > 0) throw std::bad_alloc();
    if (n > 0) std::memset(static_cast<void*>(data_.get()), 0xff, n * sizeof(T));
  }
  explicit DeviceBuffer(std::span<const T> values) : DeviceBuffer(values.size()) { upload(values); }
  explicit DeviceBuffer(const std::vector<T>& values) : DeviceBuffer(std::span<const T>(values)) {}

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  // Throws std::invalid_argument unless there are exactly size() values.
  void upload(std::span<const T> values) {
    if (values.size() != size_)
      throw std::invalid_argument("DeviceBuffer::upload: " + std::to_string(values.size()) + " values; expected " +
                                  std::to_string(size_) + ", the size of the buffer; pass all of them");
    if (size_ > 0) std::memcpy(static_cast<void*>(data_.get()), values.data(), size_ * sizeof(T));
  }
  std::vector<T> download() const { return {data(), data() + size_}; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  size_t size_;
  std::unique_ptr<T[], Free> data_;
};

}  // namespace kx
