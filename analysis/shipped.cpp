#include "analysis/shipped.h"

namespace sage {

namespace fs = std::filesystem;

namespace {
constexpr int kUpwards = 5;
}

std::vector<fs::path> shipped_folders(const std::string& name) {
  std::vector<fs::path> out{fs::path("analysis") / name};
  std::error_code ec;
  fs::path folder = fs::read_symlink("/proc/self/exe", ec).parent_path();
  if (!ec) {
    out.push_back(folder.parent_path() / "share/sage-ptq" / name);
    for (int i = 0; i < kUpwards && folder.has_relative_path(); ++i, folder = folder.parent_path())
      out.push_back(folder / "analysis" / name);
  }
  out.push_back(fs::path(SAGE_ANALYSIS_SOURCE) / name);
  return out;
}

}  // namespace sage
