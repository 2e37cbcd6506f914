// Moments and residual levels of units: every backend against the definition, on awkward shapes, masks and labels.
#include <cstring>

#include "core/util/half.h"
#include "tests/kernels/selections.h"
#include "tests/kernels/support.h"

namespace sage::test {
namespace {

class Fits : public BackendTest {
 protected:
  // Runs body(w, own, map) for every shape, ordinary and hostile values, both selections of every mask, and every label shape;
  // where kernels are executed thread by thread, for every third of these combinations.
  template <class Body>
  void for_all(const Body& body) {
    uint64_t stream = 1, turn = 0;
    for (const Shape& s : shapes(GetParam())) {
      if (s.rows * s.cols > 22000) continue;
      for (bool hostile : {false, true}) {
        Padded w(s.rows, s.cols, s.extra);
        if (hostile)
          fill_hostile(w.view(), ++stream);
        else
          fill_normal(w.view(), ++stream, 0.02);
        for (const SaliencyMask& mask : masks(s)) {
          for (bool salient : {false, true}) {
            for (const GroupMap& g : group_maps(s)) {
              if (is_emulated(GetParam()) && ++turn % 3 != 0) continue;
              SCOPED_TRACE(testing::Message()
                           << s.rows << " x " << s.cols << " + " << s.extra << (hostile ? " hostile" : "") << ", label shape "
                           << static_cast<int>(g.shape) << " groups " << g.groups << ", mask " << static_cast<int>(mask.shape())
                           << " salient " << salient << ", seed " << seed());
              body(std::as_const(w).view(), Selection{&mask, salient}, g);
              if (testing::Test::HasFailure()) return;
            }
          }
        }
      }
    }
  }
  std::unique_ptr<Backend> oracle_ = backend("reference");
};
INSTANTIATE_TEST_SUITE_P(Backends, Fits, testing::ValuesIn(backend_names()), test_name);

TEST_P(Fits, UnitMoments) {
  for_all([&](WeightView w, const Selection& own, const GroupMap& g) {
    for (bool by_row : {false, true}) {
      for (bool by_group : {false, true}) {
        if (!by_group && g.shape != LabelShape::kSingle) continue;  // the same for all maps
        const ScaleUnits units("test", g, by_row, by_group);
        const std::vector<float> center = normal_vector(units.count(), 70, 0.01);
        for (bool centered : {false, true}) {
          std::vector<Moments> expected(static_cast<size_t>(units.count())), got(expected);
          got.assign(got.size(), Moments{7, 7, 7, 7});
          for (int64_t i = 0; i < w.rows; ++i) {
            for (int64_t j = 0; j < w.cols; ++j) {
              if (!own.owns(i, j)) continue;
              const auto u = static_cast<size_t>((by_row ? i * (by_group ? g.groups : 1) : 0) + (by_group ? g.at(i, j) : 0));
              const double d = static_cast<double>(w(i, j)) - (centered ? center[u] : 0.0f);
              Moments& m = expected[u];
              m.count += 1;
              m.sum += d;
              m.abs_sum += std::fabs(d);
              m.sq_sum += d * d;
            }
          }
          backend_->unit_moments(w, own, units, centered ? center : std::vector<float>(), got);
          SCOPED_TRACE(testing::Message() << "by row " << by_row << ", by group " << by_group << ", centered " << centered);
          for (size_t u = 0; u < got.size(); ++u) {
            if (same_bits(expected[u], got[u])) continue;
            expect_moments(expected[u], got[u]);
            if (testing::Test::HasFailure()) return;
          }
        }
      }
    }
  });
}

std::vector<ResidualRule> rules() {
  std::vector<ResidualRule> out;
  for (int order = 1; order <= ResidualRule::kMostOrders; ++order)
    for (int bits = 0; bits < 16; ++bits)
      out.push_back({order, (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0});
  return out;
}
testing::Message text(const ResidualRule& r) {
  return testing::Message() << "order " << r.order << " centered " << r.centered << " merged " << r.merge_means << " keep zero "
                            << r.keep_zero << " half " << r.half_numbers;
}

float as_stored(double v, bool half) {
  const auto f = static_cast<float>(v);
  return half ? round_to_finite_half(f) : f;
}
float sign_of(float v, bool keep_zero) { return v < 0 ? -1.0f : v > 0 || !keep_zero ? 1.0f : 0.0f; }

// A number that stands for a sum of doubles, whose last bits depend on the order: it lies where the neighbours of the sum are
// rounded to. `scatter`: mean magnitude of the terms.
void expect_rounded(double mean, double scatter, float got, bool half) {
  const double tolerance = 1e-12 * scatter;
  EXPECT_GE(got, as_stored(mean - tolerance, half)) << mean;
  EXPECT_LE(got, as_stored(mean + tolerance, half)) << mean;
}

// Follows the definition order by order with the levels that came out, each of which must be the mean it stands for; then the
// error. Orders build on one another, so levels of two backends may be compared only while all sums are exact.
void expect_levels(WeightView w, const Selection& own, const GroupMap& g, const ResidualRule& rule,
                   std::span<const ResidualLevels> levels, double error) {
  std::vector<std::vector<float>> members(levels.size());
  for (int64_t i = 0; i < w.rows; ++i)
    for (int64_t j = 0; j < w.cols; ++j)
      if (own.owns(i, j)) members[static_cast<size_t>(i * g.groups + g.at(i, j))].push_back(w(i, j));
  double expected_error = 0;
  for (size_t u = 0; u < levels.size(); ++u) {
    const ResidualLevels& l = levels[u];
    const std::vector<float>& x = members[u];
    if (x.empty()) {
      const ResidualLevels nothing;
      ASSERT_EQ(std::memcmp(&l, &nothing, sizeof l), 0) << "unit " << u;
      continue;
    }
    SCOPED_TRACE(testing::Message() << "unit " << u);
    ASSERT_EQ(l.count, static_cast<int64_t>(x.size()));
    const auto n = static_cast<double>(x.size());
    const auto orders = static_cast<size_t>(rule.order);
    std::vector<float> made(x.size(), 0.0f), decoded(x.size(), 0.0f);
    double centers = 0;
    for (size_t o = 0; o < orders; ++o) {
      double sum = 0, magnitude = 0, distance = 0;
      for (size_t k = 0; k < x.size(); ++k) {
        const float r = x[k] - made[k];
        sum += r;
        magnitude += std::fabs(r);
        distance += std::fabs(r - l.center[o]);
      }
      if (rule.centered)
        expect_rounded(sum / n, magnitude / n, l.center[o], rule.half_numbers && !rule.merge_means);
      else
        EXPECT_EQ(l.center[o], 0.0f);
      expect_rounded(distance / n, distance / n, l.scale[o], rule.half_numbers);
      centers += l.center[o];
      for (size_t k = 0; k < x.size(); ++k)
        made[k] += l.center[o] + l.scale[o] * sign_of((x[k] - made[k]) - l.center[o], rule.keep_zero);
    }
    std::fill(made.begin(), made.end(), 0.0f);
    for (size_t o = 0; o < static_cast<size_t>(ResidualRule::kMostOrders); ++o) {
      if (o >= orders) {
        EXPECT_EQ(l.center[o], 0.0f);
        EXPECT_EQ(l.scale[o], 0.0f);
      }
      const float mean = !rule.merge_means ? l.center[o] : o == 0 ? as_stored(centers, rule.half_numbers) : 0.0f;
      EXPECT_EQ(l.mean[o], mean) << o;
      for (size_t k = 0; k < x.size() && o < orders; ++k) {
        const float s = l.scale[o] * sign_of((x[k] - made[k]) - l.center[o], rule.keep_zero);
        made[k] += l.center[o] + s;
        decoded[k] = o == 0 ? mean + s : decoded[k] + (rule.merge_means ? s : mean + s);
      }
    }
    for (size_t k = 0; k < x.size(); ++k) {
      const double e = static_cast<double>(x[k]) - decoded[k];
      expected_error += e * e;
    }
  }
  EXPECT_TRUE(near(error, expected_error, 1e-11)) << error << " " << expected_error;
}

TEST_P(Fits, ResidualLevelsFollowTheDefinition) {
  const std::vector<ResidualRule> all = rules();
  size_t turn = 0;
  for_all([&](WeightView w, const Selection& own, const GroupMap& g) {
    const ScaleUnits units("test", g, true, true);
    const ResidualRule& rule = all[turn++ * 7 % all.size()];
    SCOPED_TRACE(text(rule));
    std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
    for (ResidualLevels& l : levels)
      l.scale[3] = l.mean[2] = 7;
    const double error = backend_->residual_binarize(w, own, units, rule, levels);
    expect_levels(w, own, g, rule, levels, error);
  });
}

TEST_P(Fits, LevelsAreThoseOfTheReferenceToTheBitWhereSumsAreExact) {
  const Shape s{9, 131, 0};
  const Matrix w = exact_weights(s.rows, s.cols, 60);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(s.rows, s.cols, 0.3, 61));
  for (const GroupMap& g : group_maps(s)) {
    const ScaleUnits units("test", g, true, true);
    for (const ResidualRule& rule : rules()) {
      if (rule.centered && (rule.merge_means || !rule.half_numbers)) continue;  // means of any fineness
      if (rule.order > 1 && !rule.half_numbers) continue;
      SCOPED_TRACE(testing::Message() << text(rule) << ", label shape " << static_cast<int>(g.shape));
      std::vector<ResidualLevels> expected(static_cast<size_t>(units.count())), got(expected);
      const double e = oracle_->residual_binarize(w.view(), {&mask, false}, units, rule, expected);
      EXPECT_TRUE(near(backend_->residual_binarize(w.view(), {&mask, false}, units, rule, got), e, 1e-13));
      ASSERT_EQ(std::memcmp(got.data(), expected.data(), got.size() * sizeof(ResidualLevels)), 0);
    }
  }
}

ResidualLevels fit_row(const Backend& b, std::vector<float> values, const ResidualRule& rule, double* error) {
  const WeightView w(values.data(), 1, static_cast<int64_t>(values.size()));
  const SaliencyMask none = SaliencyMask::none(1, w.cols);
  const GroupMap g = GroupMap::single(1, w.cols);
  std::vector<ResidualLevels> out(1);
  *error = b.residual_binarize(w, {&none, false}, ScaleUnits("test", g, true, true), rule, out);
  return out[0];
}

TEST_P(Fits, ResidualLevelsOfKnownRows) {
  double error = 0;
  // Mean 1, mean distance 2: levels -1 and 3, what is left +-1 around 0.
  ResidualLevels l = fit_row(*backend_, {-2, 0, 2, 4}, {1, true, true, false, true}, &error);
  EXPECT_EQ(l.center[0], 1);
  EXPECT_EQ(l.mean[0], 1);
  EXPECT_EQ(l.scale[0], 2);
  EXPECT_EQ(l.count, 4);
  EXPECT_EQ(error, 4);
  l = fit_row(*backend_, {-2, 0, 2, 4}, {2, true, false, false, true}, &error);
  EXPECT_EQ(l.mean[1], 0);
  EXPECT_EQ(l.scale[1], 1);
  EXPECT_EQ(error, 0);
  // Zeros: +1 takes them with it, sgn(0) = 0 leaves them.
  l = fit_row(*backend_, {-3, 0, -0.0f, 3}, {1, false, true, false, true}, &error);
  EXPECT_EQ(l.scale[0], 1.5f);
  EXPECT_EQ(error, 4 * 1.5 * 1.5);
  fit_row(*backend_, {-3, 0, -0.0f, 3}, {1, false, true, true, true}, &error);
  EXPECT_EQ(error, 2 * 1.5 * 1.5);
  // 1 + 2^-12 lies between two halves, of which 1 is the nearer; in the merged form the mean that signs are taken around stays.
  const float fine = 1 + 0x1p-12f;
  l = fit_row(*backend_, {fine, fine}, {1, true, true, false, true}, &error);
  EXPECT_EQ(l.center[0], fine);
  EXPECT_EQ(l.mean[0], 1);
  EXPECT_EQ(error, 2 * 0x1p-24);
  l = fit_row(*backend_, {fine, fine}, {1, true, false, false, true}, &error);
  EXPECT_EQ(l.center[0], 1);
  EXPECT_EQ(l.scale[0], 0x1p-12f);
  EXPECT_EQ(error, 0);
}

TEST_P(Fits, HalfNumbersSaturateAndUnderflow) {
  double error = 0;
  const auto scale = [&](float v, bool half) {
    return fit_row(*backend_, {v, -v, v}, {1, false, true, false, half}, &error).scale[0];
  };
  EXPECT_EQ(scale(1e6f, true), 65504);
  EXPECT_EQ(error, 3 * (1e6 - 65504.0) * (1e6 - 65504.0));
  EXPECT_EQ(scale(1e6f, false), 1e6f);
  EXPECT_EQ(error, 0);
  EXPECT_EQ(scale(65519, true), 65504);
  EXPECT_EQ(scale(65520, true), 65504);
  EXPECT_EQ(scale(2048 + 1, true), 2048);  // ties to even
  EXPECT_EQ(scale(2048 + 3, true), 2048 + 4);
  EXPECT_EQ(scale(0x1p-24f, true), 0x1p-24f);
  EXPECT_EQ(scale(0x1.8p-25f, true), 0x1p-24f);
  EXPECT_EQ(scale(0x1p-25f, true), 0);
  EXPECT_EQ(scale(0x1.8p-24f, true), 0x1p-23f);
  EXPECT_EQ(scale(1e-45f, true), 0);
  EXPECT_EQ(scale(1e-45f, false), 1e-45f);
  const ResidualLevels l = fit_row(*backend_, {-1e6f, -1e6f}, {1, true, false, false, true}, &error);
  EXPECT_EQ(l.mean[0], -65504);
}

TEST_P(Fits, WhatIsNotFiniteShowsWhereItIsOwned) {
  const GroupMap g = random_labels(LabelShape::kElement, 3, 70, 3, 0, 50);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(3, 70, 0.5, 51));
  for (float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    Matrix w = exact_weights(3, 70, 52);
    for (int64_t j = 0; j < 70; ++j)
      if (mask.test(1, j)) w(1, j) = bad;
    for (const ResidualRule& rule : rules())
      for (bool by_group : {false, true}) {
        SCOPED_TRACE(text(rule));
        const ScaleUnits units("test", g, true, by_group);
        std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
        EXPECT_TRUE(std::isfinite(backend_->residual_binarize(w.view(), {&mask, false}, units, rule, levels)));
        EXPECT_FALSE(std::isfinite(backend_->residual_binarize(w.view(), {&mask, true}, units, rule, levels)));
      }
    for (bool by_row : {false, true}) {
      const ScaleUnits units("test", g, by_row, true);
      std::vector<Moments> m(static_cast<size_t>(units.count()));
      backend_->unit_moments(w.view(), {&mask, false}, units, {}, m);
      for (const Moments& k : m)
        EXPECT_TRUE(std::isfinite(k.abs_sum));
    }
  }
}

TEST_P(Fits, RefuseWhatDoesNotFit) {
  Matrix w = Matrix::zeros(2, 100);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(2, 100, 0.5, 53));
  const Selection own{&mask, true};
  GroupMap g = random_labels(LabelShape::kElement, 2, 100, 3, 0, 54);
  const auto moments = [&](bool by_row, size_t outputs, size_t centers) {
    const ScaleUnits units("test", g, by_row, true);
    std::vector<Moments> out(outputs);
    backend_->unit_moments(w.view(), own, units, std::vector<float>(centers), out);
  };
  const auto residual = [&](bool by_row, int order, size_t outputs) {
    const ScaleUnits units("test", g, by_row, true);
    std::vector<ResidualLevels> out(outputs);
    backend_->residual_binarize(w.view(), own, units, {order, true, true, false, true}, out);
  };
  EXPECT_NO_THROW(moments(false, 3, 0));
  EXPECT_NO_THROW(moments(true, 6, 6));
  EXPECT_THROW(moments(true, 3, 0), Error);
  EXPECT_THROW(moments(true, 6, 3), Error);
  EXPECT_NO_THROW(residual(true, 4, 6));
  EXPECT_THROW(residual(true, 0, 6), Error);
  EXPECT_THROW(residual(true, 5, 6), Error);
  EXPECT_THROW(residual(true, 1, 5), Error);
  EXPECT_THROW(residual(false, 1, 3), Error);
  for (size_t at : {size_t{0}, size_t{137}, size_t{199}}) {  // owned or not
    const uint8_t before = std::exchange(g.element[at], uint8_t{3});
    EXPECT_THROW(moments(false, 3, 0), Error) << at;
    EXPECT_THROW(moments(true, 6, 6), Error) << at;
    EXPECT_THROW(residual(true, 1, 6), Error) << at;
    g.element[at] = before;
  }
  g.groups = 1;
  g.element.assign(200, 0);
  EXPECT_NO_THROW(residual(true, 1, 2));
  g.element[150] = 1;
  EXPECT_THROW(residual(true, 1, 2), Error);
  g = random_labels(LabelShape::kColumn, 2, 100, 3, 0, 55);
  g.label[99] = 3;
  EXPECT_THROW(moments(true, 6, 0), Error);
  EXPECT_THROW(residual(true, 1, 6), Error);
  g.label.pop_back();
  EXPECT_THROW(moments(true, 6, 0), Error);
}

