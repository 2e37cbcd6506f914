// Splits of rows into two parts: every backend against the definition, one value at a time; exact ties; bytes equal for any
// number of threads.
#include <bit>
#include <cfloat>
#include <cstring>
#include <limits>

#include "kernels/cpu/binarization_error.h"
#include "tests/kernels/selections.h"
#include "tests/support/binarization.h"

namespace sage::test {
namespace {

class Splits : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, Splits, testing::ValuesIn(backend_names()), test_name);

struct Outcome {
  std::vector<double> errors;
  std::vector<int64_t> upper;
  size_t best() const { return static_cast<size_t>(std::min_element(errors.begin(), errors.end()) - errors.begin()); }
};
Outcome split(const Backend& b, WeightView x, const SplitTrials& trials) {
  Outcome out{std::vector<double>(trials.cuts.size(), -1.0), std::vector<int64_t>(trials.cuts.size(), -1)};
  b.split_errors(x, trials, out.errors, out.upper);
  return out;
}

float key_of(WeightView x, const SplitTrials& trials, int64_t i, int64_t j) {
  return trials.column_keys.empty() ? std::fabs(x(i, j)) : trials.column_keys[static_cast<size_t>(j)];
}
bool apart(const SplitTrials& trials, int64_t i, int64_t j) { return trials.apart != nullptr && trials.apart->test(i, j); }

Outcome plain_split(WeightView x, const SplitTrials& trials) {
  Outcome out;
  std::vector<double> sets[3];  // below the cut, above, apart
  for (float cut : trials.cuts) {
    double error = 0;
    int64_t upper = 0;
    for (int64_t i = 0; i < x.rows; ++i) {
      for (std::vector<double>& set : sets)
        set.clear();
      for (int64_t j = 0; j < x.cols; ++j)
        sets[apart(trials, i, j) ? 2 : key_of(x, trials, i, j) < cut ? 0 : 1].push_back(x(i, j));
      for (int s = 0; s < 3; ++s)
        error += plain_binarization_error(sets[s], s == 2 ? 2 : trials.order, trials.centered);
      upper += static_cast<int64_t>(sets[1].size());
    }
    out.errors.push_back(error);
    out.upper.push_back(upper);
  }
  return out;
}

double energy(WeightView x) {
  double sum = 0;
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.cols; ++j)
      sum += static_cast<double>(x(i, j)) * x(i, j);
  return sum;
}

std::vector<SaliencyMask> masks(int64_t rows, int64_t cols) {
  std::vector<SaliencyMask> out;
  out.push_back(SaliencyMask::none(rows, cols));
  out.push_back(SaliencyMask::columns(rows, random_bits(1, cols, 0.2, 71)));
  out.push_back(SaliencyMask::elements(random_bits(rows, cols, 0.05, 72)));
  out.push_back(SaliencyMask::elements(random_bits(rows, cols, 0.7, 73)));
  out.push_back(SaliencyMask::elements(random_bits(rows, cols, 1.1, 74)));  // everything
  return out;
}

// Cuts from below the least key to above the greatest, at keys and between, some twice and some that no key lies between.
std::vector<float> cuts_among(std::vector<float> keys, int count) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> out = {-kInf, -1e30f, 1e30f, kInf};
  std::sort(keys.begin(), keys.end());
  for (int k = 0; k < count && !keys.empty(); ++k) {
    const float key = keys[(keys.size() - 1) * static_cast<size_t>(k) / static_cast<size_t>(std::max(1, count - 1))];
    out.push_back(key);
    if (k % 2 == 0) out.push_back(k % 4 == 0 ? key : std::nextafterf(key, kInf));
  }
  std::sort(out.begin(), out.end());
  return out;
}
std::vector<float> magnitudes(WeightView x) {
  std::vector<float> out;
  for (int64_t i = 0; i < x.rows; ++i)
    for (int64_t j = 0; j < x.cols; ++j)
      out.push_back(std::fabs(x(i, j)));
  return out;
}
// Some equal, some negative.
std::vector<float> column_keys(int64_t cols) {
  Rng rng(seed(), uint64_t{75});
  std::vector<float> out;
  for (int64_t j = 0; j < cols; ++j)
    out.push_back(static_cast<float>(rng.below(static_cast<uint64_t>(cols))) - 3.5f);
  return out;
}

