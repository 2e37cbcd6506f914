// Statistics kernels beyond what every backend is asked: views anywhere in device memory, held memory, every instance of the
// kernels at its limits, extreme values, and orders of execution.
#include <bit>
#include <cfloat>
#include <cstring>

#include "tests/cuda/device_view.h"
#include "tests/kernels/selections.h"

namespace sage::test {
namespace {

class Statistics : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_cuda_on_cpu_backend();
};

// Whole numbers up to 100: their sums and those of their squares are exact in any order.
Matrix whole_numbers(int64_t rows, int64_t cols, uint64_t stream) {
  Matrix m(rows, cols);
  Rng rng(seed(), stream);
  for (int64_t i = 0; i < m.size(); ++i)
    m.data()[i] = static_cast<float>(rng.below(201)) - 100.0f;
  return m;
}

// Moments by the definition; exact for whole numbers.
std::vector<Moments> plain_moments(const Matrix& w, const Selection& own, const GroupMap& g) {
  std::vector<Moments> out(static_cast<size_t>(g.groups));
  for (int64_t i = 0; i < w.rows(); ++i) {
    for (int64_t j = 0; j < w.cols(); ++j) {
      if (!own.owns(i, j)) continue;
      Moments& m = out[g.at(i, j)];
      const double x = w(i, j);
      m.count += 1;
      m.sum += x;
      m.abs_sum += std::fabs(x);
      m.sq_sum += x * x;
    }
  }
  return out;
}

void expect_exact_moments(const Backend& b, const Matrix& w, const Selection& own, const GroupMap& g) {
  const std::vector<Moments> expected = plain_moments(w, own, g);
  std::vector<Moments> got(expected.size());
  b.group_moments(w.view(), own, g, got);
  for (size_t k = 0; k < got.size(); ++k)
    ASSERT_TRUE(same_bits(expected[k], got[k])) << "group " << k << ": " << got[k].count << " weights, sum " << got[k].sum
                                                << "; expected " << expected[k].count << ", " << expected[k].sum;
}

// Every result that depends on the weights, as bytes.
std::vector<unsigned char> all_bytes(const Backend& b, WeightView w, WeightView other) {
  std::vector<unsigned char> out;
  const auto put = [&](const void* p, size_t n) {
    const auto* c = static_cast<const unsigned char*>(p);
    out.insert(out.end(), c, c + n);
  };
  const MatrixStats s = b.matrix_stats(w);
  put(&s.moments, sizeof s.moments);
  put(&s.min, sizeof s.min);
  put(&s.max, sizeof s.max);
  const float t = b.deviation_order_statistic(w, 0.1f, w.size() * 2 / 3);
  put(&t, sizeof t);
  const SaliencyMask mask = SaliencyMask::elements(b.deviation_above(w, 0.1f, t));
  for (int64_t i = 0; i < w.rows; ++i)
    put(mask.row(i), sizeof(uint64_t) * static_cast<size_t>(mask.words_per_row()));
  std::vector<double> sums(static_cast<size_t>(w.rows));
  b.row_sq_sums(w, sums);
  put(sums.data(), sums.size() * sizeof(double));
  sums.resize(static_cast<size_t>(w.cols));
  b.column_sq_sums(w, sums);
  put(sums.data(), sums.size() * sizeof(double));
  const MagnitudeHistogram h = b.magnitude_histogram(w, {&mask, false}, 23);
  put(h.sum.data(), h.sum.size() * sizeof(double));
  put(h.sq_sum.data(), h.sq_sum.size() * sizeof(double));
  std::vector<uint8_t> ids(static_cast<size_t>(w.size()));
  b.assign_by_magnitude(w, std::vector<float>{0.01f, 0.3f, 1.0f, 1.5f}, ids.data());
  put(ids.data(), ids.size());
  for (LabelShape shape :
       {LabelShape::kSingle, LabelShape::kRow, LabelShape::kColumn, LabelShape::kRowBlock, LabelShape::kElement}) {
    const GroupMap g = random_labels(shape, w.rows, w.cols, shape == LabelShape::kSingle ? 1 : 6, 32, 7);
    std::vector<Moments> m(static_cast<size_t>(g.groups));
    b.group_moments(w, {&mask, false}, g, m);
    put(m.data(), m.size() * sizeof(Moments));
  }
  const double d = b.squared_distance(w, other);
  put(&d, sizeof d);
  return out;
}

TEST_F(Statistics, PlaceInMemoryDoesNotMatter) {
  for (const Shape& s : {Shape{3, 5, 0}, Shape{7, 64, 0}, Shape{66, 132, 0}, Shape{70, 129, 0}, Shape{1, 4204, 0}}) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols);
    const Matrix w = normal_matrix(s.rows, s.cols, 1), other = normal_matrix(s.rows, s.cols, 2);
    const std::vector<unsigned char> expected = all_bytes(*backend_, w.view(), other.view());
    for (const Placement& p : placements()) {
      SCOPED_TRACE(testing::Message() << "offset " << p.offset << ", extra " << p.extra);
      const DeviceView device(*backend_, w.view(), p);
      EXPECT_TRUE(all_bytes(*backend_, device.view(), other.view()) == expected);
    }
    Padded part(s.rows, s.cols, 3);  // a part of a held matrix
    for (int64_t i = 0; i < s.rows; ++i)
      std::copy(w.row(i), w.row(i) + s.cols, part.view().row(i));
    const HeldMemory held = hold(*backend_, std::as_const(part).view());
    EXPECT_TRUE(all_bytes(*backend_, std::as_const(part).view(), other.view()) == expected);
  }
}

