// A whole model through the kernels of the CUDA backend, executed on the CPU: quantized, written, read back and scored, next to
// the CPU backend.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "core/eval/perplexity.h"
#include "core/model/parity.h"
#include "core/model/synthetic.h"
#include "core/pipeline/quantize_model.h"
#include "core/util/files.h"
#include "kernels/backends.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "tests/pipeline/calibrated.h"
#include "tests/support/expect_error.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

constexpr int64_t kLength = 24, kWindows = 3;
// FP32 sums in another order, through two blocks and a head.
constexpr double kRelative = 1e-4;

class ToyModel : public testing::TestWithParam<const char*> {
 protected:
  ToyModel() {
    if (const char* before = std::getenv("SAGEPTQ_CACHE")) cache_before_ = before;
    setenv("SAGEPTQ_CACHE", folder_.file("cache").c_str(), 1);
    write_synthetic_checkpoint(find_synthetic_shape("toy"), folder_.file("model"), 2, DType::kF32, 5);
    source_.emplace(folder_.file("model"));
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < kLength * kWindows; ++i)
      ids.push_back(static_cast<int32_t>(i * i * 7 % 2039));
    windows_ = cut_windows(ids, find_protocol("gptq-24"), 0, std::nullopt);
  }
  ~ToyModel() override {
    if (cache_before_)
      setenv("SAGEPTQ_CACHE", cache_before_->c_str(), 1);
    else
      unsetenv("SAGEPTQ_CACHE");
  }
  struct Outcome {
    std::string bytes;  // of the packed file
    PerplexityResult scores;
  };
  // A preset as it ships, from weights to scores, all on one backend.
  Outcome run(const Backend& backend) const {
    const Value preset = parse_yaml_file(std::string(SAGE_SOURCE) + "/experiments/presets/" + GetParam() + ".yaml");
    const PipelineFactory factory(canonical_pipeline(*preset.find("pipeline"), test::registries()), test::registries());
    CalibrationConfig config;
    config.samples = 4;
    config.length_tokens = kLength;
    const CalibrationJob calibration{test::draw(source_->config().vocab_size, config.samples, kLength, 0), config};
    const std::string packed = folder_.file("packed " + backend.name());
    quantize_model({*source_, factory, test::registries(), backend, 1, packed, "", false, {}, {}, &calibration});
    EvalOptions options;
    options.progress = false;
    const Reference reference{&*source_, FinalStates::of(*source_, windows_, backend, options)};
    const PackedSource weights(packed, test::registries(), backend);
    return {read_file(packed + "/model.safetensors"), evaluate_perplexity(weights, windows_, backend, options, &reference)};
  }

  TemporaryFolder folder_;
  std::optional<CheckpointSource> source_;
  TokenWindows windows_;

 private:
  std::optional<std::string> cache_before_;
};
INSTANTIATE_TEST_SUITE_P(Presets, ToyModel, testing::Values("sage_paper", "rtn", "gptq"));

TEST_P(ToyModel, OnTheDeviceAsOnTheHost) {
  const auto device = make_cuda_on_cpu_backend();
  device->record_timeline(true);
  const Outcome there = run(*device), here = run(test::cpu());
  const bool calibrated = std::string(GetParam()) == "gptq";
  if (!calibrated) {
    EXPECT_EQ(there.bytes, here.bytes);
  } else {
    // Activations differ in their last bits, so a weight half-way between two levels may take the other one.
    ASSERT_EQ(there.bytes.size(), here.bytes.size());
    int64_t differing = 0;
    for (size_t i = 0; i < here.bytes.size(); ++i)
      differing += there.bytes[i] != here.bytes[i];
    EXPECT_LE(differing, static_cast<int64_t>(here.bytes.size()) / 1000);
    RecordProperty("differing_bytes", std::to_string(differing));
  }
  EXPECT_NEAR(there.scores.perplexity / here.scores.perplexity, 1, kRelative);
  EXPECT_GT(here.scores.kl_mean.mean, 0);
  EXPECT_NEAR(there.scores.kl_mean.mean / here.scores.kl_mean.mean, 1, 10 * kRelative);
  EXPECT_NEAR(there.scores.top1_mean.mean, here.scores.top1_mean.mean, 1.0 / static_cast<double>(kLength * kWindows));

  // Both sides of the overlap are on record, and all that was taken is given back.
  std::map<std::string, int> spans;
  for (const TimelineEntry& e : device->timeline()) {
    ++spans[e.stream + " " + e.what];
    EXPECT_GE(e.end_s, e.start_s);
  }
  EXPECT_EQ(spans["compute block 0"], calibrated ? 3 : 2);  // the reference, the packed model, and calibration
  EXPECT_GE(spans["compute head"], 2);
  EXPECT_GE(spans["transfer 2048 x 64"], 1);  // the head
  EXPECT_EQ(device->device_memory().in_use, 0u);
  EXPECT_GT(device->device_memory().peak, 2048u * 64 * sizeof(float));
}

// A model whose heads no kernel of the device can take is refused before anything is read or written.
TEST(WideHeads, AreRefusedBeforeTheWork) {
  const TemporaryFolder folder;
  write_synthetic_checkpoint(find_synthetic_shape("toy-wide-heads"), folder.file("model"), 1, DType::kF32, 5);
  const CheckpointSource source(folder.file("model"));
  const Family& family = find_family(source.config());
  const auto device = make_cuda_on_cpu_backend();
  const auto expect_refused = [](const auto& f) {
    test::expect_words(test::message_of<ResourceError>(f), {"heads of 512 values; expected at most 256; use --device cpu"});
  };
  expect_refused([&] { check_forward(family, source.config(), *device); });
  EXPECT_NO_THROW(check_forward(family, source.config(), test::cpu()));

  const PipelineFactory factory(
      canonical_pipeline(*parse_yaml_file(std::string(SAGE_SOURCE) + "/experiments/presets/gptq.yaml").find("pipeline"),
                         test::registries()),
      test::registries());
  CalibrationConfig config;
  config.samples = 1;
  config.length_tokens = kLength;
  const CalibrationJob calibration{test::draw(source.config().vocab_size, 1, kLength, 0), config};
  const std::string out = folder.file("packed");
  expect_refused([&] {
    quantize_model({source, factory, test::registries(), *device, 1, out, "", false, {}, {}, &calibration});
  });
  EXPECT_FALSE(std::filesystem::exists(out + ".work"));

  const TokenWindows windows = cut_windows(std::vector<int32_t>(kLength, 1), find_protocol("gptq-24"), 0, std::nullopt);
  EvalOptions options;
  options.progress = false;
  bool scored = false;
  expect_refused([&] { run_windows(source, windows, *device, options, [&](int64_t, WeightView) { scored = true; }); });
  EXPECT_FALSE(scored);
  // Before its file is looked at: this one is of another model.
  const SafetensorsFile expected(SAGE_TEST_DATA "/hf/llama_mha/expected.safetensors");
  expect_refused([&] { check_parity(family, source, expected, *device, 1e-4); });
  EXPECT_EQ(device->device_memory().peak, 0u) << "the device was used";
}

}  // namespace
}  // namespace sage
