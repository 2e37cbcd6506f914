// A folder of cached files with a byte budget: when it is exceeded, the least recently used files go.
//
// Entries are files named by 32 hexadecimal digits and the suffix, so that nothing else in the folder is ever touched. "Used"
// is the time of last modification. Several processes may share a folder: who removes a file that another has just opened or
// mapped does it no harm, since the data live until that one lets go.
//
// A cache that cannot be written (a read-only or full disk, no home folder) costs time, never a result: warn_without_cache().
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace sage {

// Says once per process that caches do not work, and why; further troubles only with -v.
void warn_without_cache(const std::string& why);

class LruFolder {
 public:
  // suffix with its dot: ".gram"
  LruFolder(std::string folder, std::string suffix, uint64_t budget_bytes);
  const std::string& folder() const { return folder_; }
  uint64_t budget_bytes() const { return budget_bytes_; }
  // The file for a key, which may be any text.
  std::string path(const std::string& key) const;
  void mark_used(const std::string& path) const;
  // Removes files until the rest fits, oldest first, but neither `keep` nor a file in use by this process; and what killed runs
  // left half written, once it is an hour old. Never fails: what cannot be removed stays.
  void evict(const std::string& keep) const;

  // While one of these lives, evict() in this process leaves the file alone. Thread-safe.
  class InUse {
   public:
    explicit InUse(const std::string& path);
    ~InUse();
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;

   private:
    std::string path_;
  };

 private:
  bool is_entry(const std::string& name) const;
  std::string folder_, suffix_;
  uint64_t budget_bytes_;
};

}  // namespace sage
