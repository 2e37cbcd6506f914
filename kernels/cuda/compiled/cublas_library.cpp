#include "kernels/cuda/compiled/cublas_library.h"

#include <dlfcn.h>

#include "core/util/errors.h"
#include "kernels/cuda/compiled/cublas_functions.h"

namespace sage::cuda {
namespace {

constexpr int kOtherMajor = CUBLAS_VER_MAJOR == 12 ? 13 : 12;
const std::string kFile = fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR);

template <class Function>
void find(void* library, const char* symbol, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, symbol));
  if (*function == nullptr)
    throw ResourceError("cuBLAS: it lacks {}; expected libcublas.so of CUDA 12 or 13; install libcublas of one of them",
                        symbol);
}

// The name a cuBLAS function has in the library: its header defines cublasCreate as cublasCreate_v2, for one.
#define SAGE_SYMBOL_OF(name) #name
#define SAGE_SYMBOL(name) SAGE_SYMBOL_OF(name)

}  // namespace

std::vector<std::string> cublas_candidates() {
  return {kFile, std::string(SAGE_CUDA_LIBRARIES "/") + kFile, fmt::format("libcublas.so.{}", kOtherMajor)};
}

std::shared_ptr<const CublasFunctions> load_cublas(const std::vector<std::string>& candidates) {
  void* library = nullptr;
  std::string refusals;
  for (const std::string& name : candidates) {
    library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library != nullptr) break;
    refusals += (refusals.empty() ? "" : "; ") + std::string(dlerror());
  }
  if (library == nullptr)
    throw ResourceError(
        "cuBLAS: not found ({}); expected libcublas.so of CUDA 12 or 13; install libcublas of CUDA {} (Debian and Ubuntu: "
        "libcublas-{}-*), or name its folder in LD_LIBRARY_PATH, or use --device cpu",
        refusals, CUBLAS_VER_MAJOR, CUBLAS_VER_MAJOR);
  auto f = std::make_shared<CublasFunctions>();
  find(library, SAGE_SYMBOL(cublasCreate), &f->create);
  find(library, SAGE_SYMBOL(cublasDestroy), &f->destroy);
  find(library, SAGE_SYMBOL(cublasSetStream), &f->set_stream);
  find(library, SAGE_SYMBOL(cublasSetMathMode), &f->set_math_mode);
  find(library, SAGE_SYMBOL(cublasGetStatusName), &f->status_name);
  find(library, SAGE_SYMBOL(cublasGetStatusString), &f->status_string);
  find(library, SAGE_SYMBOL(cublasSgemm_64), &f->sgemm);
  find(library, SAGE_SYMBOL(cublasDgemm_64), &f->dgemm);
  find(library, SAGE_SYMBOL(cublasGemmEx_64), &f->gemm_ex);
  find(library, SAGE_SYMBOL(cublasSsyrk_64), &f->ssyrk);
  find(library, SAGE_SYMBOL(cublasDsyrk_64), &f->dsyrk);
  return f;
}

}  // namespace sage::cuda