void expect_definition(const Backend& b, WeightView x, const SplitTrials& trials) {
  const Outcome expected = plain_split(x, trials), got = split(b, x, trials);
  EXPECT_EQ(got.upper, expected.upper);
  // A sum of n equal terms, one after another, is off by up to n / 4 roundings.
  const double tolerance = energy(x) * (1e-12 + 1e-16 * static_cast<double>(x.cols));
  for (size_t t = 0; t < trials.cuts.size(); ++t) {
    ASSERT_NEAR(got.errors[t], expected.errors[t], tolerance) << "cut " << t << ": " << trials.cuts[t];
    ASSERT_GE(got.errors[t], 0) << t;
    if (t == 0 || got.upper[t] != got.upper[t - 1]) continue;
    // Cuts ascend: the same number above is the same division of every row.
    ASSERT_EQ(got.errors[t], got.errors[t - 1]) << "cuts " << t - 1 << " and " << t;
  }
}

// Rows of very different size, denormal ones too, with zeros. No other values are equal, and no row has small beside large
// ones: there the sign of what lies at a mean would be a matter of rounding.
void fill_rows_of_every_size(View<float> v, uint64_t stream) {
  const float sizes[] = {1.0f, 1e18f, 1e-30f, 1e-38f};
  fill_normal(v, stream);
  Rng rng(seed(), stream + 1000);
  for (int64_t i = 0; i < v.rows; ++i)
    for (int64_t j = 0; j < v.cols; ++j)
      v(i, j) *= rng.below(8) == 0 ? 0.0f : sizes[i % 4];
}

TEST_P(Splits, ErrorsAreThoseOfTheDefinition) {
  uint64_t turn = 0;
  for (const Shape& s : shapes(GetParam())) {
    const std::vector<SaliencyMask> all = masks(s.rows, s.cols);
    const std::vector<float> keys = column_keys(s.cols);
    for (const bool hostile : {false, true}) {
      Padded around_zero(s.rows, s.cols, s.extra), around_means(s.rows, s.cols, s.extra);
      if (hostile) {
        fill_hostile(around_zero.view(), ++turn);
        fill_rows_of_every_size(around_means.view(), turn);
      } else {
        fill_normal(around_zero.view(), ++turn, 0.02);
        fill_normal(around_means.view(), turn, 0.02);
      }
      const int count = s.rows * s.cols > 20000 ? 3 : 9;
      const std::vector<float> by_magnitude = cuts_among(magnitudes(std::as_const(around_zero).view()), count),
                               by_column = cuts_among(keys, count);
      const SaliencyMask* choices[] = {nullptr, &all[turn % all.size()], &all[(turn + 2) % all.size()]};
      for (const SaliencyMask* mask : choices)
        for (const bool columns : {false, true})
          for (const int order : {1, 2})
            for (const bool centered : {false, true}) {
              const WeightView w = std::as_const(centered ? around_means : around_zero).view();
              // Of larger shapes some of the cases: one mask in turn, and half of the ways to split.
              if (w.size() > 4000 && mask != choices[turn % 3]) continue;
              if (w.size() > 20000 && (order == 2) != (centered == columns)) continue;
              SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols << " + " << s.extra << ", hostile " << hostile
                                              << ", mask " << (mask == nullptr ? -1 : static_cast<int>(mask->shape())) << " of "
                                              << (mask == nullptr ? 0 : mask->count()) << ", columns " << columns << ", order "
                                              << order << ", centered " << centered << ", seed " << seed());
              SplitTrials trials{
                  .cuts = columns ? by_column : by_magnitude, .apart = mask, .order = order, .centered = centered};
              if (columns) trials.column_keys = keys;
              expect_definition(*backend_, w, trials);
              if (HasFailure()) return;
            }
    }
  }
}

