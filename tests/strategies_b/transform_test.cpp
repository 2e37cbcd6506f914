#include <omp.h>

#include <tuple>

#include "strategies/quantizer/binary.h"
#include "strategies/transform/hadamard.h"
#include "strategies/transform/none.h"
#include "strategies/transform/scale.h"
#include "tests/strategies_b/support.h"

namespace sage {
namespace {

using test::backend;
using test::context;

struct Applied {
  Matrix transformed;
  PlaneWriter planes{Numerics::kPacked};
};

Applied apply(const Transform& t, WeightView w, Numerics numerics = Numerics::kPacked, uint64_t seed = 1) {
  Applied a;
  const std::unique_ptr<FittedTransform> fitted = t.fit(context(w, numerics, seed));
  a.transformed = Matrix::copy(w);
  fitted->apply(a.transformed.view(), backend());
  a.planes = PlaneWriter(numerics);
  fitted->emit(a.planes);
  int64_t numbers = 0;
  for (const auto& [name, p] : a.planes.number_planes()) {
    numbers += static_cast<int64_t>(p.values.size());
    EXPECT_EQ(p.role, Role::kTransform);
  }
  EXPECT_EQ(numbers, fitted->number_count());
  return a;
}

Matrix invert(const Transform& t, const Applied& a) {
  Matrix m = Matrix::copy(a.transformed.view());
  PlaneReader reader = test::reader_of(a.planes);
  t.invert(reader, m.view(), backend());
  EXPECT_NO_THROW(reader.expect_consumed());
  return m;
}

double distance(const Matrix& a, const Matrix& b) { return backend().squared_distance(a.view(), b.view()); }

const std::vector<std::pair<int64_t, int64_t>> kShapes = {{1, 1},  {1, 37},   {29, 1}, {7, 63},  {5, 64},
                                                          {6, 65}, {12, 576}, {40, 3}, {300, 20}};

TEST(Transforms, InvertGivesTheMatrixBack) {
  std::vector<std::unique_ptr<Transform>> all;
  all.push_back(std::make_unique<NoTransform>(NoTransform::Params{}));
  all.push_back(std::make_unique<ScaleTransform>(ScaleTransform::Params{ScaleMode::kRow, 4}));
  all.push_back(std::make_unique<ScaleTransform>(ScaleTransform::Params{ScaleMode::kRank1, 4}));
  for (RotatedSide side : {RotatedSide::kInput, RotatedSide::kOutput, RotatedSide::kBoth})
    all.push_back(std::make_unique<HadamardTransform>(HadamardTransform::Params{side}));
  for (const auto& [rows, cols] : kShapes) {
    const Matrix w = test::make_random("t10+s", rows, cols, 3);
    for (size_t k = 0; k < all.size(); ++k) {
      const Applied a = apply(*all[k], w.view());
      EXPECT_LT(distance(w, invert(*all[k], a)), 1e-10 * test::energy(w.view())) << k << ": " << rows << "x" << cols;
      EXPECT_EQ(all[k]->is_identity(), k == 0);
    }
  }
}

TEST(Hadamard, IsOrthogonalForAnyWidth) {
  for (int64_t n : {1, 2, 3, 5, 12, 31, 64, 65, 96, 100, 127, 576}) {
    Matrix identity = Matrix::zeros(n, n);
    for (int64_t i = 0; i < n; ++i)
      identity(i, i) = 1;
    for (RotatedSide side : {RotatedSide::kInput, RotatedSide::kOutput}) {
      const Matrix r = apply(HadamardTransform({side}), identity.view()).transformed;
      double worst = 0;
      for (int64_t a = 0; a < n; ++a)
        for (int64_t b = 0; b <= a; ++b) {
          double dot = 0;
          for (int64_t k = 0; k < n; ++k)
            dot += static_cast<double>(r(a, k)) * r(b, k);
          worst = std::max(worst, std::abs(dot - (a == b ? 1 : 0)));
        }
      EXPECT_LT(worst, 2e-6) << n;
    }
  }
}

TEST(Hadamard, KeepsEnergyAndSpreadsOutliers) {
  for (int64_t n : {512, 576}) {
    Matrix w = test::make_random("gauss", 16, n, 5);
    for (int64_t i = 0; i < 16; ++i)
      w(i, 17) = 40;
    const Matrix r = apply(HadamardTransform({RotatedSide::kInput}), w.view()).transformed;
    EXPECT_NEAR(test::energy(r.view()), test::energy(w.view()), 1e-5 * test::energy(w.view()));
    float largest = 0;
    for (int64_t k = 0; k < r.size(); ++k)
      largest = std::max(largest, std::abs(r.data()[k]));
    EXPECT_LT(largest, 12);  // 40 / sqrt(512) = 1.8 on every entry, beside the normal part
  }
}

TEST(Hadamard, MakesHeavyTailsNormal) {
  // Sign with a row scale: 1 - 2/pi for any normal matrix; .460 for Student-t with 5 degrees of freedom.
  const Matrix w = test::make_random("t5", 256, 576, 6);
  const Binary rows({BinaryScale::kRow, false, 8});
  const double plain = test::code_all(rows, w.view()).squared_error / test::energy(w.view());
  EXPECT_NEAR(plain, .460, .012);
  for (RotatedSide side : {RotatedSide::kInput, RotatedSide::kBoth}) {
    const Applied a = apply(HadamardTransform({side}), w.view());
    EXPECT_NEAR(test::code_all(rows, a.transformed.view()).squared_error / test::energy(a.transformed.view()), 1 - 2 / M_PI,
                .008);
  }
}

TEST(Hadamard, DependsOnTheSeedAndStoresIt) {
  const Matrix w = test::make_random("gauss", 8, 96, 5);
  const Applied a = apply(HadamardTransform({RotatedSide::kInput}), w.view(), Numerics::kPacked, 1),
                again = apply(HadamardTransform({RotatedSide::kInput}), w.view(), Numerics::kPacked, 1),
                other = apply(HadamardTransform({RotatedSide::kInput}), w.view(), Numerics::kPacked, 2);
  EXPECT_EQ(distance(a.transformed, again.transformed), 0);
  EXPECT_GT(distance(a.transformed, other.transformed), .1 * test::energy(w.view()));
  EXPECT_NE(a.planes.integers().at("hadamard_seed"), other.planes.integers().at("hadamard_seed"));
  PlaneReader empty({}, {}, {}, "test");
  Matrix m = Matrix::copy(w.view());
  EXPECT_THROW(HadamardTransform({RotatedSide::kInput}).invert(empty, m.view(), backend()), ResourceError);
}

TEST(Scale, RowsHaveUnitRms) {
  const Matrix w = test::make_random("t10+s", 30, 576, 9);
  const Matrix r = apply(ScaleTransform({ScaleMode::kRow, 4}), w.view(), Numerics::kReference).transformed;
  for (int64_t i = 0; i < 30; ++i)
    EXPECT_NEAR(test::energy(r.view().row_range(i, i + 1)) / 576, 1, 1e-5);
}

TEST(Scale, Rank1EvensOutRowsAndColumns) {
  const Matrix w = test::make_random("t10+s", 256, 320, 9);
  const Applied a = apply(ScaleTransform({ScaleMode::kRank1, 4}), w.view(), Numerics::kReference);
  const Matrix& r = a.transformed;
  for (int64_t i = 0; i < r.rows(); ++i)
    EXPECT_NEAR(test::energy(r.view().row_range(i, i + 1)) / 320, 1, .02);
  for (int64_t j = 0; j < r.cols(); ++j)
    EXPECT_NEAR(test::energy(r.view().columns(j, j + 1)) / 256, 1, 1e-4);
}

TEST(Scale, RemovesARank1PatternExactly) {
  Matrix w(24, 50);
  for (int64_t i = 0; i < 24; ++i)
    for (int64_t j = 0; j < 50; ++j)
      w(i, j) = static_cast<float>((1 + i) * (2 + std::cos(static_cast<double>(j))) * ((i * 7 + j * 3) % 2 == 0 ? 1 : -1));
  const Matrix r = apply(ScaleTransform({ScaleMode::kRank1, 4}), w.view(), Numerics::kReference).transformed;
  for (int64_t k = 0; k < r.size(); ++k)
    EXPECT_NEAR(std::abs(r.data()[k]), 1, 1e-5);
}

TEST(Scale, ZeroRowsAndColumnsAreSafe) {
  Matrix w = test::make_random("gauss", 20, 33, 9);
  for (int64_t j = 0; j < 33; ++j)
    w(4, j) = 0;
  for (int64_t i = 0; i < 20; ++i)
    w(i, 7) = 0;
  Matrix zeros = Matrix::zeros(3, 5);
  for (ScaleMode mode : {ScaleMode::kRow, ScaleMode::kRank1})
    for (const Matrix* m : {&w, &zeros}) {
      const ScaleTransform t({mode, 4});
      const Applied a = apply(t, m->view());
      for (int64_t k = 0; k < a.transformed.size(); ++k)
        ASSERT_TRUE(std::isfinite(a.transformed.data()[k]));
      EXPECT_LE(distance(*m, invert(t, a)), 1e-10 * test::energy(m->view()));
    }
}

TEST(Scale, TinyMatricesSurviveFp16) {
  Matrix w = test::make_random("gauss", 20, 33, 9);
  for (int64_t k = 0; k < w.size(); ++k)
    w.data()[k] *= 1e-9f;
  for (ScaleMode mode : {ScaleMode::kRow, ScaleMode::kRank1}) {
    const ScaleTransform t({mode, 4});
    EXPECT_LT(distance(w, invert(t, apply(t, w.view()))), 1e-10 * test::energy(w.view()));
  }
}

TEST(Scale, CountsItsWords) {
  const Matrix w = test::make_random("gauss", 20, 33, 9);
  EXPECT_EQ(ScaleTransform({ScaleMode::kRow, 4}).fit(context(w.view()))->paper_scale_words(), 20);
  EXPECT_EQ(ScaleTransform({ScaleMode::kRank1, 4}).fit(context(w.view()))->paper_scale_words(), 53);
  EXPECT_EQ(HadamardTransform({RotatedSide::kBoth}).fit(context(w.view()))->paper_scale_words(), 0);
}

// What the transform is for: one set of levels for the whole matrix no longer starves rows of small norm.
TEST(Scale, HelpsMatrixWideGroups) {
  const Matrix w = test::make_random("t10+s", 200, 576, 9);
  const double before = test::code_all(Binary({}), w.view()).squared_error / test::energy(w.view());
  const auto after = [&](ScaleMode mode) {
    const ScaleTransform t({mode, 4});
    Applied a = apply(t, w.view());
    a.transformed = Matrix::copy(test::code_all(Binary({}), a.transformed.view()).decoded.view());
    return distance(w, invert(t, a)) / test::energy(w.view());
  };
  EXPECT_LT(after(ScaleMode::kRow), before - .01);
  EXPECT_LT(after(ScaleMode::kRank1), after(ScaleMode::kRow) - .005);
}

TEST(Transforms, SameResultForOneAndTwoThreads) {
  const Matrix w = test::make_random("t10+s", 190, 576, 9);
  const int before = omp_get_max_threads();
  for (ScaleMode mode : {ScaleMode::kRow, ScaleMode::kRank1}) {
    const ScaleTransform t({mode, 4});
    omp_set_num_threads(1);
    const Applied one = apply(t, w.view());
    omp_set_num_threads(2);
    const Applied two = apply(t, w.view());
    EXPECT_EQ(std::memcmp(one.transformed.data(), two.transformed.data(), sizeof(float) * static_cast<size_t>(w.size())), 0);
  }
  omp_set_num_threads(before);
}

// tr(W H W^T), what W does to its inputs, is the same before and after: the Gram follows the inputs.
TEST(Transform, GramFollowsTheInputs) {
  const Matrix w = test::make_random("gauss", 5, 24, 3), x = test::make_random("t5", 40, 24, 4);
  const auto gram_of = [](const Matrix& inputs) {
    Matrix h = Matrix::zeros(inputs.cols(), inputs.cols());
    for (int64_t t = 0; t < inputs.rows(); ++t)
      for (int64_t i = 0; i < h.rows(); ++i)
        for (int64_t j = 0; j < h.cols(); ++j)
          h(i, j) += inputs(t, i) * inputs(t, j);
    return h;
  };
  const auto row_energy = [](const Matrix& m, const Matrix& h, int64_t r) {
    double sum = 0;
    for (int64_t i = 0; i < h.rows(); ++i)
      for (int64_t j = 0; j < h.cols(); ++j)
        sum += static_cast<double>(m(r, i)) * h(i, j) * m(r, j);
    return sum;
  };
  const ScaleTransform scale({ScaleMode::kRank1, 4});
  const HadamardTransform hadamard({RotatedSide::kInput});
  const NoTransform none({});
  for (const Transform* t : std::initializer_list<const Transform*>{&scale, &hadamard, &none}) {
    Matrix turned = Matrix::copy(w.view()), h = gram_of(x);
    const Matrix before = Matrix::copy(h.view());
    const std::unique_ptr<FittedTransform> fitted = t->fit(context(w.view()));
    fitted->apply(turned.view(), backend());
    fitted->apply_to_gram(h.view(), backend());
    // A row scale divides the row: energies are compared by their ratio to the first row, scaled back by the row's own factor.
    for (int64_t r = 0; r < w.rows(); ++r) {
      double factor = 1;
      if (t == &scale) {
        // w'_rj t_j = w_rj / s_r for every j, and inputs carry t_j: the ratio of energies is s_r^2 in every row.
        Matrix ones = Matrix::zeros(5, 24);
        for (int64_t i = 0; i < 5; ++i)
          ones(i, 0) = 1;
        fitted->apply(ones.view(), backend());
        Matrix unit = Matrix::zeros(24, 24);
        unit(0, 0) = 1;
        fitted->apply_to_gram(unit.view(), backend());
        factor = 1.0 / (static_cast<double>(ones(r, 0)) * ones(r, 0) * unit(0, 0));
      }
      EXPECT_NEAR(row_energy(turned, h, r) * factor / row_energy(w, before, r), 1.0, 1e-4) << r;
    }
  }
}

}  // namespace
}  // namespace sage
