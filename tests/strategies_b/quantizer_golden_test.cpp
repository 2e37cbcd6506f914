// Expected numbers: closed forms for the normal and Laplace distributions, and an independent NumPy implementation on the
// RNG-free fixture matrices (parameters in double there, so FP32 parameters here).
#include "strategies/quantizer/binary.h"
#include "strategies/quantizer/multibit.h"
#include "strategies/quantizer/uniform.h"
#include "tests/strategies_b/support.h"

namespace sage {
namespace {

using test::code;
using test::code_all;
using test::energy;

double tolerance(double expected) { return std::max(2e-5, 1e-3 * expected); }

const Matrix& fixture(bool laplace) {
  static const Matrix normal = test::fixture_normal(), other = test::fixture_laplace();
  return laplace ? other : normal;
}

double relative(const Quantizer& q, WeightView w, const GroupMap* groups = nullptr) {
  return code_all(q, w, Numerics::kReference, groups).squared_error / energy(w);
}

struct Row {
  double normal, laplace;
};

void expect_relative(const Quantizer& q, Row expected, const GroupMap* groups = nullptr) {
  const double n = relative(q, fixture(false).view(), groups), l = relative(q, fixture(true).view(), groups);
  EXPECT_NEAR(n, expected.normal, tolerance(expected.normal));
  EXPECT_NEAR(l, expected.laplace, tolerance(expected.laplace));
}

Uniform uniform(int bits, int64_t group_size) { return Uniform({bits, group_size, false, false}); }

TEST(QuantizerGolden, UniformPerRow) {
  expect_relative(uniform(2, 0), {.38491, .52317});
  expect_relative(uniform(3, 0), {.07229, .14354});
  expect_relative(uniform(4, 0), {.01572, .03416});
}

TEST(QuantizerGolden, UniformPerGroupOf128) {
  expect_relative(uniform(2, 128), {.25315, .32194});
  expect_relative(uniform(3, 128), {.04645, .07453});
  expect_relative(uniform(4, 128), {.01012, .01704});
}

TEST(QuantizerGolden, BinaryByPosition) {
  const auto map = [](LabelShape shape, int64_t block) {
    GroupMap g = GroupMap::single(1024, 1024);
    g.shape = shape;
    g.block = block;
    if (shape == LabelShape::kColumn) {
      g.groups = 1024 / block;
      for (int64_t j = 0; j < 1024; ++j)
        g.label.push_back(static_cast<uint32_t>(j / block));
    } else {
      g.groups = 1024 * (1024 / block);
      for (int64_t k = 0; k < g.groups; ++k)
        g.label.push_back(static_cast<uint32_t>(k));
    }
    return g;
  };
  const Binary group({});
  expect_relative(group, {.36338, .50000});
  expect_relative(Binary({BinaryScale::kRow, false, 8}), {.36302, .49951});
  const GroupMap columns = map(LabelShape::kColumn, 128), b128 = map(LabelShape::kRowBlock, 128),
                 b64 = map(LabelShape::kRowBlock, 64);
  expect_relative(group, {.36338, .49999}, &columns);
  expect_relative(group, {.36044, .49597}, &b128);
  expect_relative(group, {.35754, .49201}, &b64);
}

TEST(QuantizerGolden, BinaryRank1) { expect_relative(Binary({BinaryScale::kRank1, false, 4}), {.36268, .49903}); }

TEST(QuantizerGolden, BinaryScaleIsTheMeanMagnitude) {
  for (const auto& [laplace, expected] : {std::pair(false, .79788), std::pair(true, .70711)}) {
    const test::Coded c = code_all(Binary({}), fixture(laplace).view(), Numerics::kReference);
    EXPECT_NEAR(c.planes.number_planes().at("binary_scales").values.at(0), expected, 2e-5);
  }
}

TEST(QuantizerGolden, BinaryOfTheUnsalient) {
  for (const auto& [laplace, error, threshold] : {std::tuple(false, .31823, 2.57579), std::tuple(true, .38789, 3.25626)}) {
    const WeightView w = fixture(laplace).view();
    double t = 0;
    const SaliencyMask mask = test::largest(w, .01, &t);
    EXPECT_EQ(mask.count(), 10486);
    EXPECT_NEAR(t, threshold, 1e-3 * threshold);
    const test::Coded c = code(Binary({}), w, mask, false, GroupMap::single(1024, 1024), t, Numerics::kReference);
    EXPECT_NEAR(c.squared_error / energy(w), error, tolerance(error));
    if (!laplace) {
      EXPECT_NEAR(c.planes.number_planes().at("binary_scales").values.at(0), .7767, 1e-4);
    }
  }
}

// sum over the salient weights of (w - what)^2 / sum of all w^2.
struct Mode1Case {
  double ratio;
  int bits;
  MultibitGrid grid;
  Row expected;
};

TEST(QuantizerGolden, MultibitOfTheSalient) {
  const std::vector<Mode1Case> cases = {
      {.01, 4, MultibitGrid::kMidrise, {1.1592e-04, 3.0323e-04}},  {.01, 4, MultibitGrid::kMidtread, {1.3070e-04, 3.3835e-04}},
      {.01, 4, MultibitGrid::kOffset, {1.2489e-05, 7.5935e-05}},   {.01, 2, MultibitGrid::kMidrise, {7.7480e-04, 4.2023e-03}},
      {.01, 2, MultibitGrid::kMidtread, {7.7480e-04, 4.5151e-03}}, {.01, 2, MultibitGrid::kOffset, {3.0893e-04, 1.6739e-03}},
      {.03, 2, MultibitGrid::kMidrise, {3.0428e-03, 1.3161e-02}},  {.03, 2, MultibitGrid::kMidtread, {3.0428e-03, 1.4521e-02}},
      {.03, 2, MultibitGrid::kOffset, {1.4731e-03, 6.9104e-03}}};
  for (const Mode1Case& c : cases)
    for (bool laplace : {false, true}) {
      const WeightView w = fixture(laplace).view();
      double t = 0;
      const SaliencyMask mask = test::largest(w, c.ratio, &t);
      const double expected = laplace ? c.expected.laplace : c.expected.normal;
      const double got =
          code(Multibit({c.bits, c.grid}), w, mask, true, GroupMap::single(1024, 1024), t, Numerics::kReference).squared_error /
          energy(w);
      EXPECT_NEAR(got, expected, .05 * expected)
          << "bits " << c.bits << " ratio " << c.ratio << " grid " << static_cast<int>(c.grid);
    }
}

TEST(QuantizerGolden, PaperBitsOf4096Columns) {
  // 4 bits for 1 % of the weights of a 256 x 4096 matrix and 1 bit for the others; one scale per row and a scalar.
  const Matrix w = test::make_random("gauss", 256, 4096, 3);
  const SaliencyMask mask = test::largest(w.view(), .01);
  const GroupMap one = GroupMap::single(256, 4096);
  const PaperCount high = code(Multibit({}), w.view(), mask, true, one).paper,
                   low = code(Binary({}), w.view(), mask, false, one).paper;
  const double n = static_cast<double>(w.size());
  EXPECT_NEAR((high.weight_bits + low.weight_bits) / n, 1.03, 1e-4);
  EXPECT_NEAR(16 * high.scale_words / n, .0039, 1e-4);
  EXPECT_EQ(low.scale_words, 1);
  EXPECT_EQ(high.scale_words, 256);
}

TEST(QuantizerGolden, MeanShiftOfSignedGroups) {
  // Two groups of opposite sign: around 0 a group's signs are all equal and the error is that of one level per group,
  // E w^2 - (E|w|)^2 = 1 - 2/pi; around its mean a group is a half normal split at its mean. Both from the distribution itself.
  const WeightView w = fixture(false).view();
  GroupMap g = GroupMap::single(1024, 1024);
  g.shape = LabelShape::kElement;
  g.groups = 2;
  for (int64_t k = 0; k < w.size(); ++k)
    g.element.push_back(w.data[k] < 0 ? 1 : 0);
  EXPECT_NEAR(relative(Binary({}), w, &g), 1 - 2 / M_PI, 2e-5 + 1e-3 * .363);
  // Half normal x: mean c = sqrt(2/pi), a = E|x - c| = 2 (density(c) * 2 - c (2 - 2 cdf(c))), error = 1 - c^2 - a^2.
  const double c = std::sqrt(2 / M_PI), a = 2 * (2 * test::normal_density(c) - c * 2 * (1 - test::normal_cdf(c)));
  EXPECT_NEAR(relative(Binary({BinaryScale::kGroup, true, 8}), w, &g), 1 - c * c - a * a, 1e-4);
}

}  // namespace
}  // namespace sage
