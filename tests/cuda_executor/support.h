// Orders, places in sources and sanitizers, for the tests of the executor.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "kernels/cuda_on_cpu/executor/device_buffer.h"
#include "kernels/cuda_on_cpu/executor/kernel.h"

#if defined(__SANITIZE_ADDRESS__)
#define KX_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define KX_TEST_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define KX_TEST_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KX_TEST_TSAN 1
#endif
#endif

namespace kx::test {

// Sets options for a scope.
class WithOptions {
 public:
  explicit WithOptions(const Options& o) : saved_(options()) { options() = o; }
  ~WithOptions() { options() = saved_; }
  WithOptions(const WithOptions&) = delete;
  WithOptions& operator=(const WithOptions&) = delete;

 private:
  Options saved_;
};

inline std::vector<Options> all_orders() {
  return {{.order = Order::kForward},
          {.order = Order::kReverse},
          {.order = Order::kRandom, .seed = 1},
          {.order = Order::kRandom, .seed = 2},
          {.order = Order::kRandom, .seed = 3}};
}

// The results of `run` in every order.
inline std::vector<std::vector<float>> in_all_orders(const std::function<std::vector<float>()>& run) {
  std::vector<std::vector<float>> results;
  for (const Options& o : all_orders()) {
    const WithOptions scope(o);
    results.push_back(run());
  }
  return results;
}

// Bits, so that NaN equals itself.
inline bool all_same(const std::vector<std::vector<float>>& results) {
  for (const auto& r : results)
    if (r.size() != results[0].size() || std::memcmp(r.data(), results[0].data(), r.size() * sizeof(float)) != 0) return false;
  return true;
}

inline bool any_nan(const std::vector<float>& values) {
  for (const float v : values)
    if (std::isnan(v)) return true;
  return false;
}

// "faulty_kernels.h:12": the line of that file that ends in the comment `// mark`.
inline std::string place(const std::string& mark) {
  const std::string name = "faulty_kernels.h";
  std::ifstream in(std::string(SAGE_TEST_DATA) + "/../cuda_executor/" + name);
  std::string text;
  for (int line = 1; std::getline(in, text); ++line)
    if (text.ends_with("// " + mark)) return name + ":" + std::to_string(line);
  ADD_FAILURE() << "no line ends in '// " << mark << "'";
  return "";
}

}  // namespace kx::test
