#include "core/util/output_path.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/util/errors.h"

namespace sage {
namespace fs = std::filesystem;
namespace {

std::string plain(const std::string& typed) {
  std::string out;
  for (const char c : typed)
    if (c != '/' || out.empty() || out.back() != '/') out += c;
  for (bool more = true; more;) {
    more = false;
    for (const char* end : {"/", "/."})
      if (const size_t n = std::strlen(end); out.size() > n && out.ends_with(end)) {
        out.resize(out.size() - n);
        more = true;
      }
  }
  return out;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

}  // namespace

std::string output_path(const std::string& typed, const std::string& option) {
  if (typed.empty()) throw UserError("{}: is empty; expected a path; is a variable of the script not set?", option);
  const std::string path = plain(typed);
  if (is_there(path)) return path;
  fs::path above = fs::absolute(path).parent_path();
  while (!is_there(above) && above.has_relative_path())
    above = above.parent_path();
  std::error_code ignored;
  if (!fs::is_directory(above, ignored))
    throw ResourceError("{} {}: {} is not a folder; expected one to make it in; choose another path", option, path,
                        above.string());
  if (access(above.c_str(), W_OK | X_OK) != 0)
    throw ResourceError("{} {}: nothing can be made in {} ({}); expected a writable folder; choose another path", option, path,
                        above.string(), std::strerror(errno));
  return path;
}

std::string new_output_path(const std::string& typed, const std::string& option) {
  const std::string path = output_path(typed, option);
  if (is_there(path))
    throw UserError("{} {}: exists already; expected a new name; choose another one or remove it", option, path);
  return path;
}

std::string output_file_path(const std::string& typed, const std::string& option) {
  const std::string path = output_path(typed, option);
  if (typed.ends_with('/') || fs::is_directory(path))
    throw UserError("{} {}: is a folder; expected the name of a file; add one", option, typed);
  return path;
}

}  // namespace sage
