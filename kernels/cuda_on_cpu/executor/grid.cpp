// Blocks over OS threads, and the options.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/util/processors.h"
#include "kernels/cuda_on_cpu/executor/block_runner.h"

namespace kx {
namespace {

constexpr int kErrorInvalidConfiguration = 9;
constexpr size_t kMaxSharedBytes = 99 * 1024;

template <class T>
T number_from_environment(const char* name, T otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr) return otherwise;
  const std::string_view view(text);
  T value{};
  const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), value);
  if (error != std::errc() || end != view.data() + view.size() || value < T{})
    throw std::invalid_argument(std::string(name) + ": '" + text + "'; expected a whole number; change or unset it");
  return value;
}

Options options_from_environment() {
  Options o;
  o.workers = number_from_environment("KX_WORKERS", o.workers);
  o.seed = number_from_environment("KX_SEED", o.seed);
  o.cross_block_races = number_from_environment("KX_CROSS_BLOCK", 0) != 0;
  if (const char* text = std::getenv("KX_ORDER")) {
    const std::string_view order(text);
    if (order == "reverse")
      o.order = Order::kReverse;
    else if (order == "random")
      o.order = Order::kRandom;
    else if (order != "forward")
      throw std::invalid_argument("KX_ORDER: '" + std::string(order) +
                                  "'; expected forward, reverse or random; change or unset it");
  }
  return o;
}

bool valid(const Launch& l) {
  const uint64_t threads = uint64_t{l.block.x} * l.block.y * l.block.z;
  return l.block.x <= kMaxThreads && l.block.y <= kMaxThreads && l.block.z <= 64 && threads > 0 && threads <= kMaxThreads &&
         l.grid.x > 0 && l.grid.y > 0 && l.grid.z > 0 && l.grid.x <= 0x7fffffffu && l.grid.y <= 65535 && l.grid.z <= 65535 &&
         l.shared_bytes <= kMaxSharedBytes;
}

// The blocks of a launch, handed out one by one in the order of the options.
class Grid {
 public:
  explicit Grid(const Launch& launch)
      : launch_(launch), total_(uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z), order_(options().order) {
    if (order_ != Order::kRandom) return;
    offset_ = options().seed % total_;
    step_ = (options().seed * 0x9e3779b97f4a7c15u) % std::min<uint64_t>(total_, 0x80000000u);
    while (std::gcd(step_, total_) != 1)
      ++step_;  // so that multiples of it visit every block once
  }
  // Runs blocks until there are none left or one has a fault.
  void work() {
    static thread_local std::unique_ptr<BlockRunner> runner;  // keeps its stacks between launches
    if (runner == nullptr) runner = std::make_unique<BlockRunner>();
    runner->begin_grid(launch_);
    for (uint64_t i = next_.fetch_add(1); i < total_; i = next_.fetch_add(1)) {
      const uint64_t block = block_at(i);
      const std::string& fault = runner->run_block(block);
      if (fault.empty()) continue;
      next_ = total_;
      const uint64_t gx = launch_.grid.x, gy = launch_.grid.y;
      const std::lock_guard lock(mutex_);
      if (fault_.empty())
        fault_ = "kernel '" + std::string(launch_.name) + "', block (" + std::to_string(block % gx) + "," +
                 std::to_string(block / gx % gy) + "," + std::to_string(block / (gx * gy)) + "): " + fault;
    }
    runner->end_grid();
  }
  bool one_block() const { return total_ == 1; }
  const std::string& fault() const { return fault_; }

 private:
  uint64_t block_at(uint64_t i) const {
    switch (order_) {
      case Order::kForward: return i;
      case Order::kReverse: return total_ - 1 - i;
      case Order::kRandom: return static_cast<uint64_t>((static_cast<unsigned __int128>(step_) * i + offset_) % total_);
    }
    return i;
  }

  const Launch& launch_;
  const uint64_t total_;
  const Order order_;
  uint64_t offset_ = 0, step_ = 1;
  std::atomic<uint64_t> next_{0};
  std::mutex mutex_;
  std::string fault_;
};

#ifndef KX_SERIAL
constexpr int kMostDefaultWorkers = 16;  // a block of 1024 stacks takes 2048 mappings, and Linux gives a process 65530

// The workers besides the caller.
class Pool {
 public:
  explicit Pool(int workers) {
    for (int i = 1; i < workers; ++i)
      threads_.emplace_back([this] { serve(); });
  }
  ~Pool() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : threads_)
      t.join();
  }
  void run(Grid& grid) {
    {
      const std::lock_guard lock(mutex_);
      grid_ = &grid;
      ++generation_;
      busy_ = threads_.size();
    }
    wake_.notify_all();
    grid.work();
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [&] { return busy_ == 0; });
  }
  int workers() const { return static_cast<int>(threads_.size()) + 1; }

 private:
  void serve() {
    uint64_t seen = 0;
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stop_ || generation_ != seen; });
      if (stop_) return;
      seen = generation_;
      Grid* grid = grid_;
      lock.unlock();
      grid->work();
      lock.lock();
      if (--busy_ == 0) idle_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::vector<std::thread> threads_;
  Grid* grid_ = nullptr;
  uint64_t generation_ = 0;
  size_t busy_ = 0;
  bool stop_ = false;
};

int wanted_workers() {
  if (options().workers > 0) return options().workers;
  return std::clamp(sage::default_threads().count, 1, kMostDefaultWorkers);
}
#endif

}  // namespace

Options& options() {
  static Options o = options_from_environment();
  return o;
}

int run_grid(const Launch& launch) {
  if (!valid(launch)) return kErrorInvalidConfiguration;
  Grid grid(launch);
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
#ifdef KX_SERIAL
  grid.work();
#else
  static std::unique_ptr<Pool> pool;
  if (grid.one_block()) {
    grid.work();
  } else {
    if (pool == nullptr || pool->workers() != wanted_workers()) {
      pool.reset();
      pool = std::make_unique<Pool>(wanted_workers());
    }
    pool->run(grid);
  }
#endif
  if (!grid.fault().empty()) throw KernelFault(grid.fault());
  return 0;
}

}  // namespace kx