// More cuts than a pass over the rows takes at once, most of which divide as others do.
TEST_P(Splits, ManyCuts) {
  const int64_t rows = 9, cols = 70;
  Matrix x(rows, cols);
  Rng rng(seed(), uint64_t{80});
  for (int64_t k = 0; k < x.size(); ++k)
    x.data()[k] = (static_cast<float>(rng.below(40)) - 20.0f) / 16.0f;
  const SaliencyMask mask = SaliencyMask::elements(random_bits(rows, cols, 0.1, 81));
  for (const int count : {1, 2, 255, 256, 257, 700}) {
    SCOPED_TRACE(testing::Message() << count << " cuts");
    std::vector<float> cuts;
    for (int k = 0; k < count; ++k)
      cuts.push_back(1.5f * static_cast<float>(k) / static_cast<float>(count));
    for (const SaliencyMask* apart : {static_cast<const SaliencyMask*>(nullptr), &mask})
      expect_definition(*backend_, x.view(), {.cuts = cuts, .apart = apart, .order = 1, .centered = true});
  }
}

void expect_no_error(const Backend& b, const Matrix& x, const SplitTrials& trials) {
  for (double error : split(b, x.view(), trials).errors)
    EXPECT_EQ(error, 0) << x.rows() << " x " << x.cols() << " of " << x(0, 0) << ", order " << trials.order << ", centered "
                        << trials.centered;
}

TEST_P(Splits, ExactFitsHaveNoError) {
  const std::vector<float> cuts = {-1.0f, INFINITY};  // all above, all below: the other part is empty
  for (const int64_t cols : {1, 2, 8, 64, 130, 1028, 11008}) {
    for (const float v : {0.3f, -0.7f, 1e-30f, -1.1e18f, 1.0f / 3.0f, 0.0f, FLT_MAX, FLT_TRUE_MIN}) {
      Matrix constant(3, cols), signs(3, cols), two(3, cols), distant(3, cols), four(3, cols);
      for (int64_t i = 0; i < 3; ++i)
        for (int64_t j = 0; j < cols; ++j) {
          constant(i, j) = v;
          signs(i, j) = (i * 31 + j * j) % 3 == 0 ? v : -v;
          two(i, j) = (i + j) % 2 == 0 ? v : 0.37f * v;
          distant(i, j) = (i + j) % 2 == 0 ? v : 3e-12f * v;  // the mean is not a double
          // A mean, a scale to either side of it and another to either side of those.
          const float short_v = std::bit_cast<float>(std::bit_cast<uint32_t>(v) & ~7u);  // so that 3/4 of it is a float
          const float levels[] = {short_v, 0.75f * short_v, 0.25f * short_v, 0.0f};
          four(i, j) = levels[(i + j) % 4];
        }
      for (const int order : {1, 2})
        for (const bool centered : {false, true}) {
          const SplitTrials trials{.cuts = cuts, .order = order, .centered = centered};
          expect_no_error(*backend_, constant, trials);
          if (!centered) expect_no_error(*backend_, signs, trials);
          if (centered && cols % 2 == 0) {
            expect_no_error(*backend_, two, trials);
            expect_no_error(*backend_, distant, trials);
          }
          if (centered && order == 2 && cols % 4 == 0 && v != FLT_TRUE_MIN) expect_no_error(*backend_, four, trials);
        }
    }
  }
  // One weight in either part, and all others apart by twos.
  Matrix x(2, 4);
  for (int64_t k = 0; k < 8; ++k)
    x.data()[k] = static_cast<float>(k % 4 + 1) * 0.3f;
  BitMask bits(2, 4);
  for (int64_t i = 0; i < 2; ++i)
    for (int64_t j : {1, 2})
      bits.set(i, j);
  const SaliencyMask mask = SaliencyMask::elements(bits);
  const std::vector<float> between = {0.31f, 1.0f};
  expect_no_error(*backend_, x, {.cuts = between, .apart = &mask, .centered = true});
  EXPECT_EQ(split(*backend_, x.view(), {.cuts = between, .apart = &mask}).upper, (std::vector<int64_t>{2, 2}));
}

