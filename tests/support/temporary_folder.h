// A folder of its own for one test, removed at the end.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace sage {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sage-test-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path() const { return path_.string(); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  std::string write(const std::string& name, std::string_view bytes) const {
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return file(name);
  }
  // Copies a folder of tests/data/hf into this one.
  void copy_model(const std::string& name) const {
    std::filesystem::copy(std::filesystem::path(SAGE_TEST_DATA) / "hf" / name, path_, std::filesystem::copy_options::recursive);
  }

 private:
  std::filesystem::path path_;
};

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string model_folder(const std::string& name) { return std::string(SAGE_TEST_DATA) + "/hf/" + name; }

// The statement throws E and the message holds every one of the texts.
#define EXPECT_ERROR(E, statement, ...)                                                            \
  do {                                                                                             \
    try {                                                                                          \
      statement;                                                                                   \
      ADD_FAILURE() << "no error from " #statement;                                                \
    } catch (const E& e) {                                                                         \
      for (const std::string& part : std::vector<std::string>{__VA_ARGS__})                        \
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << "message: " << e.what(); \
    }                                                                                              \
  } while (false)

}  // namespace sage
