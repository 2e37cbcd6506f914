#include "core/util/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <set>

#include "core/util/files.h"

namespace sage {
namespace {

std::atomic<LogLevel> g_level{LogLevel::kInfo};

spdlog::logger& logger() {
  static spdlog::logger* const instance = [] {
    auto* l = new spdlog::logger("sageptq", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    l->set_pattern("%v");
    l->set_level(spdlog::level::debug);
    return l;
  }();
  return *instance;
}

std::string human_seconds(double s) {
  if (s < 100) return fmt::format("{:.0f} s", s);
  if (s < 6000) return fmt::format("{:.0f} min", s / 60);
  return fmt::format("{:.1f} h", s / 3600);
}

}  // namespace

void set_log_level(LogLevel level) { g_level = level; }
LogLevel log_level() { return g_level; }

void log_message(LogLevel level, const std::string& text) {
  switch (level) {
    case LogLevel::kWarning: logger().warn("warning: {}", text); break;
    case LogLevel::kDebug: logger().debug("{}", text); break;
    default: logger().info("{}", text); break;
  }
}

void log_warning_once(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string> said;
  {
    const std::lock_guard lock(mutex);
    if (!said.insert(text).second) return;
  }
  log_message(LogLevel::kWarning, text);
}

Progress::Progress(std::string task, double total, std::string unit)
    : task_(std::move(task)), unit_(std::move(unit)), total_(total), started_(now_seconds()), last_drawn_(started_),
      terminal_(isatty(STDERR_FILENO) != 0 && std::getenv("NO_PROGRESS") == nullptr) {}

Progress::~Progress() {
  if (terminal_ && !finished_ && log_level() >= LogLevel::kInfo) std::fputs("\r\033[K", stderr);
}

void Progress::advance(double amount, const std::string& detail) {
  done_ += amount;
  detail_ = detail;
  draw(false);
}

void Progress::draw(bool force) {
  if (log_level() < LogLevel::kInfo) return;
  const double now = now_seconds();
  if (!force && now - last_drawn_ < (terminal_ ? 0.2 : 30.0)) return;
  last_drawn_ = now;
  const double elapsed = now - started_;
  const double left = done_ > 0 ? elapsed * std::max(0.0, total_ - done_) / done_ : 0;
  std::string line = fmt::format("{}: {:.0f}/{:.0f} {}, {}", task_, done_, total_, unit_,
                                 finished_ ? human_seconds(elapsed) : human_seconds(left) + " left");
  if (!finished_ && !detail_.empty()) line += ", " + detail_;
  if (terminal_ && !finished_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
  } else {
    if (terminal_) std::fputs("\r\033[K", stderr);
    log_message(LogLevel::kInfo, line);
  }
}

void Progress::finish() {
  if (finished_) return;
  finished_ = true;
  draw(true);
}

}  // namespace sage
