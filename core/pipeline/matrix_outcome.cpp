#include "core/pipeline/matrix_outcome.h"

namespace sage {

MatrixOutcome outcome_of(const Trace& trace) {
  const std::map<std::string, double>& scalars = trace.scalars();
  const auto find = [&](const char* name) -> std::optional<double> {
    const auto it = scalars.find(name);
    return it == scalars.end() ? std::nullopt : std::optional(it->second);
  };
  const auto whole = [&](const char* name) -> std::optional<int64_t> {
    const std::optional<double> value = find(name);
    return value ? std::optional(static_cast<int64_t>(*value)) : std::nullopt;
  };
  MatrixOutcome out;
  out.gram_loss = find("gram_loss");
  out.percdamp = find("hessian.percdamp");
  out.damping_retries = whole("hessian.damping_retries");
  out.dead_columns = whole("hessian.dead_columns");
  double sum = 0;
  int64_t segments = 0;
  for (const auto& [name, value] : scalars)  // "threshold.cut", and "threshold.cut@128" of the segment that begins there
    if (name == "threshold.cut" || name.starts_with("threshold.cut@")) {
      sum += value;
      ++segments;
    }
  if (segments > 0) out.threshold_cut = sum / static_cast<double>(segments);
  return out;
}

}  // namespace sage
