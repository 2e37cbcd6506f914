// What fake_cublas remembers of the calls made to it.
#pragma once

#include <cstdint>

struct FakeCublas {
  int handles = 0;  // open
  int math_mode = -1;
  int compute_type = -1;  // of the last cublasGemmEx
  void* stream = nullptr;
  int64_t m = 0, n = 0, k = 0, lda = 0, ldb = 0, ldc = 0;  // of the last product
};
extern "C" FakeCublas* fake_cublas();
