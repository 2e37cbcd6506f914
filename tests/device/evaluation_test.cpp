// Evaluation keeps its data on the device: host code never touches device memory, operations are sent no weights and no hidden
// states of the host, and the numbers are the reference backend's, bit for bit.
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <mutex>

#include "core/eval/perplexity.h"
#include "core/model/checkpoint.h"
#include "core/model/forward.h"
#include "core/model/parity.h"
#include "core/util/errors.h"
#include "kernels/backends.h"
#include "tests/support/device_double.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

constexpr int64_t kWindow = 24, kWindows = 100;  // 85 windows of 24 tokens are one group of rows

// Tokens that need no text.
TokenWindows windows_of(const WeightSource& source) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < kWindow * kWindows; ++i)
    ids.push_back(static_cast<int32_t>(i * i % 1009 % source.config().vocab_size));
  return cut_windows(ids, find_protocol("gptq-24"), 0, std::nullopt);
}

// A source as it is, but for one vector that may be broken; counts how often each matrix is loaded.
class WatchedSource final : public WeightSource {
 public:
  explicit WatchedSource(const WeightSource& source, std::string broken = "") : source_(source), broken_(std::move(broken)) {}
  int loads(const std::string& name) const {
    const std::lock_guard lock(mutex_);
    return loads_[name];
  }
  const ModelConfig& config() const override { return source_.config(); }
  const std::string& folder() const override { return source_.folder(); }
  std::vector<std::string> names() const override { return source_.names(); }
  bool has(const std::string& name) const override { return source_.has(name); }
  std::vector<int64_t> shape(const std::string& name) const override { return source_.shape(name); }
  Matrix load_linear(const std::string& name) const override {
    const std::lock_guard lock(mutex_);
    ++loads_[name];
    return source_.load_linear(name);
  }
  std::vector<float> load_vector(const std::string& name) const override {
    std::vector<float> v = source_.load_vector(name);
    if (name == broken_) v[3] = std::numeric_limits<float>::infinity();
    return v;
  }
  Matrix load_rows(const std::string& name, std::span<const int32_t> rows) const override {
    return source_.load_rows(name, rows);
  }
  void release(const std::string& name) const override { source_.release(name); }
  std::string digest() const override { return "watched"; }

 private:
  const WeightSource& source_;
  const std::string broken_;
  mutable std::mutex mutex_;
  mutable std::map<std::string, int> loads_;
};

class DeviceEvaluation : public testing::TestWithParam<const char*> {
 protected:
  EvalOptions options(const std::string& name) const {
    EvalOptions o;
    o.states_folder = folder_.file(name);
    o.progress = false;
    return o;
  }
  TemporaryFolder folder_;
  const CheckpointSource source_{model_folder(GetParam())};
  const Family& family_ = find_family(source_.config());
  const std::unique_ptr<Backend> host_ = make_backend("reference");
  const TokenWindows windows_ = windows_of(source_);
};
INSTANTIATE_TEST_SUITE_P(Toys, DeviceEvaluation, testing::Values("llama_gqa_tied_bf16", "opt_gelu", "opt_350m_style"));

TEST_P(DeviceEvaluation, TheNumbersOfTheHost) {
  const test::DeviceDouble device;
  const PerplexityResult expected = evaluate_perplexity(source_, windows_, *host_, options("host"));
  const PerplexityResult r = evaluate_perplexity(source_, windows_, device, options("device"));
  EXPECT_EQ(r.nll, expected.nll);
  EXPECT_EQ(r.perplexity, expected.perplexity);
  EXPECT_EQ(device.broken_promises(), 0);
  EXPECT_EQ(device.held_now(), 0);
  EXPECT_EQ(device.device_memory().in_use, 0u);
}