TEST_F(Statistics, OrderOfExecutionDoesNotMatter) {
  const Matrix w = normal_matrix(130, 97, 3), other = normal_matrix(130, 97, 4);
  const std::vector<unsigned char> expected = all_bytes(*backend_, w.view(), other.view());
  const kx::Options before = kx::options();
  kx::options().order = kx::Order::kReverse;
  EXPECT_TRUE(all_bytes(*backend_, w.view(), other.view()) == expected) << "reverse";
  kx::options().order = kx::Order::kRandom;
  for (uint64_t s : {1, 2, 3}) {
    kx::options().seed = s;
    kx::options().workers = static_cast<int>(s);
    EXPECT_TRUE(all_bytes(*backend_, w.view(), other.view()) == expected) << "random, seed " << s;
  }
  kx::options() = before;
}

// Beside a matrix that is held there is scratch memory, but no second copy.
TEST_F(Statistics, HeldMatricesAreNotCopied) {
  const Matrix w = normal_matrix(256, 1000, 5);
  const uint64_t bytes = static_cast<uint64_t>(w.size()) * sizeof(float);
  const SaliencyMask none = SaliencyMask::none(256, 1000);
  const auto beyond = [&](const auto& operation) {
    backend_->restart_peak();
    const uint64_t before = backend_->device_memory().in_use;
    operation();
    return backend_->device_memory().peak - before;
  };
  const auto stats = [&] { backend_->matrix_stats(w.view()); };
  ASSERT_GE(beyond(stats), bytes);  // so a copy would be seen
  const HeldMemory held = hold(*backend_, w.view());
  EXPECT_LT(beyond(stats), bytes / 2);
  EXPECT_LT(beyond([&] { backend_->deviation_order_statistic(w.view(), 0, 9); }), bytes / 2);
  EXPECT_LT(beyond([&] { backend_->deviation_above(w.view(), 0, 1); }), bytes / 2);
  std::vector<double> rows(256), columns(1000);
  EXPECT_LT(beyond([&] { backend_->row_sq_sums(w.view(), rows); }), bytes / 2);
  EXPECT_LT(beyond([&] { backend_->column_sq_sums(w.view(), columns); }), bytes / 2);
  std::vector<uint8_t> ids(static_cast<size_t>(w.size()));
  EXPECT_LT(beyond([&] { backend_->assign_by_magnitude(w.view(), std::vector<float>{1}, ids.data()); }), bytes / 2);
  EXPECT_LT(beyond([&] { backend_->squared_distance(w.view(), w.view()); }), bytes / 2);
  for (LabelShape shape : {LabelShape::kRow, LabelShape::kColumn, LabelShape::kElement}) {
    const GroupMap g = random_labels(shape, 256, 1000, 2, 0, 8);
    std::vector<Moments> out(2);
    EXPECT_LT(beyond([&] { backend_->group_moments(w.view(), {&none, false}, g, out); }), bytes / 2);
  }
}

