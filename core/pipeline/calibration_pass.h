// Runs calibration samples through a model, block by block, and hands out the Grams of each block's inputs.
//
//   propagation quantized   the Grams of block i come from its original weights, on the outputs of the quantized blocks before
//   it
//                           (GPTQ, PB-LLM, BiLLM): two forward passes a block
//   propagation original    on the outputs of the original blocks: one pass, and the same Grams for every method
//   layer_order sequential  the Grams of one group of linears at a time, with the groups before it quantized: a pass for each
//                           group of the block, and one more for its outputs (GPTQ, --true-sequential)
//
// In memory: one block's weights (two on a device), its Grams, one sequence of activations, and the hidden states (N x L x d
// floats of host memory, in a mapped file beyond hidden_states_bytes; a device is sent one sequence at a time). Forward passes
// run only when a Gram is not in the cache; blocks before it are then caught up with, which is also how a killed run gets back
// to the block it was in.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/calibration/calibration_config.h"
#include "core/calibration/gram.h"
#include "core/calibration/gram_cache.h"
#include "core/calibration/hidden_states.h"
#include "core/calibration/sampler.h"
#include "core/model/block_stream.h"
#include "core/model/checkpoint.h"
#include "core/model/forward.h"
#include "core/util/log.h"

namespace sage {

struct CalibrationJob {
  SampleSet samples;
  CalibrationConfig config;
};
// Everything of a job that shapes results, as one line of text.
std::string calibration_key(const CalibrationJob& job);
// Forward passes of all samples through each block.
int passes_per_block(const CalibrationConfig& config, const Family& family);

class CalibrationPass {
 public:
  // Puts the quantized weights of a finished block, as decoded from its file, in place of the original ones.
  using Replace = std::function<void(int layer, BlockWeights& block)>;

  // `quantization` names what the quantized blocks are (the fingerprint of the run). All references must outlive the object.
  CalibrationPass(const CheckpointSource& source, const CalibrationJob& job, const Backend& backend, std::string quantization, Replace replace);

  // Grams of block `layer` for the given groups of linears. Layers are asked for in ascending order; with propagation quantized all
  // earlier blocks must be finished. RunError: a group was never seen, activations that are not finite.
  // With layer_order sequential, `amend` puts the layers of the block itself that are quantized already in place of the original
  // ones; each call is then a pass of its own.
  using Amend = std::function<void(BlockWeights& block)>;
  std::map<std::string, Gram> collect(int layer, const std::map<std::string, int64_t>& columns_of_group, const Amend& amend = {});

  double seconds() const { return seconds_; }  // spent in collect()

 private:
  void start();
  BlockStream blocks_up_to(int layer, const Amend& amend);
  void advance_to(int layer, BlockStream& blocks);
  // Runs sequence i through a block; hidden_ keeps its outputs if asked to.
  void run_sequence(int64_t i, const BlockWeights& block, bool keep, const InputObserver& observe = {});

  const CheckpointSource& source_;
  const CalibrationJob& job_;
  const Backend& backend_;
  std::string quantization_;
  Replace replace_;
  const Family& family_;
  GramCache cache_;
  std::optional<HiddenStates> hidden_;
  int position_ = 0;  // hidden_ holds the inputs of this block
  BackendMatrix sequence_;  // where hidden_'s own memory cannot be worked in
  Workspace workspace_;
  Progress progress_;
  double seconds_ = 0;
};

}  // namespace sage
