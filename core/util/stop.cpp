#include "core/util/stop.h"

#include <fmt/format.h>

#include <atomic>

namespace sage {
namespace {

std::atomic<bool> g_stop{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler sets it");

}  // namespace

void request_stop() noexcept { g_stop = true; }
bool stop_requested() noexcept { return g_stop; }
void forget_stop() noexcept { g_stop = false; }

void stop_here(const std::string& where, const std::string& kept) {
  if (stop_requested()) throw Stopped(fmt::format("{}: stopped as asked; {}", where, kept));
}

}  // namespace sage
