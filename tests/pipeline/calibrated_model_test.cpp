// Whole toy models through calibration: what is written does not depend on interruptions, caches or where activations are kept,
// and does depend on samples and on how blocks see one another.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "core/calibration/block_grams.h"
#include "core/pipeline/quantize_model.h"
#include "core/util/errors.h"
#include "core/util/file_lock.h"
#include "core/util/files.h"
#include "core/util/stop.h"
#include "tests/pipeline/calibrated.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {
namespace fs = std::filesystem;

using test::draw;
using test::expect_words;
using test::factory;
using test::kTextTokens;
using test::message_of;

constexpr const char* kGptq =
    "{quantizer: {type: uniform, bits: 3}, compensator: gptq, segment_columns: 16, block_columns: 32, dead_columns: zero}";

class CalibratedModel : public ::testing::TestWithParam<const char*> {
 protected:
  CalibratedModel() : source_(std::string(SAGE_TEST_DATA) + "/hf/" + GetParam()) {
    if (const char* before = std::getenv("SAGEPTQ_CACHE")) cache_before_ = before;
    setenv("SAGEPTQ_CACHE", path("cache").c_str(), 1);
    config_.samples = 6;
    config_.length_tokens = 24;
  }
  ~CalibratedModel() override {
    if (cache_before_) setenv("SAGEPTQ_CACHE", cache_before_->c_str(), 1);
    else unsetenv("SAGEPTQ_CACHE");
  }

  using Observe = std::function<void(const MatrixReport&, const Trace&)>;
  // The bytes of the packed file.
  std::string quantize(const std::string& name, const CalibrationConfig& config, const std::string& pipeline = kGptq, const Observe& observe = {}) {
    const PipelineFactory f = factory(pipeline);
    const CalibrationJob calibration{draw(source_.config().vocab_size, config.samples, config.length_tokens, static_cast<uint64_t>(config.seed)), config};
    QuantizeModelJob job{source_, f, test::registries(), test::cpu(), 1, path(name), "", false, {}, observe, &calibration};
    report_ = quantize_model(job);
    return read_file(path(name) + "/model.safetensors");
  }
  // The decoded linear layers, by name.
  std::map<std::string, Matrix> weights(const std::string& name) const {
    const PackedSource packed(path(name), test::registries(), test::cpu());
    std::map<std::string, Matrix> out;
    for (const auto& [matrix, site] : packed.sites()) out.emplace(matrix, packed.load_linear(matrix));
    return out;
  }
  int layer_of(const std::string& matrix) const {
    for (const LinearSite& s : linear_sites(find_family(source_.config()), source_.config()))
      if (s.name == matrix) return s.layer;
    return -1;
  }
  int64_t cached_grams() const {
    const std::string grams = path("cache/grams");
    return fs::exists(grams) ? std::distance(fs::directory_iterator(grams), fs::directory_iterator()) : 0;
  }
  void forget_grams() const { fs::remove_all(path("cache/grams")); }
  std::string path(const std::string& name) const { return folder_.file(name); }

  CheckpointSource source_;
  CalibrationConfig config_;
  PackedReport report_;  // of the last quantize()

 private:
  TemporaryFolder folder_;
  std::optional<std::string> cache_before_;
};
INSTANTIATE_TEST_SUITE_P(Toys, CalibratedModel, ::testing::Values("llama_gqa_tied_bf16", "opt"));

TEST_P(CalibratedModel, BeatsNoCompensationOnItsOwnSamples) {
  double mean[2];
  for (const bool compensated : {false, true}) {
    double sum = 0, energy = 0;
    quantize(compensated ? "gptq" : "rtn", config_, compensated ? kGptq : "{quantizer: {type: uniform, bits: 3}, segment_columns: 16, dead_columns: zero}");
    const std::map<std::string, Matrix> q = weights(compensated ? "gptq" : "rtn");
    // Inputs of the first block, the same for both.
    const CalibrationJob calibration{draw(source_.config().vocab_size, config_.samples, config_.length_tokens, 0), config_};
    CalibrationPass pass(source_, calibration, test::cpu(), "", {});
    std::map<std::string, int64_t> columns;
    for (const LinearSite& s : linear_sites(find_family(source_.config()), source_.config()))
      if (s.layer == 0) columns[s.group] = s.cols;
    const std::map<std::string, Gram> grams = pass.collect(0, columns);
    for (const LinearSite& s : linear_sites(find_family(source_.config()), source_.config())) {
      if (s.layer != 0) continue;
      const Matrix w = source_.load_linear(s.name), &d = q.at(s.name), &h = grams.at(s.group).matrix;
      for (int64_t i = 0; i < w.rows(); ++i)
        for (int64_t j = 0; j < w.cols(); ++j)
          for (int64_t k = 0; k < w.cols(); ++k) {
            sum += (static_cast<double>(w(i, j)) - d(i, j)) * h(j, k) * (static_cast<double>(w(i, k)) - d(i, k));
            energy += static_cast<double>(w(i, j)) * h(j, k) * w(i, k);
          }
    }
    mean[compensated ? 1 : 0] = sum / energy;
  }
  EXPECT_GT(mean[1], 0);
  EXPECT_LT(mean[1], mean[0]);
}

