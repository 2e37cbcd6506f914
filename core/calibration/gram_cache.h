// Grams on disk, so that runs with the same statistics (the first decoder block of all of them; every block with
// `propagation: original`) collect them once.
//
// One safetensors file per key and input group: the upper triangle row by row (m (m + 1) / 2 floats), its SHA-256, the key and
// the counts. The key is a text of everything that shapes the Gram (gram_key); its SHA-256 names the file. Files are written
// under another name and renamed, so a killed run leaves no half file; a file that is damaged or belongs to another key is
// reported, removed and counts as absent. The least recently used files go when the folder exceeds its budget.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/calibration/gram.h"
#include "core/util/lru_folder.h"

namespace sage {

// What a Gram of one model on one set of samples depends on. `propagated` says what the layers before it were: "" for the
// model's own weights, otherwise a digest of how they were quantized.
std::string gram_key(const std::string& model_digest, const std::string& samples_digest, GramPrecision precision,
                     const std::string& backend, int layer, const std::string& propagated);

class GramCache {
 public:
  // "" = cache_folder()/grams. The folder is made when something is stored. budget_bytes 0: nothing is stored or found.
  GramCache(const std::string& folder, uint64_t budget_bytes);
  // `group` is the input group of the layer ("qkv"). Nothing if it is not there, damaged, or not cols x cols.
  std::optional<Gram> find(const std::string& key, const std::string& group, int64_t cols) const;
  // Stores a copy unless it is larger than the budget; then frees room. A disk that does not take it costs a warning, not the
  // run.
  void store(const std::string& key, const std::string& group, const Gram& gram) const;
  std::string path(const std::string& key, const std::string& group) const;
  const std::string& folder() const { return files_.folder(); }

 private:
  LruFolder files_;
};

}  // namespace sage
