// Calibration and quantization on a device whose memory the host cannot touch write the reference backend's bytes.
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>
#include <optional>

#include "core/backend/memory.h"
#include "core/eval/perplexity.h"
#include "core/pipeline/quantize_model.h"
#include "core/util/errors.h"
#include "kernels/backends.h"
#include "tests/pipeline/calibrated.h"
#include "tests/support/device_double.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

using test::expect_words;
using test::message_of;

constexpr const char* kGptq =
    "{quantizer: {type: uniform, bits: 3}, compensator: gptq, segment_columns: 16, block_columns: 32, dead_columns: zero}";
constexpr const char* kByActivation =
    "{quantizer: {type: uniform, bits: 3}, compensator: gptq, column_order: activation, segment_columns: 16, block_columns: "
    "32, dead_columns: zero}";
// Statistics of columns that change from block to block.
constexpr const char* kCompensatedSage =
    "{saliency: sigma, threshold: {type: fixed, ratio: 0.05}, grouping: {type: kmeans, groups: 3}, quantizer: binary, "
    "salient_quantizer: multibit,"
    " compensator: gptq, segment_columns: 16, block_columns: 16}";
constexpr const char* kRotated =
    "{transform: hadamard, quantizer: {type: uniform, bits: 3}, compensator: gptq, segment_columns: 16, block_columns: 32}";

class DeviceQuantization : public testing::Test {
 protected:
  DeviceQuantization() {
    if (const char* before = std::getenv("SAGEPTQ_CACHE")) cache_before_ = before;
    setenv("SAGEPTQ_CACHE", folder_.file("cache").c_str(), 1);
    config_.samples = 4;
    config_.length_tokens = 24;
    config_.cache_bytes = 0;
  }
  ~DeviceQuantization() override {
    if (cache_before_)
      setenv("SAGEPTQ_CACHE", cache_before_->c_str(), 1);
    else
      unsetenv("SAGEPTQ_CACHE");
  }
  // The bytes of the packed file.
  std::string quantize(const std::string& name, const Backend& backend, const std::string& pipeline) const {
    const PipelineFactory f = test::factory(pipeline);
    const CalibrationJob calibration{test::draw(source_.config().vocab_size, config_.samples, config_.length_tokens, 1),
                                     config_};
    QuantizeModelJob job{source_, f, test::registries(), backend, 1, folder_.file(name), "", false, {}, {}, &calibration};
    quantize_model(job);
    return read_file(folder_.file(name) + "/model.safetensors");
  }
  void expect_same(const std::string& pipeline) {
    SCOPED_TRACE(pipeline);
    const test::DeviceDouble device;
    const std::string n = std::to_string(runs_++);
    EXPECT_EQ(quantize("device" + n, device, pipeline), quantize("host" + n, *host_, pipeline));
    EXPECT_EQ(device.broken_promises(), 0);
    EXPECT_EQ(device.held_now(), 0);
    EXPECT_EQ(device.device_memory().in_use, 0u);
  }

  TemporaryFolder folder_;
  const CheckpointSource source_{model_folder("llama_gqa_tied_bf16")};
  const std::unique_ptr<Backend> host_ = make_backend("reference");
  CalibrationConfig config_;

 private:
  std::optional<std::string> cache_before_;
  int runs_ = 0;
};

TEST_F(DeviceQuantization, SageAndRounding) {
  expect_same(test::kSage);
  expect_same(
      "{saliency: none, threshold: {type: fixed}, grouping: single, quantizer: {type: uniform, bits: 3}, salient_quantizer: "
      "multibit}");
}

TEST_F(DeviceQuantization, Calibrated) {
  for (const Propagation propagation : {Propagation::kQuantized, Propagation::kOriginal})
    for (const GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
      config_.propagation = propagation;
      config_.gram = precision;
      expect_same(kGptq);
    }
  config_.hidden_states_bytes = 0;  // in a mapped file
  expect_same(kGptq);
  expect_same(kByActivation);
  expect_same(kRotated);
}