TEST_P(CalibratedModel, ResumesToTheSameBytes) {
  config_.cache_bytes = 0;  // so that what comes before the stop has to be run again
  const size_t matrices = linear_sites(find_family(source_.config()), source_.config()).size(), half = matrices / 2;  // two blocks
  for (const Propagation propagation : {Propagation::kQuantized, Propagation::kOriginal}) {
    config_.propagation = propagation;
    const std::string whole = quantize(fmt::format("whole {}", propagation_name(propagation)), config_);
    for (const size_t stop : {half, half + 1}) {
      SCOPED_TRACE(fmt::format("stopped in matrix {} of {}, {}", stop, matrices, propagation_name(propagation)));
      const std::string name = fmt::format("stopped {} {}", stop, propagation_name(propagation));
      size_t seen = 0, again = 0;
      EXPECT_THROW(quantize(name, config_, kGptq, [&](const MatrixReport&, const Trace&) {
                     if (++seen == stop) throw std::runtime_error("stopped");
                   }),
                   std::runtime_error);
      EXPECT_FALSE(fs::exists(path(name)));
      EXPECT_TRUE(fs::exists(path(name) + ".work"));
      EXPECT_EQ(quantize(name, config_, kGptq, [&](const MatrixReport&, const Trace&) { ++again; }), whole);
      EXPECT_EQ(again, stop > half ? half : matrices);  // a block counts once its last matrix is written
      EXPECT_FALSE(fs::exists(path(name) + ".work"));
    }
  }
}

// Seconds, outcomes and losses of a resumed run are those of all processes; here what the first half took is kept beside its
// layers.
TEST_P(CalibratedModel, KeepsSecondsAndOutcomesOverInterruptions) {
  const auto of_matrices = [](const PackedReport& r) {
    double sum = 0;
    for (const MatrixReport& m : r.matrices)
      sum += m.seconds;
    return sum;
  };
  std::map<std::string, MatrixOutcome> whole;
  quantize("whole", config_);
  EXPECT_FALSE(report_.seconds.resumed);
  EXPECT_GE(report_.seconds.quantize, of_matrices(report_));
  EXPECT_GT(report_.seconds.calibrate, 0);
  for (const MatrixReport& m : report_.matrices) {
    ASSERT_TRUE(m.outcome.gram_loss && m.outcome.percdamp && m.outcome.damping_retries && m.outcome.dead_columns) << m.name;
    whole[m.name] = m.outcome;
  }

  forget_grams();
  const size_t total = linear_sites(find_family(source_.config()), source_.config()).size();
  size_t seen = 0;
  std::map<std::string, double> first_half;
  EXPECT_THROW(quantize("stopped", config_, kGptq,
                        [&](const MatrixReport& m, const Trace&) {
                          if (++seen == total) throw std::runtime_error("stopped");
                          first_half[m.name] = m.seconds;
                        }),
               std::runtime_error);
  // Long ago, and slowly: as a layer's file says it.
  const std::string file = path("stopped") + ".work/layer_0000.safetensors";
  std::string bytes = read_file(file);
  const size_t at = bytes.find("\\\"calibrate\\\":"), end = bytes.find(',', at), from = bytes.find(':', at) + 1;
  ASSERT_LT(at, end);
  ASSERT_GT(end - from, 2u);
  constexpr double kSlow = 7;
  bytes.replace(from, end - from, "7." + std::string(end - from - 2, '0'));
  write_file_atomically(file, bytes);
  quantize("stopped", config_);
  EXPECT_TRUE(report_.seconds.resumed);
  EXPECT_GE(report_.seconds.quantize, of_matrices(report_));
  EXPECT_GT(report_.seconds.calibrate, kSlow);
  for (const MatrixReport& m : report_.matrices) {
    EXPECT_EQ(m.outcome, whole.at(m.name)) << m.name;
    if (m.layer == 0) {
      EXPECT_EQ(m.seconds, first_half.at(m.name));
    }
  }
  // A folder that is complete is taken over with all it took.
  const QuantizeSeconds made = report_.seconds;
  quantize("stopped", config_);
  EXPECT_TRUE(report_.seconds.resumed);
  EXPECT_EQ(report_.seconds.calibrate, made.calibrate);
  quantize("whole", config_);
  EXPECT_TRUE(report_.seconds.resumed);
  EXPECT_GE(report_.seconds.quantize, of_matrices(report_));
}