// Every number of table columns that label_moments_kernel runs with, and one group more and less than its steps.
TEST_F(Statistics, MomentsOfManyElementGroups) {
  const Matrix w = whole_numbers(61, 203, 10);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(61, 203, 0.3, 11));
  for (int64_t groups : {1, 2, 13, 14, 27, 28, 54, 55, 64, 109, 110, 219, 220, 255, 256})
    for (bool salient : {false, true}) {
      SCOPED_TRACE(testing::Message() << groups << " groups, salient " << salient);
      expect_exact_moments(*backend_, w, {&mask, salient},
                           random_labels(LabelShape::kElement, 61, 203, groups, 0, static_cast<uint64_t>(groups)));
    }
  GroupMap last = random_labels(LabelShape::kElement, 61, 203, 256, 0, 12);
  std::fill(last.element.begin(), last.element.end(), uint8_t{255});  // one group of all, and the highest label
  expect_exact_moments(*backend_, w, {&mask, false}, last);
}

TEST_F(Statistics, LabelsOutOfRangeAreRefusedWhereverTheyAre) {
  const Matrix w = whole_numbers(33, 301, 13);
  const SaliencyMask columns = SaliencyMask::columns(33, random_bits(1, 301, 0.5, 14));
  GroupMap g = random_labels(LabelShape::kElement, 33, 301, 200, 0, 15);
  std::vector<Moments> out(200);
  for (size_t at : {size_t{0}, size_t{301}, size_t{4999}, g.element.size() - 1}) {
    const uint8_t before = std::exchange(g.element[at], uint8_t{200});
    for (bool salient : {false, true})  // owned or not
      EXPECT_THROW(backend_->group_moments(w.view(), {&columns, salient}, g, out), Error) << at;
    g.element[at] = before;
  }
  EXPECT_NO_THROW(backend_->group_moments(w.view(), {&columns, false}, g, out));
}

// Blocks around each limit at which another number of lanes folds a cell; ownership words that a quad straddles.
TEST_F(Statistics, MomentsOfRowBlocks) {
  const int64_t rows = 3, cols = 4205;
  const Matrix w = whole_numbers(rows, cols, 20);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(rows, cols, 0.4, 21));
  for (int64_t block : {1, 3, 4, 5, 61, 64, 65, 127, 512, 513, 4096, 4097, 4204, 4205, 9000})
    for (bool salient : {false, true}) {
      SCOPED_TRACE(testing::Message() << "block " << block << ", salient " << salient);
      expect_exact_moments(*backend_, w, {&mask, salient}, random_labels(LabelShape::kRowBlock, rows, cols, 7, block, 22));
    }
}

// More cells than are in memory at once: bands of rows, of which the mask, too, goes over in parts.
TEST_F(Statistics, MomentsOfMoreRowBlocksThanABandHolds) {
  const int64_t rows = 265, cols = 1000;
  const Matrix w = whole_numbers(rows, cols, 23);
  ASSERT_GT(rows * cols, int64_t{1} << 18);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(rows, cols, 0.5, 24));
  expect_exact_moments(*backend_, w, {&mask, true}, random_labels(LabelShape::kRowBlock, rows, cols, 1000, 1, 25));
}

