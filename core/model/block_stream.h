// The blocks of a model one after another, held by the backend (core/backend/memory.h): while one computes, a worker thread
// loads and holds the next.
//
//   BlockStream blocks(family, source, backend);
//   for (int i = 0; i < config.layers; ++i) forward_block(family, config, blocks.next(), ...);
//
// Two blocks are in memory at most (one where nothing is loaded ahead). What comes out does not depend on whether it was loaded
// ahead, and an error of the worker is thrown by the next() of its own block.
#pragma once

#include <cstddef>
#include <functional>
#include <future>
#include <optional>
#include <vector>

#include "core/model/forward.h"

namespace sage {

class BlockStream {
 public:
  // Loads a block; called for one layer at a time, on a thread of its own where blocks are loaded ahead.
  using Load = std::function<BlockWeights(int layer)>;
  // Loading ahead pays where the host has nothing else to do: a backend in host memory computes with all of its cores.
  static bool pays(const Backend& backend) { return !backend.memory_is_host(); }

  // Blocks in the order of `layers`. The backend, and what `load` refers to, must outlive the object.
  BlockStream(const Backend& backend, std::vector<int> layers, Load load, bool ahead);
  BlockStream(const Backend& backend, std::vector<int> layers, Load load)
      : BlockStream(backend, std::move(layers), std::move(load), pays(backend)) {}
  // The model as it is, `passes` times from its first block to its last.
  BlockStream(const Family& family, const WeightSource& source, const Backend& backend, int64_t passes = 1);
  BlockStream(const BlockStream&) = delete;
  BlockStream& operator=(const BlockStream&) = delete;

  // The next block; the one before it ends. Throws what loading it threw, and an internal error behind the last block.
  const BlockWeights& next();

 private:
  struct Block {
    BlockWeights weights;
    std::vector<HeldMemory> held;  // ends before the weights do
  };
  void start();

  const Backend& backend_;
  const std::vector<int> layers_;
  const Load load_;
  const bool ahead_;
  size_t started_ = 0;  // layers_ whose loading was asked for
  std::optional<Block> current_;
  std::future<Block> coming_;  // the last member: its end waits for the worker, which uses the others
};

}  // namespace sage
