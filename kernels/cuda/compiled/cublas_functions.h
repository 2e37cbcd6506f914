// Types of cuBLAS's entry points; for the sources of this folder, since it needs the toolkit's headers.
#pragma once

#include <cublas_v2.h>

namespace sage::cuda {

struct CublasFunctions {
  decltype(&cublasCreate) create = nullptr;
  decltype(&cublasDestroy) destroy = nullptr;
  decltype(&cublasSetStream) set_stream = nullptr;
  decltype(&cublasSetMathMode) set_math_mode = nullptr;
  decltype(&cublasGetStatusName) status_name = nullptr;
  decltype(&cublasGetStatusString) status_string = nullptr;
  decltype(&cublasSgemm_64) sgemm = nullptr;
  decltype(&cublasDgemm_64) dgemm = nullptr;
  decltype(&cublasGemmEx_64) gemm_ex = nullptr;
  decltype(&cublasSsyrk_64) ssyrk = nullptr;
  decltype(&cublasDsyrk_64) dsyrk = nullptr;
};

}  // namespace sage::cuda
