// Checkpoints of one file and of shards, their digest, and what happens when parts are missing.
#include "core/model/checkpoint.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/model/family.h"
#include "core/util/errors.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

namespace fs = std::filesystem;

constexpr const char* kQ = "model.layers.0.self_attn.q_proj.weight";

// Points the cache at a folder of the test.
class Checkpoint : public testing::Test {
 protected:
  void SetUp() override { setenv("SAGEPTQ_CACHE", cache_.path().c_str(), 1); }
  void TearDown() override { unsetenv("SAGEPTQ_CACHE"); }

  // Writes all tensors of a checkpoint into one file; `spoil` may change a tensor's bytes.
  static void write_single(const TensorFiles& files, const std::string& path,
                           const std::function<void(const std::string&, std::string&)>& spoil = {}) {
    SafetensorsWriter w;
    std::vector<std::unique_ptr<std::string>> kept;
    for (const auto& [name, place] : files.places()) {
      const auto bytes = place.file->bytes(*place.tensor);
      kept.push_back(std::make_unique<std::string>(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
      if (spoil) spoil(name, *kept.back());
      w.add(name, place.tensor->dtype, place.tensor->shape, std::as_bytes(std::span(kept.back()->data(), kept.back()->size())));
    }
    w.write(path);
  }

  // Digests of files that changed just now are not remembered.
  static void settle() { std::this_thread::sleep_for(std::chrono::duration<double>(1.5 * kSettledSeconds)); }
  int64_t remembered() const {
    const std::string folder = cache_.file("digests");
    return fs::exists(folder) ? std::distance(fs::directory_iterator(folder), fs::directory_iterator()) : 0;
  }
  // Another bit in the last tensor, everywhere else the same bytes.
  void change_one_bit() const {
    std::fstream file(dir_.file("model.safetensors"), std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(-1, std::ios::end);
    const char last = static_cast<char>(file.get() ^ 1);
    file.seekp(-1, std::ios::end);
    file.put(last);
  }

  TemporaryFolder cache_, dir_;
};

TEST_F(Checkpoint, DigestDoesNotDependOnSharding) {
  const CheckpointSource sharded(model_folder("llama_bias_f16_sharded"));
  EXPECT_EQ(sharded.tensor_files().files().size(), 2u);
  fs::copy(model_folder("llama_bias_f16_sharded") + "/config.json", dir_.file("config.json"));
  write_single(sharded.tensor_files(), dir_.file("model.safetensors"));
  const CheckpointSource single(dir_.path());
  EXPECT_EQ(single.digest(), sharded.digest());
  EXPECT_EQ(single.names(), sharded.names());
  EXPECT_NE(single.digest(), CheckpointSource(model_folder("llama_mha")).digest());
  const Matrix a = single.load_linear(kQ), b = sharded.load_linear(kQ);
  for (int64_t i = 0; i < a.size(); ++i)
    ASSERT_EQ(a.data()[i], b.data()[i]);
}

TEST_F(Checkpoint, DigestIsRememberedUntilAFileChanges) {
  dir_.copy_model("llama_gqa_tied_bf16");
  const TensorFiles files(dir_.path());
  const std::string digest = digest_of(files);
  EXPECT_EQ(digest.size(), 64u);
  EXPECT_EQ(remembered(), 0) << "a file just written may change again within one tick of the clock";
  settle();
  EXPECT_EQ(digest_of(files), digest);
  EXPECT_EQ(remembered(), 1);
  EXPECT_EQ(digest_of(files), digest);
  // What is remembered is what is used: a known digest spares reading the model.
  const fs::path side = fs::directory_iterator(cache_.file("digests"))->path();
  std::ofstream(side) << std::string(64, 'a');
  EXPECT_EQ(digest_of(files), std::string(64, 'a'));
  std::ofstream(side) << "rubbish";
  EXPECT_EQ(digest_of(files), digest);
  // One changed bit in the weights is another model.
  change_one_bit();
  settle();
  EXPECT_NE(digest_of(TensorFiles(dir_.path())), digest);
  EXPECT_EQ(remembered(), 2);
  // An unusable cache costs time only.
  const std::string file = dir_.write("not-a-folder", "x");
  setenv("SAGEPTQ_CACHE", file.c_str(), 1);
  EXPECT_EQ(digest_of(TensorFiles(model_folder("llama_gqa_tied_bf16"))), digest);
}

TEST_F(Checkpoint, SeesEditsThatKeepPathSizeAndTime) {
  dir_.copy_model("llama_mha");
  const std::string path = dir_.file("model.safetensors");
  const auto digest = [&] { return digest_of(TensorFiles(dir_.path())); };
  settle();
  const auto time = fs::last_write_time(path);
  const std::string before = digest();
  EXPECT_EQ(remembered(), 1);
  // As `touch -r` and os.utime do.
  change_one_bit();
  fs::last_write_time(path, time);
  const std::string edited = digest();
  EXPECT_NE(edited, before);
  settle();
  EXPECT_EQ(digest(), edited);
  // Another file moved into its place, as `cp -p` and a rename do.
  const std::string other = dir_.file("other");
  fs::copy(model_folder("llama_mha") + "/model.safetensors", other);
  fs::last_write_time(other, time);
  fs::rename(other, path);
  EXPECT_EQ(digest(), before);
  settle();
  EXPECT_EQ(digest(), before);
}

// Names come from the family, that is, from config.json: what is remembered must not outlive them.
TEST_F(Checkpoint, RemembersDigestsUnderTheNamesOfTheTensors) {
  dir_.copy_model("llama_mha");
  settle();
  TensorFiles files(dir_.path());
  const std::string plain = digest_of(files);
  files.add_prefix("decoder.", "");
  EXPECT_NE(digest_of(files), plain);
  EXPECT_EQ(remembered(), 2);
}

TEST_F(Checkpoint, LooksUpRowsAndRefusesIdsOutsideTheVocabulary) {
  const CheckpointSource s(model_folder("llama_gqa_tied_bf16"));
  const std::string name = "model.embed_tokens.weight";
  const Matrix all = s.load_linear(name);
  const std::vector<int32_t> ids = {319, 0, 319, 17};
  const Matrix rows = s.load_rows(name, ids);
  ASSERT_EQ(rows.rows(), 4);
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < rows.cols(); ++j)
      ASSERT_EQ(rows(i, j), all(ids[static_cast<size_t>(i)], j));
  for (const int32_t id : {-1, 320}) {
    const std::vector<int32_t> one = {id};
    EXPECT_ERROR(ResourceError, s.load_rows(name, one), name, "row " + std::to_string(id) + " of 320");
  }
  s.release(name);
  EXPECT_EQ(s.load_linear(name)(17, 3), all(17, 3));
}

TEST_F(Checkpoint, NamesWhatIsMissing) {
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.file("none")), "none", "no such folder");
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "config.json", "not found");
  fs::copy(model_folder("llama_mha") + "/config.json", dir_.file("config.json"));
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "neither model.safetensors nor model.safetensors.index.json");
  dir_.write("pytorch_model.bin", "x");
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "convert pytorch_model.bin to safetensors");
  const CheckpointSource s(model_folder("llama_mha"));
  EXPECT_ERROR(ResourceError, s.load_linear("model.layers.0.self_attn.q_porj.weight"), "no tensor", kQ);
  EXPECT_ERROR(ResourceError, s.load_vector(kQ), kQ, "one dimension");
}

