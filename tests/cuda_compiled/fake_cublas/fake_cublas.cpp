// A cuBLAS in host memory: cuBLAS's entry points with its headers' types, products as plain loops over the definition
// (column-major, element (i, j) at data[j * ld + i]), and a record of what it was asked. Products beyond 4096 rows are not
// computed but refused.
#include "tests/cuda_compiled/fake_cublas/fake_cublas.h"

#include <cublas_v2.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace {

FakeCublas record;
constexpr int64_t kMost = 4096;

template <class In, class Out, class Load>
cublasStatus_t product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const In* a, int64_t lda, const In* b,
                       int64_t ldb, double beta, Out* c, int64_t ldc, const Load& load) {
  record.m = m, record.n = n, record.k = k, record.lda = lda, record.ldb = ldb, record.ldc = ldc;
  if (m > kMost || n > kMost || k > kMost) return CUBLAS_STATUS_EXECUTION_FAILED;
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l)
        sum += load(ta ? a[i * lda + l] : a[l * lda + i]) * load(tb ? b[l * ldb + j] : b[j * ldb + l]);
      c[j * ldc + i] = static_cast<Out>(alpha * sum + (beta == 0 ? 0 : beta * c[j * ldc + i]));
    }
  return CUBLAS_STATUS_SUCCESS;
}

template <class T>
cublasStatus_t rank_k(cublasFillMode_t triangle, bool transposed, int64_t n, int64_t k, double alpha, const T* a, int64_t lda,
                      double beta, T* c, int64_t ldc) {
  record.n = n, record.k = k, record.lda = lda, record.ldc = ldc;
  if (n > kMost || k > kMost) return CUBLAS_STATUS_EXECUTION_FAILED;
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = triangle == CUBLAS_FILL_MODE_LOWER ? j : 0; i < (triangle == CUBLAS_FILL_MODE_LOWER ? n : j + 1); ++i) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l)
        sum += double{transposed ? a[i * lda + l] : a[l * lda + i]} * double{transposed ? a[j * lda + l] : a[l * lda + j]};
      c[j * ldc + i] = static_cast<T>(alpha * sum + (beta == 0 ? 0 : beta * c[j * ldc + i]));
    }
  return CUBLAS_STATUS_SUCCESS;
}

const auto kNumber = [](auto v) { return static_cast<double>(v); };

}  // namespace

extern "C" {

__attribute__((visibility("default"))) FakeCublas* fake_cublas() { return &record; }

cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  ++record.handles;
  *handle = reinterpret_cast<cublasHandle_t>(&record);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t) {
  --record.handles;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t, cudaStream_t stream) {
  record.stream = stream;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t, cublasMath_t mode) {
  record.math_mode = static_cast<int>(mode);
  return CUBLAS_STATUS_SUCCESS;
}
const char* cublasGetStatusName(cublasStatus_t) { return "FAKE_STATUS"; }
const char* cublasGetStatusString(cublasStatus_t) { return "said by the stand-in"; }

cublasStatus_t cublasSgemm_64(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int64_t m, int64_t n, int64_t k,
                              const float* alpha, const float* a, int64_t lda, const float* b, int64_t ldb, const float* beta,
                              float* c, int64_t ldc) {
  return product(ta == CUBLAS_OP_T, tb == CUBLAS_OP_T, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc, kNumber);
}
cublasStatus_t cublasDgemm_64(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int64_t m, int64_t n, int64_t k,
                              const double* alpha, const double* a, int64_t lda, const double* b, int64_t ldb,
                              const double* beta, double* c, int64_t ldc) {
  return product(ta == CUBLAS_OP_T, tb == CUBLAS_OP_T, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc, kNumber);
}
cublasStatus_t cublasGemmEx_64(cublasHandle_t, cublasOperation_t ta, cublasOperation_t tb, int64_t m, int64_t n, int64_t k,
                               const void* alpha, const void* a, cudaDataType a_type, int64_t lda, const void* b,
                               cudaDataType b_type, int64_t ldb, const void* beta, void* c, cudaDataType c_type, int64_t ldc,
                               cublasComputeType_t compute, cublasGemmAlgo_t) {
  record.compute_type = static_cast<int>(compute);
  if (a_type != b_type || c_type != CUDA_R_32F || compute != CUBLAS_COMPUTE_32F) return CUBLAS_STATUS_NOT_SUPPORTED;
  const double al = *static_cast<const float*>(alpha), be = *static_cast<const float*>(beta);
  const bool t = ta == CUBLAS_OP_T, u = tb == CUBLAS_OP_T;
  if (a_type == CUDA_R_16F)
    return product(t, u, m, n, k, al, static_cast<const __half*>(a), lda, static_cast<const __half*>(b), ldb, be,
                   static_cast<float*>(c), ldc, [](__half h) { return double{__half2float(h)}; });
  if (a_type == CUDA_R_16BF)
    return product(t, u, m, n, k, al, static_cast<const __nv_bfloat16*>(a), lda, static_cast<const __nv_bfloat16*>(b), ldb, be,
                   static_cast<float*>(c), ldc, [](__nv_bfloat16 h) { return double{__bfloat162float(h)}; });
  return CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t cublasSsyrk_64(cublasHandle_t, cublasFillMode_t triangle, cublasOperation_t t, int64_t n, int64_t k,
                              const float* alpha, const float* a, int64_t lda, const float* beta, float* c, int64_t ldc) {
  return rank_k(triangle, t == CUBLAS_OP_T, n, k, *alpha, a, lda, *beta, c, ldc);
}
cublasStatus_t cublasDsyrk_64(cublasHandle_t, cublasFillMode_t triangle, cublasOperation_t t, int64_t n, int64_t k,
                              const double* alpha, const double* a, int64_t lda, const double* beta, double* c, int64_t ldc) {
  return rank_k(triangle, t == CUBLAS_OP_T, n, k, *alpha, a, lda, *beta, c, ldc);
}

}  // extern "C"