// One string of bytes with every result on matrices that are cut into many tasks.
std::vector<unsigned char> all_bytes(const Backend& b) {
  std::vector<unsigned char> out;
  const auto put = [&](const void* p, size_t n) {
    const auto* c = static_cast<const unsigned char*>(p);
    out.insert(out.end(), c, c + n);
  };
  const Shape s = is_emulated(b.name()) ? Shape{70, 277, 3} : Shape{613, 577, 3};
  Padded w(s.rows, s.cols, s.extra);
  fill_hostile(w.view(), 99);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(s.rows, s.cols, 0.3, 98));
  const std::vector<ResidualRule> all = rules();
  size_t turn = 0;
  for (const GroupMap& g : group_maps(s)) {
    for (bool by_row : {false, true}) {
      const ScaleUnits units("test", g, by_row, true);
      std::vector<Moments> m(static_cast<size_t>(units.count()));
      b.unit_moments(std::as_const(w).view(), {&mask, false}, units, normal_vector(units.count(), 97), m);
      put(m.data(), m.size() * sizeof(Moments));
      if (!by_row) continue;
      std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
      const double e =
          b.residual_binarize(std::as_const(w).view(), {&mask, false}, units, all[turn++ * 13 % all.size()], levels);
      put(levels.data(), levels.size() * sizeof(ResidualLevels));
      put(&e, sizeof e);
    }
  }
  return out;
}

class FitsThreads : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, FitsThreads, testing::ValuesIn(threaded_backend_names()), test_name);
TEST_P(FitsThreads, DoNotChangeTheBytes) {
  std::vector<unsigned char> one;
  {
    const Threads threads(1);
    one = all_bytes(*backend_);
  }
  for (int n : {2, 3, 5}) {
    const Threads threads(n);
    EXPECT_TRUE(all_bytes(*backend_) == one) << n << " threads";
  }
}

}  // namespace
}  // namespace sage::test
