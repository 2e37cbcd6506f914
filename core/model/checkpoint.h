// A full-precision Hugging Face checkpoint on disk, single file or sharded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/model/family.h"
#include "core/model/safetensors.h"
#include "core/model/weight_source.h"

namespace sage {

// The safetensors files of one directory as one set of tensors. model.safetensors wins over an index, as in transformers.
// Index entries that leave the directory, name a missing shard or a tensor the shard does not hold are ResourceErrors.
class TensorFiles {
 public:
  explicit TensorFiles(const std::string& folder);
  // Puts `prefix` before every name but `except` that has it not and whose longer form is free. Places keep the files' own
  // names.
  void add_prefix(const std::string& prefix, const std::string& except);

  struct Place {
    const SafetensorsFile* file = nullptr;
    const TensorInfo* tensor = nullptr;
  };
  bool has(const std::string& name) const { return places_.count(name) != 0; }
  Place at(const std::string& name) const;  // ResourceError with the nearest name if absent
  const std::map<std::string, Place>& places() const { return places_; }
  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, Place> places_;
};

// SHA-256 over (name, dtype, shape, bytes) of all tensors in name order, whatever the sharding.
//
// Remembered in the cache folder, so a model is hashed once, under the names of its tensors and, for every file, real path, device,
// inode, size, times of modification and of change (ctime, which no program can set back), and a SHA-256 of kSampledBlocks blocks
// spread over the file, first and last among them. Not remembered when a file changed less than kSettledSeconds ago, since a second
// change within one tick of the file system's clock would leave no trace in its times. A cache that cannot be read or written is
// passed over.
//
// Cost: hashing runs at 1.4 GB/s (SHA extensions, one core; without them about 0.4) once the file is in memory: 0.2 s for 270 MB,
// 10 s for 13 GB. Looking up costs 256 KiB of reads a file, below a millisecond.
inline constexpr int kSampledBlocks = 64;
inline constexpr double kSettledSeconds = 0.1;
std::string digest_of(const TensorFiles& files);

// A digest that is made when it is first asked for. Thread-safe.
class LazyDigest {
 public:
  template <class F>
  const std::string& get(F make) const {
    std::call_once(once_, [&] { digest_ = make(); });
    return digest_;
  }

 private:
  mutable std::once_flag once_;
  mutable std::string digest_;
};
// A head of its own counts where it differs from the embedding, whatever tie_word_embeddings says: then the flag becomes false in
// `config`, and a note is added. So transformers 5 does (tie_weights); equal tensors, or a head that is absent, leave the flag as
// it is. Cost: both tensors are compared up to their first difference, where the flag is true and the file has both.
void keep_own_head(const TensorFiles& files, ModelConfig& config);

// Every tensor the forward pass reads, besides the linear layers `skips` names, holds finite numbers. ResourceError naming the
// first that does not, and the place. Cost: one pass over these tensors, a few MiB of memory.
void check_finite_tensors(const TensorFiles& files, const Family& family, const ModelConfig& config,
                          const std::function<bool(const std::string&)>& skips);

// Checkpoints saved from the bare decoder (OPTModel, LlamaModel) lack the leading "model." of all names but the head's; here
// they have it, so that one model has one set of names.
class CheckpointSource final : public WeightSource {
 public:
  explicit CheckpointSource(const std::string& folder);
  const TensorFiles& tensor_files() const { return files_; }

  const ModelConfig& config() const override { return config_; }
  const std::string& folder() const override { return folder_; }
  std::vector<std::string> names() const override;
  bool has(const std::string& name) const override { return files_.has(name); }
  std::vector<int64_t> shape(const std::string& name) const override;
  Matrix load_linear(const std::string& name) const override;
  std::vector<float> load_vector(const std::string& name) const override;
  Matrix load_rows(const std::string& name, std::span<const int32_t> rows) const override;
  void release(const std::string& name) const override;
  std::string digest() const override;

 private:
  std::string folder_;
  ModelConfig config_;
  TensorFiles files_;
  LazyDigest digest_;
};

}  // namespace sage