// With a reference, whose states are written to a file on the way.
TEST_P(DeviceEvaluation, TheDivergenceOfTheHost) {
  const test::DeviceDouble device;
  const CheckpointSource other(model_folder(std::string(GetParam()).starts_with("opt") ? "opt" : "llama_mha"));
  if (other.config().vocab_size != source_.config().vocab_size) GTEST_SKIP() << "no model of the same vocabulary";
  const Reference on_host{&other, FinalStates::of(other, windows_, *host_, options("host"))};
  const Reference on_device{&other, FinalStates::of(other, windows_, device, options("device"))};
  const PerplexityResult compared = evaluate_perplexity(source_, windows_, *host_, options("host again"), &on_host);
  const PerplexityResult again = evaluate_perplexity(source_, windows_, device, options("device again"), &on_device);
  EXPECT_EQ(again.nll, compared.nll);
  EXPECT_EQ(again.kl, compared.kl);
  EXPECT_EQ(again.top1, compared.top1);
  EXPECT_EQ(device.broken_promises(), 0);
  EXPECT_EQ(device.held_now(), 0);
  EXPECT_EQ(device.device_memory().in_use, 0u);
}

// What a device would be sent for single calls: nothing but what embed() does in host memory.
TEST_P(DeviceEvaluation, NothingGoesOverTwice) {
  const test::DeviceDouble device;
  evaluate_perplexity(source_, windows_, device, options("device"));
  const auto embeds = [&](const std::string& operation) {
    const ModelConfig& c = source_.config();
    const auto tokens = static_cast<uint64_t>(kWindow * kWindows);
    if (operation == "linear" && has_projections(c)) {
      const uint64_t groups = 2, width = static_cast<uint64_t>(c.embedding_width),
                     hidden = static_cast<uint64_t>(c.hidden_size);
      return sizeof(float) * (tokens * width + groups * width * hidden + tokens * hidden);
    }
    if (operation == "add" && family_.positions == PositionKind::kLearned)
      return sizeof(float) * 2 * tokens * static_cast<uint64_t>(c.hidden_size);
    return uint64_t{0};
  };
  for (const auto& [operation, bytes] : device.host_bytes())
    EXPECT_EQ(bytes, embeds(operation)) << operation;
}

// A device with little room takes more passes and gives the same bits.
TEST_P(DeviceEvaluation, PassesThatFitTheDevice) {
  const std::string first_block = linear_sites(family_, source_.config()).front().name;
  const test::DeviceDouble roomy;
  const WatchedSource once(source_), twice(source_);
  const PerplexityResult expected = evaluate_perplexity(once, windows_, roomy, options("roomy"));
  EXPECT_EQ(once.loads(first_block), 1);
  const uint64_t all = static_cast<uint64_t>(kWindow * kWindows * source_.config().hidden_size) * sizeof(float);
  const uint64_t beside = pass_memory_bytes(family_, source_.config(), kWindow) +
                          static_cast<uint64_t>(source_.config().vocab_size * source_.config().embedding_width) * sizeof(float);
  const test::DeviceDouble small((beside + all / 2) * 8 / 7);
  const PerplexityResult r = evaluate_perplexity(twice, windows_, small, options("small"));
  EXPECT_EQ(r.nll, expected.nll);
  EXPECT_EQ(twice.loads(first_block), 2);
}

TEST_P(DeviceEvaluation, LossesThatAreNotFiniteAreStillNamed) {
  // A final norm of infinite gain.
  const std::string norm = family_.final_norm + ".weight";
  if (!source_.has(norm)) GTEST_SKIP() << "no final norm";
  const test::DeviceDouble device;
  const WatchedSource broken(source_, norm);
  EXPECT_ERROR(RunError, evaluate_perplexity(broken, windows_, device, options("broken")), "the loss of token", "window 0",
               "finite");
  EXPECT_EQ(device.held_now(), 0);
  EXPECT_EQ(device.device_memory().in_use, 0u);
}

TEST_P(DeviceEvaluation, ParityOfActivations) {
  const SafetensorsFile expected(model_folder(GetParam()) + "/expected.safetensors");
  const test::DeviceDouble device;
  const ParityReport on_host = check_parity(family_, source_, expected, *host_, 1e-4);
  const ParityReport r = check_parity(family_, source_, expected, device, 1e-4);
  EXPECT_TRUE(r.within()) << r.verdict();
  ASSERT_EQ(r.rows.size(), on_host.rows.size());
  for (size_t i = 0; i < r.rows.size(); ++i)
    EXPECT_EQ(r.rows[i].max_abs, on_host.rows[i].max_abs) << r.rows[i].tensor;
  EXPECT_EQ(device.broken_promises(), 0);
}

}  // namespace
}  // namespace sage
