#include "experiments/engine/libraries.h"

#include <H5public.h>
#include <cblas.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <spdlog/version.h>
#include <utf8proc.h>
#include <zlib.h>

#include <algorithm>
#include <boost/version.hpp>
#include <nlohmann/json.hpp>

namespace sage {
namespace {

std::string pcre2_version() {
  char text[64] = {};
  return pcre2_config(PCRE2_CONFIG_VERSION, text) < 0 ? "unknown" : text;
}

std::string hdf5_version() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return fmt::format("{}.{}.{}", major, minor, release);
}

std::string openblas_version() {
  const std::string config = openblas_get_config();  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ... SkylakeX MAX_THREADS=128"
  const size_t space = config.find(' ');
  const std::string version =
      space == std::string::npos ? config : config.substr(space + 1, config.find(' ', space + 1) - space - 1);
  return fmt::format("{} ({})", version, openblas_get_corename());
}

}  // namespace

std::vector<std::pair<std::string, std::string>> library_versions() {
  std::vector<std::pair<std::string, std::string>> out = {
      {"boost", fmt::format("{}.{}.{}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100)},
      {"compiler", SAGE_COMPILER},
      {"eigen", SAGE_EIGEN_VERSION},
      {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
      {"hdf5", hdf5_version()},
      {"nlohmann-json",
       fmt::format("{}.{}.{}", NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH)},
      {"openblas", openblas_version()},
      {"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)},
      {"pcre2", pcre2_version()},
      {"spdlog", fmt::format("{}.{}.{}", SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
      {"utf8proc", utf8proc_version()},
      {"yaml-cpp", SAGE_YAML_CPP_VERSION},
      {"zlib", zlibVersion()},
  };
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace sage