// During calibration a device is sent sequences and blocks; operations find everything there.
TEST_F(DeviceQuantization, CalibrationSendsNothingForSingleCalls) {
  for (const Propagation propagation : {Propagation::kQuantized, Propagation::kOriginal}) {
    config_.propagation = propagation;
    const test::DeviceDouble device;
    const CalibrationJob job{test::draw(source_.config().vocab_size, config_.samples, config_.length_tokens, 1), config_};
    CalibrationPass pass(source_, job, device, "", [](int, BlockWeights&) {});
    std::map<std::string, int64_t> columns;
    const Family& family = find_family(source_.config());
    for (const LinearSite& s : linear_sites(family, source_.config()))
      if (s.layer == 0) columns[s.group] = s.cols;
    for (int layer = 0; layer < source_.config().layers; ++layer)
      EXPECT_EQ(pass.collect(layer, columns).size(), columns.size());
    EXPECT_TRUE(device.host_bytes().empty()) << device.host_bytes().begin()->first;
  }
}

// The weights of a matrix go over once, however many operations look at them; so do those of its segments.
TEST_F(DeviceQuantization, MatricesGoOverOnce) {
  const test::Layer layer(48, 64, 3);
  for (const char* pipeline : {test::kSage, kByActivation, kRotated, kCompensatedSage}) {
    SCOPED_TRACE(pipeline);
    const test::DeviceDouble device;
    const PipelineFactory f = test::factory(pipeline);
    const MatrixJob job{.weights = layer.w.view(), .id = {0, test::kMatrixName}, .seed = 1, .hessian = layer.hessian.get()};
    const MatrixResult r = quantize_matrix(f, job, device);
    EXPECT_TRUE(test::same_planes(r.packed, quantize_matrix(f, job, *host_).packed));
    for (const char* operation : {"matrix_stats", "deviation_order_statistic", "deviation_above", "magnitude_histogram",
                                  "group_moments", "row_sq_sums", "column_sq_sums"})
      EXPECT_EQ(device.host_bytes(operation), 0u) << operation;
    EXPECT_EQ(device.broken_promises(), 0);
  }
}

// A packed model streams to the device block by block, decoded on the way.
TEST_F(DeviceQuantization, PackedModelsAreEvaluatedAlike) {
  quantize("packed", *host_, test::kSage);
  std::vector<int32_t> ids;
  for (int i = 0; i < 4 * 24; ++i)
    ids.push_back(static_cast<int32_t>(i * i % 1009 % source_.config().vocab_size));
  const TokenWindows windows = cut_windows(ids, find_protocol("gptq-24"), 0, std::nullopt);
  EvalOptions options;
  options.progress = false;
  const test::DeviceDouble device;
  const PackedSource on_device(folder_.file("packed"), test::registries(), device),
      on_host(folder_.file("packed"), test::registries(), *host_);
  const PerplexityResult r = evaluate_perplexity(on_device, windows, device, options);
  EXPECT_EQ(r.nll, evaluate_perplexity(on_host, windows, *host_, options).nll);
  EXPECT_EQ(device.broken_promises(), 0);
}

TEST(DeviceGram, ErrorsNameTokenAndColumn) {
  const test::DeviceDouble device;
  for (const GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
    GramAccumulator gram("layer 3 qkv", 5, precision, device);
    Matrix input(7, 5);
    for (int64_t i = 0; i < input.size(); ++i)
      input.data()[i] = static_cast<float>(i % 3);
    const BackendMatrix x(device, 7, 5);
    copy(device, input.view(), x.view());
    gram.add(x.view());
    input(4, 2) = std::numeric_limits<float>::quiet_NaN();
    copy(device, input.view(), x.view());
    expect_words(message_of<RunError>([&] { gram.add(x.view()); }),
                 {"layer 3 qkv", "nan at token 4, column 2 of calibration sequence 1"});
  }
}

}  // namespace
}  // namespace sage
