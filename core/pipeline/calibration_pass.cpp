#include "core/pipeline/calibration_pass.h"

#include <algorithm>
#include <cstring>

#include "core/calibration/block_grams.h"
#include "core/config/value.h"
#include "core/util/errors.h"
#include "core/util/files.h"

namespace sage {
namespace {

double passes(const CalibrationJob& job, int layers) {
  return static_cast<double>(job.samples.options.samples) * layers * (job.config.propagation == Propagation::kQuantized ? 2 : 1);
}

}  // namespace

std::string calibration_key(const CalibrationJob& job) {
  return fmt::format("samples {} options {}", job.samples.digest, canonical_json(calibration_identity(job.config)));
}

CalibrationPass::CalibrationPass(const CheckpointSource& source, const CalibrationJob& job, const Backend& backend, std::string quantization, Replace replace)
    : source_(source), job_(job), backend_(backend), quantization_(std::move(quantization)), replace_(std::move(replace)),
      family_(find_family(source.config())), cache_("", static_cast<uint64_t>(job.config.cache_bytes)),
      progress_("calibrate", passes(job, static_cast<int>(source.config().layers)), "sequence x block") {
  check_sequence_length(family_, source.config(), job.samples.options.length);
}

void CalibrationPass::start() {
  const int64_t n = job_.samples.options.samples, length = job_.samples.options.length;
  hidden_.emplace(n, length, source_.config().hidden_size, static_cast<uint64_t>(job_.config.hidden_states_bytes));
  for (int64_t i = 0; i < n; ++i) {
    const Matrix x = embed(family_, source_, job_.samples.sample(i), length, backend_);
    std::memcpy(hidden_->sequence(i).data, x.data(), sizeof(float) * static_cast<size_t>(x.size()));
    hidden_->release(i);
  }
  position_ = 0;
}

void CalibrationPass::advance_to(int layer) {
  if (!hidden_) start();
  for (; position_ < layer; ++position_) {
    BlockWeights block = load_block(family_, source_, position_);
    if (job_.config.propagation == Propagation::kQuantized) replace_(position_, block);
    for (int64_t i = 0; i < hidden_->sequences(); ++i) {
      forward_block(family_, source_.config(), block, hidden_->sequence(i), hidden_->length(), backend_, workspace_);
      hidden_->release(i);
      progress_.advance(1, fmt::format("layer {}", position_));
    }
  }
}

std::map<std::string, Gram> CalibrationPass::collect(int layer, const std::map<std::string, int64_t>& columns_of_group) {
  const double started = now_seconds();
  const bool original = job_.config.propagation == Propagation::kOriginal;
  const std::string key = gram_key(source_.digest(), job_.samples.digest, job_.config.gram, backend_.name(), layer, original || layer == 0 ? "" : quantization_);
  std::map<std::string, Gram> grams;
  for (const auto& [group, cols] : columns_of_group)
    if (std::optional<Gram> found = cache_.find(key, group, cols)) grams.emplace(group, std::move(*found));
  if (grams.size() == columns_of_group.size()) {
    log_debug("layer {}: Grams from the cache", layer);
    seconds_ += now_seconds() - started;
    return grams;
  }
  advance_to(layer);
  BlockGrams collected(layer, job_.config.gram, backend_);
  const BlockWeights block = load_block(family_, source_, layer);
  const InputObserver observer = collected.observer();
  Matrix scratch = original ? Matrix() : Matrix(hidden_->length(), hidden_->width());
  for (int64_t i = 0; i < hidden_->sequences(); ++i) {
    View<float> x = hidden_->sequence(i);
    if (!original) {  // the outputs that count are those of the quantized block
      std::memcpy(scratch.data(), x.data, sizeof(float) * static_cast<size_t>(x.size()));
      x = scratch.view();
    }
    forward_block(family_, source_.config(), block, x, hidden_->length(), backend_, workspace_, observer);
    hidden_->release(i);
    progress_.advance(1, fmt::format("layer {}", layer));
  }
  if (original) position_ = layer + 1;
  std::vector<std::string> groups;
  for (const auto& [group, cols] : columns_of_group) groups.push_back(group);
  grams = collected.finish(groups);
  for (const auto& [group, gram] : grams) cache_.store(key, group, gram);
  seconds_ += now_seconds() - started;
  return grams;
}

}  // namespace sage