TEST_F(Statistics, MomentsOfRowsAndColumns) {
  for (const Shape& s : {Shape{1, 1, 0}, Shape{63, 31, 0}, Shape{64, 32, 0}, Shape{65, 33, 0}, Shape{700, 67, 0}}) {
    const Matrix w = whole_numbers(s.rows, s.cols, 26);
    for (const SaliencyMask& mask : {SaliencyMask::elements(random_bits(s.rows, s.cols, 0.5, 27)),
                                     SaliencyMask::columns(s.rows, random_bits(1, s.cols, 0.5, 28))})
      for (LabelShape shape : {LabelShape::kSingle, LabelShape::kRow, LabelShape::kColumn})
        for (bool salient : {false, true}) {
          SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols << ", salient " << salient);
          expect_exact_moments(*backend_, w, {&mask, salient},
                               random_labels(shape, s.rows, s.cols, shape == LabelShape::kSingle ? 1 : 5, 0, 29));
        }
  }
}

TEST_F(Statistics, SumsOfExtremeValuesAreExact) {
  // 2^-149 and FLT_MAX = (2^24 - 1) 2^104 and their squares are doubles, and so are the sums of 64 of them.
  const double least = std::ldexp(1.0, -149), most = FLT_MAX;
  Matrix w(8, 16);
  for (int64_t i = 0; i < w.size(); ++i)
    w.data()[i] = i % 2 == 0 ? FLT_TRUE_MIN : -FLT_TRUE_MIN;
  MatrixStats s = backend_->matrix_stats(w.view());
  EXPECT_EQ(s.moments.sum, 0.0);
  EXPECT_EQ(s.moments.abs_sum, 128 * least);
  EXPECT_EQ(s.moments.sq_sum, 128 * least * least);
  EXPECT_EQ(s.min, -FLT_TRUE_MIN);
  EXPECT_EQ(s.max, FLT_TRUE_MIN);
  std::fill(w.data(), w.data() + w.size(), -FLT_MAX);
  s = backend_->matrix_stats(w.view());
  EXPECT_EQ(s.moments.sum, -128 * most);
  EXPECT_EQ(s.moments.sq_sum, 128 * (most * most));
  EXPECT_EQ(s.min, -FLT_MAX);
  EXPECT_EQ(s.max, -FLT_MAX);
  std::vector<double> rows(8), columns(16);
  backend_->row_sq_sums(w.view(), rows);
  backend_->column_sq_sums(w.view(), columns);
  EXPECT_EQ(rows[7], 16 * (most * most));
  EXPECT_EQ(columns[15], 8 * (most * most));
  Matrix negated(8, 16);
  std::fill(negated.data(), negated.data() + negated.size(), FLT_MAX);
  EXPECT_EQ(backend_->squared_distance(w.view(), negated.view()), 128 * (4 * (most * most)));
}

TEST_F(Statistics, EmptyMatricesGiveZeros) {
  const WeightView no_columns(nullptr, 3, 0), no_rows(nullptr, 0, 3);
  std::vector<double> out(3, 1.0);
  backend_->row_sq_sums(no_columns, out);
  EXPECT_EQ(out, std::vector<double>(3, 0.0));
  std::fill(out.begin(), out.end(), 1.0);
  backend_->column_sq_sums(no_rows, out);
  EXPECT_EQ(out, std::vector<double>(3, 0.0));
}