TEST_F(Checkpoint, RefusesBrokenIndexes) {
  dir_.copy_model("llama_bias_f16_sharded");
  const std::string index_path = dir_.file("model.safetensors.index.json");
  const nlohmann::json index = nlohmann::json::parse(slurp(index_path));
  const auto with_shard = [&](const nlohmann::json& shard) {
    nlohmann::json changed = index;
    changed["weight_map"][kQ] = shard;
    dir_.write("model.safetensors.index.json", changed.dump());
  };
  for (const nlohmann::json& hostile :
       std::vector<nlohmann::json>{"../model.safetensors", "/etc/passwd", "a/b.safetensors", "..", "", "a\\b",
                                   std::string("a\0b", 3), 3, nullptr, nlohmann::json::array()}) {
    with_shard(hostile);
    EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), kQ, "beside the index");
  }
  with_shard("model-00003-of-00002.safetensors");
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "shard 'model-00003-of-00002.safetensors' is missing", kQ);
  with_shard("model-00002-of-00002.safetensors");
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), kQ, "is not in shard 'model-00002-of-00002.safetensors'");
  nlohmann::json without = index;
  without["weight_map"].erase(kQ);
  dir_.write("model.safetensors.index.json", without.dump());
  const CheckpointSource s(dir_.path());
  EXPECT_ERROR(ResourceError, check_tensors(find_family(s.config()), s), "no tensor", kQ);
  for (const std::string text : {"", "[]", "{}", "{\"weight_map\":[]}", "{\"weight_map\":{"}) {
    dir_.write("model.safetensors.index.json", text);
    EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "model.safetensors.index.json");
  }
  dir_.write("model.safetensors.index.json", index.dump());
  fs::resize_file(dir_.file("model-00002-of-00002.safetensors"), 100000);
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "model-00002-of-00002.safetensors", "truncated");
  fs::remove(dir_.file("model-00002-of-00002.safetensors"));
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "model-00002-of-00002.safetensors' is missing");
}

TEST_F(Checkpoint, NamesNonFiniteWeights) {
  dir_.copy_model("llama_mha");
  write_single(TensorFiles(model_folder("llama_mha")), dir_.file("model.safetensors"),
               [](const std::string& name, std::string& bytes) {
                 const float nan = std::numeric_limits<float>::quiet_NaN();
                 if (name == kQ) bytes.replace(4 * (64 * 5 + 9), 4, reinterpret_cast<const char*>(&nan), 4);
               });
  const CheckpointSource s(dir_.path());
  EXPECT_ERROR(ResourceError, s.load_linear(kQ), dir_.file("model.safetensors"), kQ, "NaN at row 5, column 9");
}

TEST_F(Checkpoint, RefusesQuantizedDirectories) {
  dir_.copy_model("llama_mha");
  nlohmann::json config = nlohmann::json::parse(slurp(dir_.file("config.json")));
  config["quantization_config"] = {{"quant_method", "gptq"}};
  dir_.write("config.json", config.dump());
  EXPECT_ERROR(ResourceError, open_checkpoint(dir_.path()), "quantization_config", "'gptq'", "full-precision");
}

}  // namespace
}  // namespace sage
