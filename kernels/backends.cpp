#include "kernels/backends.h"

#include "core/config/value.h"
#include "core/util/errors.h"
#include "kernels/cpu/cpu_backend.h"
#include "kernels/reference/reference_backend.h"

namespace sage {
namespace {

constexpr const char* kNoCuda = "this build has no CUDA backend";

}  // namespace

std::unique_ptr<Backend> make_backend(const std::string& name) {
  if (name == "reference") return make_reference_backend();
  if (name == "cpu") return make_cpu_backend();
  if (name == "cuda")
    throw ResourceError("backend 'cuda': {}; expected an available backend; use 'cpu' or 'reference'", kNoCuda);
  std::vector<std::string> names;
  std::string all;
  for (const BackendStatus& s : backend_status()) {
    names.push_back(s.name);
    all += (all.empty() ? "" : ", ") + s.name;
  }
  const std::string near = nearest_name(name, names);
  throw UserError("unknown backend '{}'; expected one of: {}{}", name, all,
                  near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

std::vector<BackendStatus> backend_status() {
  return {{"reference", true, make_reference_backend()->description()},
          {"cpu", true, make_cpu_backend()->description()},
          {"cuda", false, kNoCuda}};
}

}  // namespace sage
