// The architecture, held to by a test: arrows run one way, and every component file is in the registration list.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "strategies/builtin.h"

namespace sage {
namespace {

namespace fs = std::filesystem;
const fs::path kSource = SAGE_SOURCE;

std::string read(const fs::path& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

bool is_code(const fs::path& p) {
  const std::set<std::string> kinds = {".h", ".cpp", ".inl", ".cu", ".cuh"};
  return kinds.count(p.extension().string()) > 0;
}

TEST(House, IncludesRunOneWay) {
  const std::map<std::string, std::set<std::string>> allowed = {
      {"core", {"core"}},
      {"kernels", {"core", "kernels"}},
      {"strategies", {"core", "strategies"}},
      {"results", {"core", "results"}},
      {"experiments", {"core", "kernels", "strategies", "results", "experiments"}},
      {"analysis", {"core", "kernels", "strategies", "results", "experiments", "analysis"}},
  };
  const std::regex include("#include \"([a-z_]+)/");
  int files = 0;
  for (const auto& [room, others] : allowed)
    for (const auto& entry : fs::recursive_directory_iterator(kSource / room)) {
      if (!is_code(entry.path())) continue;
      ++files;
      const std::string text = read(entry.path());
      for (std::sregex_iterator it(text.begin(), text.end(), include), end; it != end; ++it)
        EXPECT_TRUE(others.count((*it)[1]) > 0) << fs::relative(entry.path(), kSource) << " includes something of " << (*it)[1];
    }
  EXPECT_GT(files, 100);
}

TEST(House, HeavyLibrariesStayOutOfHeaders) {
  const std::regex heavy("#include <(nlohmann/json\\.hpp|yaml-cpp/|Eigen/|Spectra/|spdlog/|cuda)");
  for (const char* room : {"core", "kernels", "strategies", "results", "experiments", "analysis"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kSource / room))
      if (entry.path().extension() == ".h") {
        EXPECT_FALSE(std::regex_search(read(entry.path()), heavy)) << fs::relative(entry.path(), kSource);
      }
  }
}

TEST(House, EveryComponentFileIsRegistered) {
  Registries registries;
  register_builtin(registries);
  std::set<std::pair<std::string, std::string>> registered;
  for (const ComponentInfo& c : registries.all()) registered.insert({c.kind, c.name});
  const std::regex name("kName = \"([a-z0-9_]+)\"");
  size_t found = 0;
  for (const auto& entry : fs::recursive_directory_iterator(kSource / "strategies")) {
    if (entry.path().extension() != ".h") continue;
    const std::string text = read(entry.path());
    for (std::sregex_iterator it(text.begin(), text.end(), name), end; it != end; ++it, ++found)
      EXPECT_TRUE(registered.count({entry.path().parent_path().filename().string(), (*it)[1]}) > 0)
          << fs::relative(entry.path(), kSource) << " declares '" << (*it)[1] << "', which builtin.cpp does not register under its folder's kind";
  }
  EXPECT_EQ(found, registered.size()) << "a component is registered whose file is not in the folder of its kind";
}

TEST(House, EveryComponentExplainsItself) {
  Registries registries;
  register_builtin(registries);
  for (const ComponentInfo& c : registries.all()) {
    SCOPED_TRACE(c.kind + " " + c.name);
    EXPECT_GT(c.doc.size(), 20u);
    EXPECT_TRUE(c.doc.ends_with('.'));
    EXPECT_GE(c.version, 1);
    for (const ParamInfo& p : c.params) EXPECT_GT(p.doc.size(), 10u) << p.name;
  }
}

}  // namespace
}  // namespace sage
