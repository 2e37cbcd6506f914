// Talk on stderr (spdlog underneath); stdout is for data. Levels follow -q / -v.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

namespace sage {

enum class LogLevel { kQuiet, kWarning, kInfo, kDebug };
void set_log_level(LogLevel level);
LogLevel log_level();

void log_message(LogLevel level, const std::string& text);
template <class... A>
void log_info(fmt::format_string<A...> f, A&&... a) {
  if (log_level() >= LogLevel::kInfo) log_message(LogLevel::kInfo, fmt::format(f, std::forward<A>(a)...));
}
template <class... A>
void log_warning(fmt::format_string<A...> f, A&&... a) {
  log_message(LogLevel::kWarning, fmt::format(f, std::forward<A>(a)...));
}
// Nothing where this very text has been said before in this process: for what is met each time a file is read.
void log_warning_once(const std::string& text);
template <class... A>
void log_debug(fmt::format_string<A...> f, A&&... a) {
  if (log_level() >= LogLevel::kDebug) log_message(LogLevel::kDebug, fmt::format(f, std::forward<A>(a)...));
}

// One line that is rewritten on a terminal, and printed only at its end (and every 30 s) into a pipe.
//   Progress p("quantize", total, "matrices");  p.advance(1, "layer 3 q_proj");  p.finish();
class Progress {
 public:
  Progress(std::string task, double total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance(double amount, const std::string& detail = "");
  void finish();

 private:
  void draw(bool force);
  std::string task_, unit_, detail_;
  double total_, done_ = 0, started_, last_drawn_ = 0;
  bool terminal_, finished_ = false;
};

}  // namespace sage