// A wish to stop comes while a matrix is quantized: that one is finished, and none is made twice, wherever in its block it
// stands.
TEST_P(CalibratedModel, StopsBehindTheMatrixInWork) {
  config_.cache_bytes = 0;
  const size_t matrices = linear_sites(find_family(source_.config()), source_.config()).size(), half = matrices / 2;
  for (const LayerOrder order : {LayerOrder::kTogether, LayerOrder::kSequential}) {
    config_.layer_order = order;
    const std::string whole = quantize(fmt::format("whole {}", static_cast<int>(order)), config_);
    for (const size_t stop : {size_t{1}, half - 1, half, half + 2}) {
      SCOPED_TRACE(fmt::format("stopped in matrix {} of {}", stop, matrices));
      const std::string name = fmt::format("stopped {} {}", stop, static_cast<int>(order));
      size_t seen = 0, again = 0;
      EXPECT_ERROR(Stopped,
                   quantize(name, config_, kGptq,
                            [&](const MatrixReport&, const Trace&) {
                              if (++seen == stop) request_stop();
                            }),
                   "stopped as asked", "kept");
      forget_stop();
      EXPECT_EQ(seen, stop);
      EXPECT_FALSE(fs::exists(path(name)));
      EXPECT_EQ(quantize(name, config_, kGptq, [&](const MatrixReport&, const Trace&) { ++again; }), whole);
      EXPECT_EQ(again, matrices - stop);
      EXPECT_FALSE(fs::exists(path(name) + ".work"));
    }
  }
}

// Grams are not half a block's: a wish that comes while they are collected leaves none, and what was quantized before stays.
TEST_P(CalibratedModel, StopsWhileGramsAreCollected) {
  request_stop();
  const CalibrationJob calibration{draw(source_.config().vocab_size, config_.samples, config_.length_tokens, 0), config_};
  CalibrationPass pass(source_, calibration, test::cpu(), "", {});
  EXPECT_ERROR(Stopped, pass.collect(0, {{"qkv", source_.config().hidden_size}}), "calibrate");
  forget_stop();
  EXPECT_EQ(cached_grams(), 0);
}

// Two processes on one output would take one another's layers for their own.
TEST_P(CalibratedModel, OneProcessAtATime) {
  fs::create_directories(path("out") + ".work");
  {
    const auto other = FileLock::take(path("out") + ".work/lock", FileLock::Kind::kExclusive);
    EXPECT_ERROR(ResourceError, quantize("out", config_), "another process");
    EXPECT_FALSE(fs::exists(path("out")));
  }
  quantize("out", config_);
}

// A block's file that is damaged or of another run is made again.
TEST_P(CalibratedModel, MakesDamagedLayersAgain) {
  const std::string whole = quantize("whole", config_);
  size_t seen = 0;
  const size_t total = linear_sites(find_family(source_.config()), source_.config()).size();
  EXPECT_THROW(quantize("damaged", config_, kGptq, [&](const MatrixReport&, const Trace&) {
                 if (++seen == total) throw std::runtime_error("stopped");
               }),
               std::runtime_error);
  const std::string file = path("damaged") + ".work/layer_0000.safetensors";
  ASSERT_TRUE(fs::exists(file));
  fs::resize_file(file, fs::file_size(file) / 2);
  EXPECT_EQ(quantize("damaged", config_), whole);
}

