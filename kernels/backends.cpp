#include "kernels/backends.h"

#include "core/config/value.h"
#include "core/util/errors.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/cuda/compiled/cuda_backend.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace sage {
namespace {

using cuda::Precision;

struct Entry {
  const char* name;
  std::unique_ptr<Backend> (*make)();
  bool on_device = false;   // of NVIDIA: whether it is there is known only on the machine
  const char* remark = "";  // after the description
};

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = {
      {"reference", [] { return make_reference_backend(); }},
      {"cpu", [] { return make_cpu_backend(); }},
      {"cuda", [] { return make_cuda_backend(Precision::kFloat32); }, true},
      {"cuda-bf16", [] { return make_cuda_backend(Precision::kBfloat16); }, true, "; products of the forward pass in BF16"},
      {"cuda-fp16", [] { return make_cuda_backend(Precision::kFloat16); }, true, "; products of the forward pass in FP16"},
      {"cuda_on_cpu", [] { return make_cuda_on_cpu_backend(); }, false, "; for tests: executes the CUDA kernels on the CPU"},
  };
  return all;
}

}  // namespace

std::vector<std::string> backend_names() {
  std::vector<std::string> out;
  for (const Entry& e : entries())
    out.emplace_back(e.name);
  return out;
}

std::unique_ptr<Backend> make_backend(const std::string& name) {
  for (const Entry& e : entries())
    if (name == e.name) return e.make();
  const std::vector<std::string> names = backend_names();
  // "gpu" has more letters in common with cpu.
  const std::string near = name == "gpu" || name == "nvidia" ? "cuda" : nearest_name(name, names);
  throw UserError("unknown backend '{}'; expected one of: {}{}", name, fmt::join(names, ", "),
                  near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

std::vector<BackendStatus> backend_status() {
  const BackendStatus device = cuda_status();
  std::vector<BackendStatus> out;
  for (const Entry& e : entries()) {
    if (e.on_device)
      out.push_back({e.name, device.available, device.detail + (device.available ? e.remark : "")});
    else
      out.push_back({e.name, true, e.make()->description() + e.remark});
  }
  return out;
}

}  // namespace sage
