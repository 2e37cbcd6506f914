// What packed and exported directories have in common: folders that appear whole, files copied along, the report beside the planes.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

#include "core/pipeline/packed_checkpoint.h"

namespace sage {

inline constexpr const char* kReportFile = "sage_report.json";

// A folder that is filled under a temporary name and renamed when commit() is called; removed if it never is.
class FolderInProgress {
 public:
  explicit FolderInProgress(std::string final_path);
  ~FolderInProgress();
  FolderInProgress(const FolderInProgress&) = delete;
  FolderInProgress& operator=(const FolderInProgress&) = delete;
  const std::string& path() const { return part_; }
  void commit();

 private:
  std::string final_, part_;
  bool done_ = false;
};

// tokenizer files, generation_config and the provenance note, where the source has them.
void copy_side_files(const std::string& from, const std::string& to);

nlohmann::json write_matrix_report(const MatrixReport& m);
void read_matrix_report(const nlohmann::json& j, MatrixReport& m);  // ResourceError if it has the wrong shape

nlohmann::json write_seconds(const QuantizeSeconds& seconds);
// Of a report {"matrices": ..., "seconds": ...}; the sum of its matrices' own where it has none.
QuantizeSeconds read_seconds(const nlohmann::json& report);

Matrix load_tensor_rows(const TensorFiles& files, const std::string& name, std::span<const int32_t> rows);

}  // namespace sage