// alpha = 2/3 and the middle stays at the mean: 2 (1/3)^2; a second time alpha = 2/9: 2 (1/9)^2.
TEST_P(Splits, ValuesAtTheMeanStayThere) {
  Matrix x(1, 6);
  const float values[] = {-1, 0, 1, 1, 5, 9};
  std::copy(values, values + 6, x.data());
  const std::vector<float> keys = {0, 0, 0, 7, 7, 7}, cuts = {7};
  // The other part is 5 + 4 times the same values.
  const auto error = [&](int order) {
    return split(*backend_, x.view(), {.cuts = cuts, .column_keys = keys, .order = order}).errors[0];
  };
  EXPECT_NEAR(error(1), 17 * 2.0 / 9, 1e-14);
  EXPECT_NEAR(error(2), 17 * 2.0 / 81, 1e-14);
}

TEST_P(Splits, WhatIsNotFiniteIsSeenInEveryError) {
  for (const float bad : {std::nanf(""), -std::nanf(""), INFINITY, -INFINITY})
    for (const bool apart_too : {false, true})
      for (const int order : {1, 2})
        for (const bool centered : {false, true}) {
          SCOPED_TRACE(testing::Message() << bad << ", apart " << apart_too << ", order " << order << ", centered "
                                          << centered);
          Matrix x(70, 40);
          fill_normal(x.view(), 90);
          x(66, 17) = bad;
          BitMask bits(70, 40);
          bits.set(66, apart_too ? 17 : 18);
          const SaliencyMask mask = SaliencyMask::elements(bits);
          const std::vector<float> cuts = {0.0f, 0.5f, 1.0f, 100.0f};
          const Outcome got = split(*backend_, x.view(), {.cuts = cuts, .apart = &mask, .order = order, .centered = centered});
          for (double e : got.errors)
            EXPECT_TRUE(std::isnan(e)) << e;
          EXPECT_EQ(got.upper[0], 70 * 40 - 1);
          EXPECT_EQ(got.upper[3], apart_too ? 0 : 1);  // NaN is below no cut
        }
}

TEST_P(Splits, NothingToSplit) {
  const std::vector<float> cuts = {0.5f, 1.0f};
  for (const Shape& s : {Shape{0, 5, 0}, Shape{5, 0, 0}, Shape{0, 0, 0}}) {
    Matrix x(s.rows, s.cols);
    const Outcome got = split(*backend_, x.view(), {.cuts = cuts});
    EXPECT_EQ(got.errors, (std::vector<double>{0, 0}));
    EXPECT_EQ(got.upper, (std::vector<int64_t>{0, 0}));
  }
  Matrix x(3, 4);
  fill_normal(x.view(), 91);
  EXPECT_TRUE(split(*backend_, x.view(), {}).errors.empty());
}

TEST_P(Splits, RefusesWhatDoesNotFit) {
  Matrix x(3, 4);
  fill_normal(x.view(), 92);
  const std::vector<float> cuts = {0.5f, 1.0f}, descending = {1.0f, 0.5f}, nan = {std::nanf("")}, keys = {1, 2, 3, 4},
                           few(3, 1.0f), nan_key = {1, 2, std::nanf(""), 4};
  const SaliencyMask other = SaliencyMask::none(4, 4);
  EXPECT_NO_THROW(split(*backend_, x.view(), {.cuts = cuts, .column_keys = keys}));
  EXPECT_THROW(split(*backend_, x.view(), {.cuts = descending}), Error);
  EXPECT_THROW(split(*backend_, x.view(), {.cuts = nan}), Error);
  EXPECT_THROW(split(*backend_, x.view(), {.cuts = cuts, .column_keys = few}), Error);
  EXPECT_THROW(split(*backend_, x.view(), {.cuts = cuts, .column_keys = nan_key}), Error);
  EXPECT_THROW(split(*backend_, x.view(), {.cuts = cuts, .apart = &other}), Error);
  EXPECT_THROW(split(*backend_, x.view(), {.cuts = cuts, .order = 0}), Error);
  EXPECT_THROW(split(*backend_, x.view(), {.cuts = cuts, .order = 3}), Error);
  std::vector<double> one(1), two(2);
  std::vector<int64_t> one_count(1), two_counts(2);
  EXPECT_THROW(backend_->split_errors(x.view(), {.cuts = cuts}, one, two_counts), Error);
  EXPECT_THROW(backend_->split_errors(x.view(), {.cuts = cuts}, two, one_count), Error);
}

