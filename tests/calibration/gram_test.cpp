// Grams against the released code's (baselines/inputs.h5) and against their definition.
#include "core/calibration/gram.h"

#include <cstring>
#include <limits>

#include "core/calibration/block_grams.h"
#include "core/model/checkpoint.h"
#include "kernels/backends.h"
#include "tests/calibration/support.h"
#include "tests/support/h5_fixture.h"

namespace sage::test {
namespace {

class GramTest : public testing::TestWithParam<const char*> {
 protected:
  GramTest() : backend_(make_backend(GetParam())) {}
  Gram accumulate(const std::vector<Matrix>& sequences, GramPrecision precision) {
    GramAccumulator a("layer 0 qkv", sequences.at(0).cols(), precision, *backend_);
    for (const Matrix& x : sequences)
      a.add(x.view());
    return a.finish();
  }
  std::unique_ptr<Backend> backend_;
};
INSTANTIATE_TEST_SUITE_P(Backends, GramTest, testing::Values("reference", "cpu"));

// Largest distance from the expected matrix, relative to sqrt(H_ii H_jj).
template <class Expected>
double distance(const Matrix& h, const Expected& expected) {
  double worst = 0;
  for (int64_t i = 0; i < h.rows(); ++i)
    for (int64_t j = 0; j < h.cols(); ++j) {
      const double scale = std::sqrt(expected(i, i) * expected(j, j));
      const double d = std::fabs(h(i, j) - expected(i, j));
      worst = std::max(worst, scale > 0 ? d / scale : d);
    }
  return worst;
}

TEST_P(GramTest, AsTheReleasedCode) {
  const H5Fixture f("baselines/inputs.h5");
  int cases = 0;
  for (const std::string& name : f.children("/")) {
    if (!f.has(name + "/X")) continue;
    SCOPED_TRACE(name);
    const int64_t m = f.attribute<int64_t>(name, "m"), n = f.attribute<int64_t>(name, "sequences"),
                  tokens = f.attribute<int64_t>(name, "tokens");
    const Matrix all = f.matrix(name + "/X"), expected = f.matrix(name + "/H");
    for (GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
      GramAccumulator a(name, m, precision, *backend_);
      for (int64_t s = 0; s < n; ++s)
        a.add(all.view().row_range(s * tokens, (s + 1) * tokens));
      const Gram g = a.finish();
      EXPECT_EQ(g.sequences, n);
      EXPECT_EQ(g.tokens, n * tokens);
      const auto upper = [&](int64_t i, int64_t j) { return static_cast<double>(i <= j ? expected(i, j) : expected(j, i)); };
      EXPECT_LT(distance(g.matrix, upper), 5e-7);  // both sides round in FP32: a few units of 6e-8
    }
    ++cases;
  }
  EXPECT_EQ(cases, 3);
}

TEST_P(GramTest, AsDefined) {
  std::vector<Matrix> sequences;
  for (uint64_t s = 0; s < 7; ++s)
    sequences.push_back(inputs(30 + static_cast<int64_t>(s), 45, s));
  const std::vector<double> h = naive_gram(sequences);
  const auto expected = [&](int64_t i, int64_t j) { return h[static_cast<size_t>(i * 45 + j)]; };
  EXPECT_LT(distance(accumulate(sequences, GramPrecision::kFp32).matrix, expected), 1e-6);
  EXPECT_LT(distance(accumulate(sequences, GramPrecision::kFp64).matrix, expected), 6e-8);  // one rounding
}

// Two sequences at a time weigh as much as one by one.
TEST_P(GramTest, SequencesInBatches) {
  const Matrix x = inputs(60, 20, 1);
  GramAccumulator single("a", 20, GramPrecision::kFp64, *backend_), batch("b", 20, GramPrecision::kFp64, *backend_);
  for (int64_t s = 0; s < 3; ++s)
    single.add(x.view().row_range(20 * s, 20 * s + 20));
  batch.add(x.view().row_range(0, 40), 2);
  batch.add(x.view().row_range(40, 60));
  const Gram a = single.finish(), b = batch.finish();
  EXPECT_EQ(a.sequences, b.sequences);
  const auto expected = [&](int64_t i, int64_t j) { return static_cast<double>(a.matrix(i, j)); };
  EXPECT_LT(distance(b.matrix, expected), 1e-7);
}

TEST_P(GramTest, SameBytesForAnyNumberOfThreads) {
  std::vector<Matrix> sequences;
  for (uint64_t s = 0; s < 3; ++s)
    sequences.push_back(inputs(150, 310, s));
  for (GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
    std::vector<Matrix> out;
    for (int n : {1, 2}) {
      const Threads threads(n);
      out.push_back(accumulate(sequences, precision).matrix);
    }
    EXPECT_EQ(std::memcmp(out[0].data(), out[1].data(), sizeof(float) * static_cast<size_t>(out[0].size())), 0);
  }
}

TEST_P(GramTest, BadInputsAreNamed) {
  for (GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      Matrix x = inputs(20, 8, 0);
      GramAccumulator a("layer 7 down", 8, precision, *backend_);
      a.add(x.view());
      x(13, 5) = bad;
      expect_words(message_of<RunError>([&] { a.add(x.view()); }),
                   {"layer 7 down", "token 13", "column 5", "sequence 1", "check the model's weights"});
    }
  }
  Matrix x = inputs(20, 8, 0);
  x(0, 0) = 1e30f;
  GramAccumulator a("layer 7 down", 8, GramPrecision::kFp32, *backend_);
  expect_words(message_of<RunError>([&] { a.add(x.view()); }), {"layer 7 down", "overflow", "fp64"});
  GramAccumulator unused("layer 1 o", 8, GramPrecision::kFp32, *backend_);
  expect_words(message_of<RunError>([&] { unused.finish(); }), {"layer 1 o", "no calibration input"});
  GramAccumulator zeros("layer 2 o", 8, GramPrecision::kFp32, *backend_);
  const Matrix nothing = Matrix::zeros(20, 8);
  zeros.add(nothing.view());
  const Gram dead = zeros.finish();  // columns no input reaches, all of them
  EXPECT_EQ(dead.tokens, 20);
  for (int64_t k = 0; k < dead.matrix.size(); ++k)
    EXPECT_EQ(dead.matrix.data()[k], 0);
}

TEST_P(GramTest, BlocksGatherByGroup) {
  BlockGrams grams(4, {"qkv", "down"}, GramPrecision::kFp32, *backend_);
  const Matrix a = inputs(20, 8, 0), b = inputs(20, 12, 1);
  for (int s = 0; s < 2; ++s) {
    grams.observer()("qkv", a.view());
    grams.observer()("down", b.view());
    grams.observer()("o", a.view());  // nobody asked
  }
  const std::map<std::string, Gram> out = grams.finish();
  EXPECT_EQ(out.size(), 2u);
  EXPECT_EQ(out.at("qkv").matrix.rows(), 8);
  EXPECT_EQ(out.at("down").matrix.rows(), 12);
  EXPECT_EQ(out.at("down").sequences, 2);
  BlockGrams missing(4, {"qkv", "o"}, GramPrecision::kFp32, *backend_);
  missing.observer()("qkv", a.view());
  expect_words(message_of<RunError>([&] { missing.finish(); }), {"layer 4 o", "no calibration input"});
}

// The groups a real block shows its observer are those of its linear layers, and each Gram is that of what was seen.
TEST_P(GramTest, OfABlockOfAModel) {
  const CheckpointSource source(std::string(SAGE_TEST_DATA) + "/hf/llama_gqa_tied_bf16");
  const Family& family = find_family(source.config());
  std::map<std::string, int64_t> cols;
  for (const LinearSite& site : linear_sites(family, source.config()))
    if (site.layer == 0) cols[site.group] = site.cols;
  std::vector<std::string> groups;
  for (const auto& [group, n] : cols)
    groups.push_back(group);
  const BlockWeights block = load_block(family, source, 0);
  const int64_t length = 9;
  BlockGrams grams(0, groups, GramPrecision::kFp64, *backend_);
  std::map<std::string, std::vector<Matrix>> seen;
  Workspace workspace(*backend_);
  for (int32_t s = 0; s < 3; ++s) {
    std::vector<int32_t> ids;
    for (int32_t t = 0; t < length; ++t)
      ids.push_back((s * 31 + t * 7) % 50);
    Matrix hidden = embed(family, source, ids, length, *backend_);
    const InputObserver observe = grams.observer();
    forward_block(family, source.config(), block, hidden.view(), length, *backend_, workspace,
                  [&](const std::string& group, WeightView input) {
                    seen[group].push_back(Matrix::copy(input));
                    observe(group, input);
                  });
  }
  const std::map<std::string, Gram> out = grams.finish();
  ASSERT_EQ(out.size(), 4u);
  for (const auto& [group, g] : out) {
    SCOPED_TRACE(group);
    EXPECT_EQ(g.sequences, 3);
    EXPECT_EQ(g.tokens, 3 * length);
    ASSERT_EQ(g.matrix.rows(), cols.at(group));
    const std::vector<double> h = naive_gram(seen.at(group));
    const int64_t n = g.matrix.rows();
    EXPECT_LT(distance(g.matrix, [&](int64_t i, int64_t j) { return h[static_cast<size_t>(i * n + j)]; }), 6.1e-8);
  }
}

TEST(GramChecks, Completing) {
  Matrix h = Matrix::zeros(3, 3);
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = i; j < 3; ++j)
      h(i, j) = static_cast<float>(i == j ? 4 : i + j);
  complete_gram(h.view(), "h");
  EXPECT_EQ(h(2, 1), 3);
  EXPECT_EQ(h(1, 0), 1);
  complete_gram(h.view(), "h");  // symmetric already
  h(2, 0) = 1;
  expect_words(message_of<RunError>([&] { complete_gram(h.view(), "h.h5:/H"); }), {"h.h5:/H", "(2, 0)", "symmetric"});
  // Every entry of its row and column would look asymmetric beside it.
  h(1, 1) = std::numeric_limits<float>::quiet_NaN();
  expect_words(message_of<RunError>([&] { complete_gram(h.view(), "h.h5:/H"); }), {"h.h5:/H", "entry (1, 1) of the Gram is NaN"});
  Matrix wide(2, 3);
  EXPECT_THROW(complete_gram(wide.view(), "h"), RunError);
}

TEST(GramChecks, MissingAndWrong) {
  Matrix h = Matrix::zeros(3, 3);
  EXPECT_NO_THROW(check_gram(h.view(), 3, "layer 3 q"));
  h(1, 1) = 1;
  expect_words(message_of<RunError>([&] { check_gram(h.view(), 4, "layer 3 q"); }), {"layer 3 q", "3 x 3", "4 x 4"});
  for (float bad : {-1.0f, std::numeric_limits<float>::quiet_NaN()}) {
    h(2, 2) = bad;
    expect_words(message_of<RunError>([&] { check_gram(h.view(), 3, "layer 3 q"); }), {"layer 3 q", "entry 2"});
  }
}

}  // namespace
}  // namespace sage::test
