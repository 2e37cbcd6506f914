#include "core/util/log_once.h"

#include <mutex>
#include <set>

#include "core/util/log.h"

namespace sage {

void log_warning_once(const std::string& text) {
  static std::mutex mutex;
  static std::set<std::string>* const said = new std::set<std::string>;
  const std::lock_guard<std::mutex> lock(mutex);
  if (said->insert(text).second) log_warning("{}", text);
}

}  // namespace sage
