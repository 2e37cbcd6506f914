// sageptq doctor: what this machine and this installation have, and what is missing.
#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "core/util/files.h"
#include "core/util/processors.h"
#include "core/util/waiting_policy.h"
#include "experiments/cli/verbs.h"
#include "experiments/engine/experiment.h"
#include "experiments/engine/libraries.h"
#include "experiments/engine/provenance.h"
#include "kernels/backends.h"
#include "kernels/cuda/compiled/cuda_backend.h"
#include "results/store.h"

namespace sage {
namespace po = boost::program_options;
namespace fs = std::filesystem;
namespace {

void line(const std::string& what, const std::string& state) { fmt::print("  {:<16}{}\n", what, state); }

std::string folder_state(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return path + " (absent, made when needed)";
  if (access(path.c_str(), W_OK) != 0) return path + " (NOT WRITABLE: set SAGEPTQ_CACHE or SAGEPTQ_STORE to a folder that is)";
  const auto space = fs::space(path, error);
  return error ? path : fmt::format("{} ({:.1f} GB free)", path, static_cast<double>(space.available) / 1e9);
}

std::string waiting_state() {
  const WaitingPolicy policy = waiting_policy();
  if (policy.setting.empty()) return "OpenMP's own way: spinning; set OMP_WAIT_POLICY=passive where other programs run beside";
  return policy.setting + (policy.by_user ? "" : " (set by sageptq; OMP_WAIT_POLICY or GOMP_SPINCOUNT override it)");
}

// Fetched things lie in folders CACHE/models/NAME and CACHE/texts/NAME.
std::string fetched(const std::string& folder, const char* needed) {
  std::string found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (fs::exists(it->path() / needed)) found += (found.empty() ? "" : ", ") + it->path().string();
  return found.empty() ? fmt::format("absent: nothing with {} below {}; `make quickstart` fetches it", needed, folder) : found;
}

}  // namespace

Verb doctor_verb() {
  Verb v;
  v.name = "doctor";
  v.summary = "Shows backends, libraries, threads and folders, and what is missing.";
  v.synopsis = "";
  v.declare = [](po::options_description&, po::positional_options_description&) {};
  v.run = [](const Program& program, const po::variables_map&) {
    fmt::print("sageptq {}\n\nmachine\n", program_version());
    line("sources", build_digest() + " (sha256 of what decides numbers)");
    const int threads = omp_get_max_threads();
    line("threads",
         fmt::format("{} ({})", threads, threads == default_threads().count ? default_threads().reason : "--threads"));
    line("waiting", waiting_state());
    const auto bytes = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE));
    line("memory", fmt::format("{:.1f} GB", bytes / 1e9));
    fmt::print("\nbackends\n");
    for (const BackendStatus& b : backend_status())
      line(b.name, (b.available ? "" : "not available: ") + b.detail);
    const CudaBuild cuda = cuda_build();
    fmt::print("\nCUDA\n");
    line("toolkit",
         cuda.present ? fmt::format("{}; compiled for {}", cuda.toolkit, cuda.architectures) : "none: built without");
    if (cuda.present) line("driver", cuda.driver.empty() ? "none" : "serves up to CUDA " + cuda.driver);
    fmt::print("\nfolders\n");
    line("cache", folder_state(cache_folder()));
    line("store", folder_state(Store::default_root()));
    const char* data = std::getenv("SAGEPTQ_DATA");
    line("data", data == nullptr ? "SAGEPTQ_DATA is not set; the default text is used" : folder_state(data));
    line("default model", fetched(cache_folder() + "/models", "config.json"));
    line("default text", fetched(cache_folder() + "/texts", "test.txt"));
    std::string presets;
    for (const PresetInfo& p : list_presets())
      presets += (presets.empty() ? "" : ", ") + p.name;
    line("presets",
         presets.empty() ? "none found; expected share/sage-ptq/presets beside the program, or SAGEPTQ_PRESETS" : presets);
    line("components", fmt::format("{}", program.registries.all().size()));
    fmt::print("\nlibraries\n");
    for (const auto& [name, version] : library_versions())
      line(name, version);
    return ExitCode::kDone;
  };
  return v;
}

}  // namespace sage
