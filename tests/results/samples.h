// Run records made up for tests: every field set, every number different, so that a swapped column cannot pass.
#pragma once

#include <filesystem>
#include <string>

#include "results/run_record.h"

namespace sage::test {

RunRecord sample_record();
// A small sweep: full precision, two methods whose stored size is far from the claimed one, one failure.
std::vector<RunRecord> sample_sweep();

// A folder of its own for one test, removed at its end.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::string str() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

}  // namespace sage::test
