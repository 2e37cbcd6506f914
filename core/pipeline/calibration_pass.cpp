#include "core/pipeline/calibration_pass.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "core/calibration/block_grams.h"
#include "core/config/value.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/stop.h"

namespace sage {
namespace {

double passes(const CalibrationJob& job, const ModelConfig& config) {
  return static_cast<double>(job.samples.options.samples * config.layers * passes_per_block(job.config, find_family(config)));
}

}  // namespace

int passes_per_block(const CalibrationConfig& config, const Family& family) {
  if (config.propagation == Propagation::kOriginal) return 1;
  if (config.layer_order == LayerOrder::kTogether) return 2;
  std::set<std::string> groups;
  for (const LinearRow& row : family.linears)
    groups.insert(row.group);
  return static_cast<int>(groups.size()) + 1;
}

std::string calibration_key(const CalibrationJob& job) {
  return fmt::format("samples {} options {}", job.samples.digest, canonical_json(calibration_identity(job.config)));
}

CalibrationPass::CalibrationPass(const CheckpointSource& source, const CalibrationJob& job, const Backend& backend,
                                 std::string quantization, Replace replace)
    : source_(source),
      job_(job),
      backend_(backend),
      quantization_(std::move(quantization)),
      replace_(std::move(replace)),
      family_(find_family(source.config())),
      cache_("", static_cast<uint64_t>(job.config.cache_bytes)),
      workspace_(backend),
      progress_("calibrate", passes(job, source.config()), "sequence x block") {
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

// Those to be caught up with, and then `layer` itself as it is while its inputs are collected.
BlockStream CalibrationPass::blocks_up_to(int layer, const Amend& amend) {
  std::vector<int> layers;
  for (int i = position_; i <= layer; ++i)
    layers.push_back(i);
  return BlockStream(backend_, std::move(layers), [this, layer, amend](int i) {
    BlockWeights block = load_block(family_, source_, i);
    if (i < layer && job_.config.propagation == Propagation::kQuantized) replace_(i, block);
    if (i == layer && amend) amend(block);
    return block;
  });
}

void CalibrationPass::run_sequence(int64_t i, const BlockWeights& block, bool keep, const InputObserver& observe) {
  stop_here("calibrate", fmt::format("Grams of the blocks before {} are kept", block.layer));
  View<float> x = hidden_->sequence(i);
  const bool in_place = keep && backend_.memory_is_host();
  if (!in_place) {
    if (sequence_.size() == 0) sequence_ = BackendMatrix(backend_, x.rows, x.cols);
    copy(backend_, x, sequence_.view());
    x = sequence_.view();
  }
  forward_block(family_, source_.config(), block, x, hidden_->length(), backend_, workspace_, observe);
  if (keep && !in_place) copy(backend_, x, hidden_->sequence(i));
  hidden_->release(i);
  progress_.advance(1, fmt::format("layer {}", block.layer));
}

void CalibrationPass::advance_to(int layer, BlockStream& blocks) {
  for (; position_ < layer; ++position_) {
    const BlockWeights& block = blocks.next();
    const auto span = backend_.span(fmt::format("block {}", position_));
    for (int64_t i = 0; i < hidden_->sequences(); ++i)
      run_sequence(i, block, true);
  }
}

std::map<std::string, Gram> CalibrationPass::collect(int layer, const std::map<std::string, int64_t>& columns_of_group, const Amend& amend) {
  const double started = now_seconds();
  const bool original = job_.config.propagation == Propagation::kOriginal;
  const bool of_original_layers = original || (layer == 0 && !amend);
  const std::string key = gram_key(source_.digest(), job_.samples.digest, job_.config.gram, backend_.name(), layer, of_original_layers ? "" : quantization_);
  std::map<std::string, Gram> grams;
  for (const auto& [group, cols] : columns_of_group)
    if (std::optional<Gram> found = cache_.find(key, group, cols)) grams.emplace(group, std::move(*found));
  if (grams.size() == columns_of_group.size()) {
    log_debug("layer {}: Grams from the cache", layer);
    seconds_ += now_seconds() - started;
    return grams;
  }
  if (!hidden_) start();
  std::vector<std::string> groups;
  for (const auto& [group, cols] : columns_of_group) groups.push_back(group);
  BlockGrams collected(layer, std::move(groups), job_.config.gram, backend_);
  {
    BlockStream blocks = blocks_up_to(layer, amend);
    advance_to(layer, blocks);
    const BlockWeights& block = blocks.next();
    const auto span = backend_.span(fmt::format("block {} and its Grams", layer));
    const InputObserver observer = collected.observer();
    // The outputs that count are those of the quantized block, unless all statistics are of original ones.
    for (int64_t i = 0; i < hidden_->sequences(); ++i)
      run_sequence(i, block, original, observer);
  }
  if (original) position_ = layer + 1;
  grams = collected.finish();
  for (const auto& [group, gram] : grams) cache_.store(key, group, gram);
  seconds_ += now_seconds() - started;
  return grams;
}

}  // namespace sage