// In the first block, layers of the first group see the same inputs in either order. Each later group's Gram is that of the block run
// with the earlier groups as decoded, computed here from its parts.
TEST_P(CalibratedModel, SequentialOrderCollectsBehindQuantizedLayers) {
  CalibrationConfig sequential = config_;
  sequential.layer_order = LayerOrder::kSequential;
  sequential.cache_bytes = 0;
  quantize("together", config_);
  quantize("sequential", sequential);
  const std::map<std::string, Matrix> together = weights("together"), decoded = weights("sequential");
  const Family& family = find_family(source_.config());
  const CalibrationJob job{draw(source_.config().vocab_size, config_.samples, config_.length_tokens, 0), sequential};
  const std::vector<LinearSite> all = linear_sites(family, source_.config());
  BlockWeights block = load_block(family, source_, 0);
  Workspace workspace(test::cpu());
  int differing = 0;
  for (size_t first = 0; first < all.size() && all[first].layer == 0;) {
    const std::string group = all[first].group;
    SCOPED_TRACE(group);
    BlockGrams grams(0, {group}, GramPrecision::kFp32, test::cpu());
    const InputObserver observer = grams.observer();
    for (int i = 0; i < config_.samples; ++i) {
      Matrix x = embed(family, source_, job.samples.sample(i), config_.length_tokens, test::cpu());
      forward_block(family, source_.config(), block, x.view(), config_.length_tokens, test::cpu(), workspace, observer);
    }
    const std::map<std::string, Gram> gram = grams.finish();
    const LayerHessian hessian(gram.at(group).matrix.view(), factor_options(sequential, Numerics::kPacked), group);
    for (; first < all.size() && all[first].layer == 0 && all[first].group == group; ++first) {
      const LinearSite& s = all[first];
      const Matrix w = source_.load_linear(s.name);
      const MatrixResult r = quantize_matrix(factory(kGptq), {.weights = w.view(), .id = {0, s.name}, .seed = 1, .hessian = &hessian}, test::cpu());
      EXPECT_TRUE(test::same_bits(r.dequantized, decoded.at(s.name))) << s.name;
      const bool same = test::same_bits(together.at(s.name), decoded.at(s.name));
      if (s.role == LinearRole::kQuery) {
        EXPECT_TRUE(same) << s.name;
      }
      if (!same) ++differing;
      block.weight(s.role) = Matrix::copy(decoded.at(s.name).view());
    }
  }
  EXPECT_GE(differing, 2);
}

TEST_P(CalibratedModel, SequentialOrderResumesToTheSameBytes) {
  config_.layer_order = LayerOrder::kSequential;
  const std::string whole = quantize("whole", config_);
  forget_grams();
  const size_t half = linear_sites(find_family(source_.config()), source_.config()).size() / 2;
  size_t seen = 0;
  EXPECT_THROW(quantize("stopped", config_, kGptq, [&](const MatrixReport&, const Trace&) {
                 if (++seen == half + 2) throw std::runtime_error("stopped");
               }),
               std::runtime_error);
  EXPECT_EQ(quantize("stopped", config_), whole);
}

TEST_P(CalibratedModel, PropagationDiffersFromTheSecondBlockOn) {
  CalibrationConfig original = config_;
  original.propagation = Propagation::kOriginal;
  quantize("quantized", config_);
  quantize("original", original);
  const std::map<std::string, Matrix> a = weights("quantized"), b = weights("original");
  ASSERT_EQ(a.size(), b.size());
  int differing = 0, later = 0;
  for (const auto& [name, w] : a) {
    const bool same = test::same_bits(w, b.at(name));
    if (layer_of(name) == 0) {
      EXPECT_TRUE(same) << name;
    } else {
      ++later;
      differing += same ? 0 : 1;
    }
  }
  EXPECT_GT(later, 0);
  EXPECT_EQ(differing, later);
}