// The cut a search takes is the reference's: rounding decides nothing on weights as they are.
TEST_P(Splits, TheBestCutIsTheReferences) {
  const std::unique_ptr<Backend> oracle = backend("reference");
  for (uint64_t stream : {100, 101, 102}) {
    Matrix x(96, 128);
    fill_normal(x.view(), stream, 0.02);
    std::vector<float> sorted = magnitudes(x.view()), cuts, counts, keys = column_keys(128);
    std::sort(sorted.begin(), sorted.end());
    for (int k = 10; k <= 90; ++k)
      cuts.push_back(sorted[sorted.size() * static_cast<size_t>(k) / 100]);
    for (int c = 1; c < 50; ++c)
      counts.push_back(static_cast<float>(c));
    const SaliencyMask mask = SaliencyMask::columns(96, random_bits(1, 128, 0.1, stream + 10));
    for (const bool centered : {false, true}) {
      const SplitTrials groups{.cuts = cuts, .apart = &mask, .centered = centered},
          columns{.cuts = counts, .column_keys = keys, .order = 2, .centered = centered};
      EXPECT_EQ(split(*backend_, x.view(), groups).best(), split(*oracle, x.view(), groups).best());
      EXPECT_EQ(split(*backend_, x.view(), columns).best(), split(*oracle, x.view(), columns).best());
    }
  }
}

TEST_P(Splits, BytesDoNotDependOnThreads) {
  Matrix x(230, 97);
  fill_normal(x.view(), 110);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(230, 97, 0.1, 111));
  const std::vector<float> cuts = cuts_among(magnitudes(x.view()), 21);
  const SplitTrials trials{.cuts = cuts, .apart = &mask, .order = 2, .centered = true};
  Outcome expected;
  for (int n : {1, 3, 5}) {
    const Threads threads(n);
    const Outcome got = split(*backend_, x.view(), trials);
    if (n == 1) expected = got;
    EXPECT_EQ(got.errors, expected.errors) << n << " threads";
    EXPECT_EQ(got.upper, expected.upper);
  }
}

// --- the closed form of the CPU backend, by itself ---------------------------------------------------------------------------

TEST(BinarizationError, EqualsTheDefinition) {
  for (int64_t n = 1; n <= 40; ++n) {
    const std::vector<float> values = normal_vector(n, static_cast<uint64_t>(200 + n));
    std::vector<double> x;
    for (float v : values)
      x.push_back(v + (n % 3 == 0 ? 0.7 : 0.0));
    for (const int order : {1, 2})
      for (const bool centered : {false, true}) {
        EXPECT_NEAR(cpu::binarization_error(x, {order, centered}), plain_binarization_error(x, order, centered), 1e-11)
            << n << " values, order " << order;
        EXPECT_LE(cpu::binarization_error(x, {2, centered}), cpu::binarization_error(x, {1, centered}));
      }
  }
}

TEST(BinarizationError, ValuesAtTheMeanAndExactFits) {
  EXPECT_EQ(cpu::binarization_error({}, {2, true}), 0);
  const std::vector<double> one{3.0}, pair{1.0, 4.0}, equal(7, 0.3), third{-1, 0, 1};
  for (const int order : {1, 2}) {
    EXPECT_EQ(cpu::binarization_error(one, {order, true}), 0);
    EXPECT_EQ(cpu::binarization_error(one, {order, false}), 0);
    EXPECT_EQ(cpu::binarization_error(pair, {order, true}), 0);
    EXPECT_EQ(cpu::binarization_error(equal, {order, true}), 0);
  }
  EXPECT_NEAR(cpu::binarization_error(third, {1, true}), 2.0 / 9, 1e-15);
  EXPECT_NEAR(cpu::binarization_error(third, {2, true}), 2.0 / 81, 1e-15);
  // Around 0 with alpha = 5/2: 2 (3/2)^2.
  EXPECT_NEAR(cpu::binarization_error(pair, {1, false}), 4.5, 1e-15);
  EXPECT_EQ(cpu::binarization_error(pair, {2, false}), 0);
}

}  // namespace
}  // namespace sage::test
