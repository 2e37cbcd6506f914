#include "core/pipeline/model_folder.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/write_error.h"

namespace sage {
namespace fs = std::filesystem;

FolderInProgress::FolderInProgress(std::string final_path) : final_(std::move(final_path)) {
  while (final_.size() > 1 && final_.back() == '/') final_.pop_back();
  part_ = fmt::format("{}.part.{}", final_, getpid());
  std::error_code ignored;
  fs::remove_all(part_, ignored);
  make_folders(part_);
}
FolderInProgress::~FolderInProgress() {
  std::error_code ignored;
  if (!done_) fs::remove_all(part_, ignored);
}
void FolderInProgress::commit() {
  std::error_code ec;
  fs::rename(part_, final_, ec);
  if (ec) throw WriteError("{}: the finished folder cannot be renamed from {} ({}); expected a free name in a writable folder; choose another output path", final_, part_, ec.message());
  done_ = true;
  commit_part("", final_);
}

void copy_side_files(const std::string& from, const std::string& to) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "vocab.json",
                           "merges.txt", "tokenizer.model", "added_tokens.json", "sage_source.json"}) {
    const std::string path = from + "/" + name;
    if (fs::exists(path)) write_file_atomically(to + "/" + name, read_file(path, uint64_t{1} << 30));
  }
}

namespace {

// The figures of an outcome, each with its name in the report.
template <class Outcome, class F>
void each_figure(Outcome& o, F use) {
  use("gram_loss", o.gram_loss);
  use("percdamp", o.percdamp);
  use("damping_retries", o.damping_retries);
  use("dead_columns", o.dead_columns);
  use("threshold_cut", o.threshold_cut);
}

}  // namespace

nlohmann::json write_matrix_report(const MatrixReport& m) {
  nlohmann::json j = {{"relative_error", m.relative_error},
                      {"salient_ratio", m.salient_ratio},
                      {"groups", m.groups},
                      {"alternative", m.alternative},
                      {"paper_weight_bits", m.storage.paper_weight_bits},
                      {"paper_scaling_bits", m.storage.paper_scaling_bits},
                      {"seconds", m.seconds}};
  each_figure(m.outcome, [&](const char* name, const auto& figure) {
    if (figure) j[name] = *figure;
  });
  return j;
}

void read_matrix_report(const nlohmann::json& j, MatrixReport& m) {
  try {
    m.relative_error = j.at("relative_error").get<double>();
    m.salient_ratio = j.at("salient_ratio").get<double>();
    m.groups = j.at("groups").get<int64_t>();
    m.alternative = j.at("alternative").get<int>();
    m.storage.paper_weight_bits = j.at("paper_weight_bits").get<double>();
    m.storage.paper_scaling_bits = j.at("paper_scaling_bits").get<double>();
    m.seconds = j.at("seconds").get<double>();
    each_figure(m.outcome, [&](const char* name, auto& figure) {
      if (j.contains(name)) figure = j.at(name).get<typename std::decay_t<decltype(figure)>::value_type>();
    });
  } catch (const nlohmann::json::exception& e) {
    throw ResourceError("{}: its entry for {} cannot be read ({}); expected the numbers quantization left; the packed directory is damaged", kReportFile, m.name, e.what());
  }
}

nlohmann::json write_seconds(const QuantizeSeconds& s) {
  return {{"quantize", s.quantize}, {"calibrate", s.calibrate}, {"resumed", s.resumed}};
}

QuantizeSeconds read_seconds(const nlohmann::json& report) {
  QuantizeSeconds out;
  try {
    if (const auto it = report.find("seconds"); it != report.end()) {
      out.quantize = it->at("quantize").get<double>();
      out.calibrate = it->at("calibrate").get<double>();
      out.resumed = it->at("resumed").get<bool>();
    } else if (const auto matrices = report.find("matrices"); matrices != report.end()) {
      for (const auto& m : *matrices)
        out.quantize += m.at("seconds").get<double>();
    }
  } catch (const nlohmann::json::exception& e) {
    throw ResourceError(
        "{}: its seconds cannot be read ({}); expected the numbers quantization left; the packed directory is damaged",
        kReportFile, e.what());
  }
  return out;
}

Matrix load_tensor_rows(const TensorFiles& files, const std::string& name, std::span<const int32_t> rows) {
  const TensorFiles::Place at = files.at(name);
  if (at.tensor->shape.size() != 2) throw ResourceError("{}: shape {}; expected a matrix; the checkpoint does not fit its config.json", name, at.tensor->shape_text());
  const int64_t cols = at.tensor->shape[1];
  Matrix out(static_cast<int64_t>(rows.size()), cols);
  for (size_t k = 0; k < rows.size(); ++k) {
    if (rows[k] < 0 || rows[k] >= at.tensor->shape[0])
      throw ResourceError("{}: row {} was asked for; expected 0 .. {}; text and model do not belong together", name, rows[k], at.tensor->shape[0] - 1);
    at.file->to_float(*at.tensor, rows[k] * cols, {out.row(static_cast<int64_t>(k)), static_cast<size_t>(cols)});
  }
  return out;
}

}  // namespace sage