TEST_F(Statistics, OrderStatisticOfEveryRank) {
  const float inf = INFINITY;
  const Matrix w = row_of({0.0f, -0.0f, FLT_TRUE_MIN, -FLT_TRUE_MIN, FLT_MIN, 1.0f, -1.0f, 1.0000001f, FLT_MAX, -FLT_MAX, inf,
                           -inf, std::nanf("")});
  const std::vector<float> sorted = {0, 0, FLT_TRUE_MIN, FLT_TRUE_MIN, FLT_MIN, 1, 1, 1.0000001f, FLT_MAX, FLT_MAX, inf, inf};
  for (size_t k = 0; k < sorted.size(); ++k)
    EXPECT_EQ(backend_->deviation_order_statistic(w.view(), 0, static_cast<int64_t>(k)), sorted[k]) << k;
  EXPECT_TRUE(std::isnan(backend_->deviation_order_statistic(w.view(), 0, 12)));
  // -FLT_MAX - FLT_MAX overflows: infinity three times.
  EXPECT_EQ(backend_->deviation_order_statistic(w.view(), FLT_MAX, 8), FLT_MAX);
  EXPECT_EQ(backend_->deviation_order_statistic(w.view(), FLT_MAX, 9), inf);
  // Equal deviations fill one counter of all blocks.
  Matrix same(40, 500);
  std::fill(same.data(), same.data() + same.size(), 3.0f);
  for (int64_t k : {int64_t{0}, same.size() / 2, same.size() - 1})
    EXPECT_EQ(backend_->deviation_order_statistic(same.view(), 5, k), 2.0f);
}

TEST_F(Statistics, DeviationBitsPastTheLastColumnAreZero) {
  for (int64_t cols : {1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 256, 257}) {
    Matrix w = Matrix::zeros(3, cols);
    w(1, cols - 1) = std::nanf("");
    const BitMask got = backend_->deviation_above(w.view(), 0, -1);  // all but NaN are above
    EXPECT_EQ(got.count(), 3 * cols - 1) << cols;
    EXPECT_FALSE(got.test(1, cols - 1)) << cols;
  }
}

TEST_F(Statistics, AssignAtTheEndsOfTheScale) {
  const float inf = INFINITY;
  const Matrix w = row_of({0.0f, -0.0f, -FLT_TRUE_MIN, FLT_MAX, -inf, std::nanf("")});
  std::vector<uint8_t> out(6);
  std::vector<float> cuts(255, inf);
  backend_->assign_by_magnitude(w.view(), cuts, out.data());
  EXPECT_EQ(out, (std::vector<uint8_t>{0, 0, 0, 0, 255, 0}));
  std::fill(cuts.begin(), cuts.end(), 0.0f);
  backend_->assign_by_magnitude(w.view(), cuts, out.data());
  EXPECT_EQ(out, (std::vector<uint8_t>{255, 255, 255, 255, 255, 0}));
  backend_->assign_by_magnitude(w.view(), std::vector<float>{FLT_TRUE_MIN, FLT_MAX, inf}, out.data());
  EXPECT_EQ(out, (std::vector<uint8_t>{0, 0, 1, 2, 3, 0}));
  // Fewer cuts than a whole search has: what stands in their place counts for no magnitude.
  backend_->assign_by_magnitude(w.view(), std::vector<float>{FLT_TRUE_MIN, FLT_MAX}, out.data());
  EXPECT_EQ(out, (std::vector<uint8_t>{0, 0, 1, 2, 2, 0}));
}