TEST_P(CalibratedModel, TheGramCacheChangesNoBytes) {
  CalibrationConfig off = config_;
  off.cache_bytes = 0;
  for (const Propagation propagation : {Propagation::kQuantized, Propagation::kOriginal}) {
    SCOPED_TRACE(propagation_name(propagation));
    config_.propagation = off.propagation = propagation;
    forget_grams();
    const std::string without = quantize(fmt::format("off {}", propagation_name(propagation)), off);
    EXPECT_EQ(cached_grams(), 0);
    const std::string filling = quantize(fmt::format("filling {}", propagation_name(propagation)), config_);
    const int64_t stored = cached_grams();
    EXPECT_GT(stored, 0);
    const std::string reading = quantize(fmt::format("reading {}", propagation_name(propagation)), config_);
    EXPECT_EQ(cached_grams(), stored);
    EXPECT_EQ(without, filling);
    EXPECT_EQ(without, reading);
    // Other bits, same statistics: with original weights everywhere, otherwise in the first block.
    quantize(fmt::format("other {}", propagation_name(propagation)), config_,
             "{quantizer: {type: uniform, bits: 4}, compensator: gptq, segment_columns: 16, block_columns: 32, dead_columns: zero}");
    if (propagation == Propagation::kOriginal) {
      EXPECT_EQ(cached_grams(), stored);
    } else {
      EXPECT_EQ(cached_grams(), stored + stored / 2);
    }
  }
}

TEST_P(CalibratedModel, HiddenStatesInAFileGiveTheSameBytes) {
  config_.cache_bytes = 0;
  CalibrationConfig mapped = config_;
  mapped.hidden_states_bytes = 0;
  EXPECT_EQ(quantize("memory", config_), quantize("mapped", mapped));
}

TEST_P(CalibratedModel, TheSeedOfTheSamplesCounts) {
  CalibrationConfig other = config_;
  other.seed = 1;
  quantize("seed 0", config_);
  quantize("seed 1", other);
  const std::map<std::string, Matrix> a = weights("seed 0"), b = weights("seed 1");
  for (const auto& [name, w] : a) EXPECT_FALSE(test::same_bits(w, b.at(name))) << name;
  // A finished folder belongs to its samples.
  expect_words(message_of<UserError>([&] { quantize("seed 0", other); }), {path("seed 0"), "holds something else", "expected"});
}

TEST_P(CalibratedModel, EveryMethodRunsAndReadsBack) {
  for (const auto& [name, pipeline] : std::vector<std::pair<std::string, std::string>>{
           {"act", "{quantizer: {type: uniform, bits: 3}, compensator: gptq, column_order: activation, segment_columns: 16, block_columns: 32, dead_columns: zero}"},
           {"sage", "{saliency: sigma, threshold: {type: fixed, ratio: 0.05}, grouping: {type: kmeans, groups: 3}, quantizer: binary, salient_quantizer: multibit, compensator: gptq,"
                    " segment_columns: 16, block_columns: 16}"},
           {"billm", "{saliency: {type: hessian, unit: columns}, threshold: column_search, grouping: percentile_split, quantizer: {type: residual_binary, order: 1},"
                     " salient_quantizer: {type: residual_binary, order: 2}, compensator: block_exact, segment_columns: 32, block_columns: 32, coder: {salient_index: bitmap}}"}}) {
    SCOPED_TRACE(name);
    std::map<std::string, double> measured;
    quantize(name, config_, pipeline, [&](const MatrixReport& m, const Trace&) { measured[m.name] = m.relative_error; });
    const std::map<std::string, Matrix> decoded = weights(name);
    ASSERT_EQ(decoded.size(), measured.size());
    for (const auto& [matrix, q] : decoded) {
      const Matrix w = source_.load_linear(matrix);
      double error = 0, energy = 0;
      for (int64_t k = 0; k < w.size(); ++k) {
        error += std::pow(static_cast<double>(w.data()[k]) - q.data()[k], 2);
        energy += std::pow(static_cast<double>(w.data()[k]), 2);
      }
      EXPECT_NEAR(measured.at(matrix), error / energy, 1e-6) << matrix;
    }
  }
}

// Before work: nothing is left behind.
TEST_P(CalibratedModel, TextsAndWindowsThatDoNotFitAreErrorsBeforeWork) {
  CalibrationConfig config = config_;
  config.length_tokens = static_cast<int>(kTextTokens) - 3;
  expect_words(message_of<UserError>([&] { quantize("short", config); }),
               {"random tokens", "600 tokens", "expected at least 603", "6 samples of 597 tokens", "longer text", "calibration.samples"});
  EXPECT_FALSE(fs::exists(path("short") + ".work"));
  if (std::string(GetParam()) != "opt") return;  // the others have no last position
  config.length_tokens = 300;
  expect_words(message_of<UserError>([&] { quantize("long", config); }), {"config.json", "300 tokens", "max_position_embeddings = 256"});
  EXPECT_FALSE(fs::exists(path("long") + ".work"));
}

}  // namespace
}  // namespace sage
