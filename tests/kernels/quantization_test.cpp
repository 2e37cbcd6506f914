// Statistics and quantization: every backend against the reference, on awkward shapes; bytes equal for any number of threads
// and for every variant of the vector kernels.
#include <bit>
#include <cstring>

#include "tests/kernels/selections.h"
#include "tests/kernels/support.h"

namespace sage::test {
namespace {

class Quantization : public BackendTest {
 protected:
  // Runs body(shape, weights) for every shape, with ordinary and with hostile values.
  template <class Body>
  void for_shapes(const Body& body) {
    uint64_t stream = 1;
    for (const Shape& s : shapes(GetParam())) {
      for (bool hostile : {false, true}) {
        SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols << " + " << s.extra << (hostile ? " hostile" : "")
                                        << ", seed " << seed());
        Padded w(s.rows, s.cols, s.extra);
        if (hostile) {
          fill_hostile(w.view(), ++stream);
        } else {
          fill_normal(w.view(), ++stream, 0.02);
        }
        body(s, w.view());
        if (testing::Test::HasFailure()) return;
      }
    }
  }
  std::unique_ptr<Backend> oracle_ = backend("reference");
};
INSTANTIATE_TEST_SUITE_P(Backends, Quantization, testing::ValuesIn(backend_names()), test_name);

TEST_P(Quantization, MatrixStats) {
  for_shapes([&](const Shape&, WeightView w) {
    const MatrixStats expected = oracle_->matrix_stats(w), got = backend_->matrix_stats(w);
    expect_moments(expected.moments, got.moments);
    EXPECT_EQ(expected.min, got.min);
    EXPECT_EQ(expected.max, got.max);
    EXPECT_EQ(expected.nonfinite, got.nonfinite);
  });
}

TEST_P(Quantization, MatrixStatsLeavesOutWhatIsNotFinite) {
  Matrix w(3, 40);
  fill_normal(w.view(), 5);
  const MatrixStats clean = backend_->matrix_stats(w.view());
  Matrix dirty(3, 43);
  for (int64_t i = 0; i < 3; ++i) {
    std::copy(w.row(i), w.row(i) + 40, dirty.row(i));
    dirty(i, 40) = std::nanf("");
    dirty(i, 41) = INFINITY;
    dirty(i, 42) = -INFINITY;
  }
  const MatrixStats s = backend_->matrix_stats(dirty.view());
  EXPECT_EQ(s.nonfinite, 9);
  EXPECT_EQ(s.moments.count, 120);
  EXPECT_EQ(s.min, clean.min);
  EXPECT_EQ(s.max, clean.max);
  expect_moments(clean.moments, s.moments);
  Matrix none(1, 2);
  none(0, 0) = none(0, 1) = std::nanf("");
  const MatrixStats nothing = backend_->matrix_stats(none.view());
  EXPECT_EQ(nothing.moments.count, 0);
  EXPECT_EQ(nothing.min, 0);
  EXPECT_EQ(nothing.max, 0);
}

TEST_P(Quantization, DeviationOrderStatistic) {
  for_shapes([&](const Shape& s, WeightView w) {
    std::vector<float> sorted;
    for (float center : {0.0f, 0.0013f}) {
      sorted.clear();
      for (int64_t i = 0; i < s.rows; ++i)
        for (int64_t j = 0; j < s.cols; ++j)
          sorted.push_back(std::fabs(w(i, j) - center));
      std::sort(sorted.begin(), sorted.end());
      const int64_t n = w.size();
      for (int64_t k : {int64_t{0}, n / 2, n * 99 / 100, n - 1})
        if (k >= 0 && k < n) {
          EXPECT_EQ(backend_->deviation_order_statistic(w, center, k), sorted[static_cast<size_t>(k)]);
        }
    }
  });
  Matrix w(2, 2);
  EXPECT_THROW(backend_->deviation_order_statistic(w.view(), 0, 4), Error);
  EXPECT_THROW(backend_->deviation_order_statistic(w.view(), 0, -1), Error);
}

TEST_P(Quantization, DeviationAbove) {
  for_shapes([&](const Shape& s, WeightView w) {
    for (float center : {0.0f, 0.01f}) {
      for (float threshold : {0.0f, 0.02f, 1.0f, 1e30f}) {
        const BitMask got = backend_->deviation_above(w, center, threshold);
        ASSERT_EQ(got.rows(), s.rows);
        ASSERT_EQ(got.cols(), s.cols);
        BitMask expected(s.rows, s.cols);  // bits past the last column are 0, so whole masks compare
        for (int64_t i = 0; i < s.rows; ++i)
          for (int64_t j = 0; j < s.cols; ++j)
            if (std::fabs(w(i, j) - center) > threshold) expected.set(i, j);
        EXPECT_TRUE(got == expected);
      }
    }
  });
}

TEST_P(Quantization, RowAndColumnSquares) {
  for_shapes([&](const Shape& s, WeightView w) {
    std::vector<double> rows(static_cast<size_t>(s.rows)), cols(static_cast<size_t>(s.cols)), rows_ref = rows, cols_ref = cols;
    oracle_->row_sq_sums(w, rows_ref);
    oracle_->column_sq_sums(w, cols_ref);
    backend_->row_sq_sums(w, rows);
    backend_->column_sq_sums(w, cols);
    for (size_t i = 0; i < rows.size(); ++i)
      EXPECT_TRUE(near(rows[i], rows_ref[i], 1e-12)) << i;
    for (size_t j = 0; j < cols.size(); ++j)
      EXPECT_TRUE(near(cols[j], cols_ref[j], 1e-12)) << j;
  });
}

// A histogram fills tens of megabytes whatever the matrix, so shapes, masks and widths are few here.
TEST_P(Quantization, MagnitudeHistogram) {
  int turn = 0;
  for_shapes([&](const Shape& s, WeightView w) {
    const bool chosen = w.size() == 0 || s.cols == 1 || s.cols == 65 || s.cols == 128 || s.rows == 300 || s.rows == 130;
    if (!chosen) return;
    const std::vector<SaliencyMask> all = masks(s);
    const SaliencyMask& mask = all[static_cast<size_t>(turn % 4)];
    const int shift = std::vector<int>{12, 17, 23, 10, 12}[static_cast<size_t>(turn % 5)];
    ++turn;
    for (bool salient : {false, true}) {
      const MagnitudeHistogram e = oracle_->magnitude_histogram(w, {&mask, salient}, shift);
      const MagnitudeHistogram g = backend_->magnitude_histogram(w, {&mask, salient}, shift);
      ASSERT_EQ(g.shift, shift);
      ASSERT_EQ(e.count, g.count);
      for (size_t b = 0; b < e.count.size(); ++b) {
        if (e.count[b] == 0) continue;
        ASSERT_TRUE(near(e.sum[b], g.sum[b], 1e-12)) << b << " " << e.sum[b] << " " << g.sum[b];
        ASSERT_TRUE(near(e.sq_sum[b], g.sq_sum[b], 1e-12)) << b << " " << e.sq_sum[b] << " " << g.sq_sum[b];
      }
    }
  });
}

// The definition: bin b holds the patterns p with p >> shift == b.
TEST_P(Quantization, MagnitudeHistogramBinsOfKnownValues) {
  Matrix w = Matrix::zeros(1, 6);
  w(0, 0) = 1.0f;
  w(0, 1) = -1.0f;
  w(0, 2) = 1.5f;
  w(0, 3) = std::nanf("");
  w(0, 4) = INFINITY;
  const SaliencyMask none = SaliencyMask::none(1, 6);
  const MagnitudeHistogram h = backend_->magnitude_histogram(w.view(), {&none, false}, 20);
  EXPECT_EQ(h.count.size(), size_t{0x7f800000u >> 20});
  EXPECT_EQ(h.count[0x3f800000u >> 20], 2);
  EXPECT_EQ(h.sum[0x3f800000u >> 20], 2.0);
  EXPECT_EQ(h.count[0x3fc00000u >> 20], 1);
  EXPECT_EQ(h.sq_sum[0x3fc00000u >> 20], 2.25);
  EXPECT_EQ(h.count[0], 1);
  int64_t total = 0;
  for (int64_t c : h.count)
    total += c;
  EXPECT_EQ(total, 4);
}

TEST_P(Quantization, AssignByMagnitude) {
  for_shapes([&](const Shape&, WeightView w) {
    for (int count : {0, 1, 3, 7, 24, 25, 100, 255}) {
      std::vector<float> cuts = normal_vector(count, 80, 0.02);
      for (float& c : cuts)
        c = std::fabs(c);
      std::sort(cuts.begin(), cuts.end());
      std::vector<uint8_t> got(static_cast<size_t>(w.size()) + 1, 77), expected = got;
      backend_->assign_by_magnitude(w, cuts, got.data());
      for (int64_t i = 0; i < w.rows; ++i)
        for (int64_t j = 0; j < w.cols; ++j)
          expected[static_cast<size_t>(i * w.cols + j)] =
              static_cast<uint8_t>(std::upper_bound(cuts.begin(), cuts.end(), std::fabs(w(i, j))) - cuts.begin());
      EXPECT_TRUE(got == expected) << count << " cuts";
    }
  });
}

TEST_P(Quantization, AssignCountsACutThatEqualsTheMagnitude) {
  Matrix w(1, 3);
  w(0, 0) = -0.5f;
  w(0, 1) = 0.25f;
  w(0, 2) = std::nanf("");
  const std::vector<float> cuts = {0.25f, 0.5f, 0.5f};
  uint8_t out[3];
  backend_->assign_by_magnitude(w.view(), cuts, out);
  EXPECT_EQ(out[0], 3);
  EXPECT_EQ(out[1], 1);
  EXPECT_EQ(out[2], 0);
  EXPECT_THROW(backend_->assign_by_magnitude(w.view(), std::vector<float>{2.0f, 1.0f}, out), Error);
}

TEST_P(Quantization, GroupMoments) {
  for_shapes([&](const Shape& s, WeightView w) {
    if (w.size() > 20000 && w.rows > 1) return;
    const std::vector<GroupMap> maps = group_maps(s);
    for (const SaliencyMask& mask : masks(s)) {
      for (bool salient : {false, true}) {
        for (const GroupMap& g : maps) {
          SCOPED_TRACE(testing::Message() << "label shape " << static_cast<int>(g.shape) << " groups " << g.groups << " mask "
                                          << static_cast<int>(mask.shape()) << " salient " << salient);
          std::vector<Moments> expected(static_cast<size_t>(g.groups)), got(expected);
          for (int64_t i = 0; i < s.rows; ++i) {
            for (int64_t j = 0; j < s.cols; ++j) {
              if (mask.test(i, j) != salient) continue;
              Moments& m = expected[g.at(i, j)];
              const double x = w(i, j);
              m.count += 1;
              m.sum += x;
              m.abs_sum += std::fabs(x);
              m.sq_sum += x * x;
            }
          }
          backend_->group_moments(w, {&mask, salient}, g, got);
          for (size_t k = 0; k < got.size(); ++k)
            expect_moments(expected[k], got[k]);
          if (testing::Test::HasFailure()) return;
        }
      }
    }
  });
}

TEST_P(Quantization, GroupMomentsRefusesLabelsOutOfRange) {
  Matrix w = Matrix::zeros(2, 100);
  const SaliencyMask none = SaliencyMask::none(2, 100);
  GroupMap g = GroupMap::single(2, 100);
  g.groups = 3;
  std::vector<Moments> out(3);
  g.shape = LabelShape::kElement;
  g.element.assign(200, 2);
  EXPECT_NO_THROW(backend_->group_moments(w.view(), {&none, false}, g, out));
  g.element[137] = 3;
  EXPECT_THROW(backend_->group_moments(w.view(), {&none, false}, g, out), Error);
  g.shape = LabelShape::kRow;
  g.label = {0, 3};
  EXPECT_THROW(backend_->group_moments(w.view(), {&none, false}, g, out), Error);
}

TEST_P(Quantization, SquaredDistance) {
  for_shapes([&](const Shape& s, WeightView w) {
    Padded other(s.rows, s.cols, s.extra + 2);
    fill_normal(other.view(), 90, 0.02);
    const double got = backend_->squared_distance(w, std::as_const(other).view());
    double expected = 0;
    for (int64_t i = 0; i < s.rows; ++i)
      for (int64_t j = 0; j < s.cols; ++j) {
        const double d = static_cast<double>(w(i, j)) - other.view()(i, j);
        expected += d * d;
      }
    EXPECT_TRUE(near(expected, got, 1e-12)) << expected << " " << got;
    EXPECT_EQ(backend_->squared_distance(w, w), 0.0);
  });
}

TEST_P(Quantization, HadamardMatchesTheMatrix) {
  for (int64_t n : {1, 2, 8, 16, 32, 64, 128, 512, 4096}) {
    Padded x(3, n, 5);
    fill_normal(x.view(), 95);
    Matrix before = Matrix::copy(x.view());
    backend_->hadamard_rows(x.view());
    EXPECT_TRUE(x.margin_intact());
    // H[i][j] = (-1)^(number of common bits of i and j) / sqrt(n)
    Matrix expected(3, n);
    for (int64_t i = 0; i < 3; ++i) {
      for (int64_t a = 0; a < n; ++a) {
        double sum = 0;
        for (int64_t b = 0; b < n; ++b)
          sum += std::popcount(static_cast<uint64_t>(a & b)) % 2 ? -before(i, b) : before(i, b);
        expected(i, a) = static_cast<float>(sum / std::sqrt(static_cast<double>(n)));
      }
    }
    EXPECT_LT(nmse(expected.view(), x.view()), 1e-12) << n;
    backend_->hadamard_rows(x.view());  // its own inverse
    EXPECT_LT(nmse(before.view(), x.view()), 1e-12) << n;
  }
  Matrix odd(2, 24);
  EXPECT_THROW(backend_->hadamard_rows(odd.view()), Error);
}

// One string of bytes with every result on a matrix that is cut into many tasks.
std::vector<unsigned char> all_bytes(const Backend& b) {
  std::vector<unsigned char> out;
  auto put = [&](const void* p, size_t n) {
    const auto* c = static_cast<const unsigned char*>(p);
    out.insert(out.end(), c, c + n);
  };
  const Shape s = is_emulated(b.name()) ? Shape{130, 577, 3} : Shape{613, 577, 3};
  Padded w(s.rows, s.cols, s.extra);
  fill_hostile(w.view(), 99);
  const WeightView v = w.view();
  const MatrixStats st = b.matrix_stats(v);
  put(&st.moments, sizeof st.moments);
  put(&st.min, sizeof st.min);
  put(&st.max, sizeof st.max);
  const float t = b.deviation_order_statistic(v, 0.1f, v.size() * 9 / 10);
  put(&t, sizeof t);
  const SaliencyMask mask = SaliencyMask::elements(b.deviation_above(v, 0.1f, t));
  for (int64_t i = 0; i < s.rows; ++i)
    put(mask.row(i), sizeof(uint64_t) * static_cast<size_t>(mask.words_per_row()));
  std::vector<double> sums(static_cast<size_t>(s.rows));
  b.row_sq_sums(v, sums);
  put(sums.data(), sums.size() * sizeof(double));
  sums.resize(static_cast<size_t>(s.cols));
  b.column_sq_sums(v, sums);
  put(sums.data(), sums.size() * sizeof(double));
  for (int shift : {12, 17}) {
    const MagnitudeHistogram h = b.magnitude_histogram(v, {&mask, false}, shift);
    put(h.sum.data(), h.sum.size() * sizeof(double));
    put(h.sq_sum.data(), h.sq_sum.size() * sizeof(double));
  }
  for (const GroupMap& g : group_maps(s)) {
    std::vector<Moments> m(static_cast<size_t>(g.groups));
    b.group_moments(v, {&mask, false}, g, m);
    put(m.data(), m.size() * sizeof(Moments));
  }
  Matrix other(s.rows, s.cols);
  fill_normal(other.view(), 98);
  const double d = b.squared_distance(v, other.view());
  put(&d, sizeof d);
  Matrix h(40, 1024);
  fill_normal(h.view(), 97);
  b.hadamard_rows(h.view());
  put(h.data(), sizeof(float) * static_cast<size_t>(h.size()));
  return out;
}

TEST_P(Quantization, BytesDoNotDependOnThreads) {
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

TEST(QuantizationVariants, GiveTheSameBytes) {
  const std::vector<std::string> variants = cpu_variants();
  const std::vector<unsigned char> expected = all_bytes(*make_cpu_backend("portable"));
  for (const std::string& v : variants)
    EXPECT_TRUE(all_bytes(*make_cpu_backend(v)) == expected) << v;
}

}  // namespace
}  // namespace sage::test