// Each bin's sums are exact: they equal the sums formed in integers of 2^-149 and 2^-298.
TEST_F(Statistics, HistogramSumsAreExact) {
  const float values[] = {0.0f,
                          FLT_TRUE_MIN,
                          3 * FLT_TRUE_MIN,
                          FLT_MIN,
                          1.0f,
                          1.0f + FLT_EPSILON,
                          -(1.0f + 4095 * FLT_EPSILON),
                          2.0f - FLT_EPSILON,
                          FLT_MAX};
  Matrix w(37, 45);
  for (int64_t i = 0; i < w.size(); ++i)
    w.data()[i] = values[static_cast<size_t>(i % 9)];
  const int64_t each = w.size() / 9;
  const SaliencyMask none = SaliencyMask::none(37, 45);
  const MagnitudeHistogram h = backend_->magnitude_histogram(w.view(), {&none, false}, 12);
  const auto bin = [](float v) { return std::bit_cast<uint32_t>(v) >> 12; };
  const double tiny = std::ldexp(1.0, -149), n = static_cast<double>(each);
  EXPECT_EQ(h.count[0], 3 * each);
  EXPECT_EQ(h.sum[0], 4 * n * tiny);
  EXPECT_EQ(h.sq_sum[0], 10 * n * (tiny * tiny));
  EXPECT_EQ(h.count[bin(FLT_MIN)], each);
  EXPECT_EQ(h.sum[bin(FLT_MIN)], n * FLT_MIN);
  EXPECT_EQ(h.count[bin(1.0f)], 3 * each);  // 1, 1 + e and 1 + 4095 e
  EXPECT_EQ(h.sum[bin(1.0f)], n * (3 + 4096 * std::ldexp(1.0, -23)));
  // 3 + 2 * 4096 e + (1 + 4095^2) e^2, 46 bits below the point, needs 60 bits with n: rounded once.
  const auto units = static_cast<__int128>(each) * ((__int128{3} << 46) + (__int128{8192} << 23) + 1 + 4095 * 4095);
  EXPECT_EQ(h.sq_sum[bin(1.0f)], std::ldexp(static_cast<double>(units), -46));
  EXPECT_EQ(h.count[bin(2.0f - FLT_EPSILON)], each);
  EXPECT_EQ(h.count[bin(FLT_MAX)], each);
  EXPECT_EQ(h.sum[bin(FLT_MAX)], n * FLT_MAX);
  EXPECT_TRUE(near(h.sq_sum[bin(FLT_MAX)], n * (static_cast<double>(FLT_MAX) * FLT_MAX), 1e-15));
}

// Unit vectors: H e_k has (-1)^(common bits of j and k) / sqrt(n) at j. Above 2^14 columns the levels of global memory follow.
TEST_F(Statistics, HadamardOfUnitVectors) {
  for (const Shape& s :
       {Shape{300, 1, 0}, Shape{259, 2, 0}, Shape{65, 4, 0}, Shape{130, 8, 0}, Shape{17, 64, 0}, Shape{3, 256, 0},
        Shape{2, 16384, 0}, Shape{2, 32768, 0}, Shape{1, 65536, 0}, Shape{2, 131072, 0}, Shape{1, 262144, 0}}) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols);
    Matrix x = Matrix::zeros(s.rows, s.cols);
    Rng rng(seed(), uint64_t{30});
    std::vector<uint64_t> at;
    for (int64_t i = 0; i < s.rows; ++i) {
      at.push_back(rng.below(static_cast<uint64_t>(s.cols)));
      x(i, static_cast<int64_t>(at.back())) = 1.0f;
    }
    const DeviceView device(*backend_, x.view(), {1, 2});
    backend_->hadamard_rows(device.view());
    EXPECT_TRUE(device.margin_intact());
    const Matrix y = device.host();
    const auto size = static_cast<float>(1.0 / std::sqrt(static_cast<double>(s.cols)));
    for (int64_t i = 0; i < s.rows; ++i)
      for (int64_t j = 0; j < s.cols; ++j)
        ASSERT_EQ(y(i, j), std::popcount(static_cast<uint64_t>(j) & at[static_cast<size_t>(i)]) % 2 ? -size : size)
            << i << " " << j;
  }
}

TEST_F(Statistics, HadamardOfLargestValues) {
  // Sixteen times FLT_MAX / 8 have a sum above FLT_MAX; a quarter of it is below.
  Matrix x(2, 16);
  std::fill(x.data(), x.data() + x.size(), FLT_MAX / 8);
  backend_->hadamard_rows(x.view());
  EXPECT_EQ(x(1, 0), FLT_MAX / 2);
  for (int64_t j = 1; j < 16; ++j)
    EXPECT_EQ(x(1, j), 0.0f);
}

}  // namespace
}  // namespace sage::test
