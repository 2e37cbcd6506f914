// cuda_backend.h in a build without CUDA.
#include "core/util/errors.h"
#include "kernels/cuda/compiled/cuda_backend.h"

namespace sage {
namespace {

constexpr const char* kReason = "this build has no CUDA (configure with -DSAGE_CUDA=ON)";

}  // namespace

CudaBuild cuda_build() { return {}; }

BackendStatus cuda_status() { return {"cuda", false, kReason}; }

std::unique_ptr<Backend> make_cuda_backend(cuda::Precision /*precision*/) {
  throw ResourceError("cuda: {}; expected an available device; use --device cpu", kReason);
}

BackendStatus cuda_status_without_products() { return cuda_status(); }

std::unique_ptr<Backend> make_cuda_backend_without_products() { return make_cuda_backend(cuda::Precision::kFloat32); }

}  // namespace sage
