#include "results/coverage.h"

#include <fmt/format.h>

#include <algorithm>

namespace sage {
namespace {

bool selective(const RunRecord& r) {
  return std::any_of(r.config.begin(), r.config.end(), [](const ConfigEntry& e) {
    return e.path.starts_with("exclude[") || (e.path.starts_with("include[") && e.value != "*");
  });
}

}  // namespace

bool bits_leave_layers_out(const RunRecord& r) { return r.storage.linear_matrices == 0 && !r.full_precision && selective(r); }

std::string matrices_quantized(const RunRecord& r) {
  if (r.full_precision || !r.complete()) return "";
  if (bits_leave_layers_out(r)) return fmt::format("{} of ?", r.matrices.size());
  const StorageSummary& s = r.storage;
  return s.quantized_matrices < s.linear_matrices ? fmt::format("{} of {}", s.quantized_matrices, s.linear_matrices) : "";
}

}  // namespace sage
