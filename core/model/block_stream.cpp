#include "core/model/block_stream.h"

#include <omp.h>

#include "core/util/errors.h"

namespace sage {
namespace {

std::vector<int> all_layers(const ModelConfig& config, int64_t passes) {
  std::vector<int> layers;
  for (int64_t pass = 0; pass < passes; ++pass)
    for (int layer = 0; layer < config.layers; ++layer)
      layers.push_back(layer);
  return layers;
}

}  // namespace

BlockStream::BlockStream(const Backend& backend, std::vector<int> layers, Load load, bool ahead)
    : backend_(backend), layers_(std::move(layers)), load_(std::move(load)), ahead_(ahead) {
  start();
}

BlockStream::BlockStream(const Family& family, const WeightSource& source, const Backend& backend, int64_t passes)
    : BlockStream(backend, all_layers(source.config(), passes),
                  [&family, &source](int layer) { return load_block(family, source, layer); }) {}

void BlockStream::start() {
  if (started_ == layers_.size()) return;
  const int layer = layers_[started_++];
  // A deferred task runs inside get(), on the thread that asks. To OpenMP a new thread is one that nobody told how many to use.
  coming_ = std::async(ahead_ ? std::launch::async : std::launch::deferred, [this, layer, threads = omp_get_max_threads()] {
    omp_set_num_threads(threads);
    Block block;
    block.weights = load_(layer);
    block.held = hold(backend_, block.weights);
    return block;
  });
}

const BlockWeights& BlockStream::next() {
  current_.reset();
  if (!coming_.valid()) throw Error(ExitCode::kInternalError, "block stream: a block behind the last one was asked for");
  current_.emplace(coming_.get());
  start();
  return current_->weights;
}

}  // namespace sage
