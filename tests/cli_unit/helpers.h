// Experiment files in a folder of their own, and the messages of what must fail.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "core/strategy/registries.h"
#include "core/util/errors.h"
#include "strategies/builtin.h"

namespace sage {

class ExperimentFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "sage-cli-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    register_builtin(registries_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // Writes NAME below the folder and returns its path.
  std::string file(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path.string();
  }
  // The message without the folder's name, which changes from run to run.
  std::string error(const std::function<void()>& f) const {
    try {
      f();
    } catch (const Error& e) {
      std::string text = e.what();
      for (size_t at; (at = text.find(folder_.string() + "/")) != std::string::npos;)
        text.erase(at, folder_.string().size() + 1);
      return text;
    }
    return "no error";
  }

  std::filesystem::path folder_;
  Registries registries_;
};

inline bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace sage
