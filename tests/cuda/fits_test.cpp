// Kernels of fits beyond what every backend is asked: views anywhere in device memory, held memory, every size of their tables,
// bands and parts, and orders of execution.
#include <cstring>

#include "tests/cuda/device_view.h"
#include "tests/kernels/selections.h"

namespace sage::test {
namespace {

class DeviceFits : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_cuda_on_cpu_backend();
  std::unique_ptr<Backend> oracle_ = backend("reference");
};

std::vector<float> exact_centers(int64_t n, uint64_t stream) {
  const Matrix m = exact_weights(1, n, stream);
  return {m.data(), m.data() + n};
}

constexpr ResidualRule kRule = {2, true, false, false, true};

template <class T>
bool same_memory(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Both operations, against the reference: to the bit, for exact weights. Units by row and not, centers given and not.
void expect_the_reference(const Backend& oracle, const Backend& b, const Matrix& w, const Selection& own, const GroupMap& g) {
  for (bool by_row : {false, true}) {
    const ScaleUnits units("test", g, by_row, true);
    for (bool centered : {false, true}) {
      const std::vector<float> center = centered ? exact_centers(units.count(), 90) : std::vector<float>();
      std::vector<Moments> expected(static_cast<size_t>(units.count())), got(expected);
      oracle.unit_moments(w.view(), own, units, center, expected);
      b.unit_moments(w.view(), own, units, center, got);
      ASSERT_TRUE(same_memory(expected, got)) << "moments, by row " << by_row << ", centered " << centered;
    }
    if (!by_row) continue;
    std::vector<ResidualLevels> expected(static_cast<size_t>(units.count())), got(expected);
    const double e = oracle.residual_binarize(w.view(), own, units, kRule, expected);
    EXPECT_TRUE(near(b.residual_binarize(w.view(), own, units, kRule, got), e, 1e-13));
    ASSERT_TRUE(same_memory(expected, got)) << "levels";
  }
}

// Every result that depends on the weights, as bytes.
std::vector<unsigned char> all_bytes(const Backend& b, WeightView w) {
  std::vector<unsigned char> out;
  const auto put = [&](const void* p, size_t n) {
    const auto* c = static_cast<const unsigned char*>(p);
    out.insert(out.end(), c, c + n);
  };
  const SaliencyMask mask = SaliencyMask::elements(random_bits(w.rows, w.cols, 0.3, 1));
  for (LabelShape shape :
       {LabelShape::kSingle, LabelShape::kRow, LabelShape::kColumn, LabelShape::kRowBlock, LabelShape::kElement}) {
    const GroupMap g = random_labels(shape, w.rows, w.cols, shape == LabelShape::kSingle ? 1 : 11, 32, 2);
    for (bool by_row : {false, true}) {
      const ScaleUnits units("test", g, by_row, true);
      std::vector<Moments> m(static_cast<size_t>(units.count()));
      b.unit_moments(w, {&mask, false}, units, normal_vector(units.count(), 3), m);
      put(m.data(), m.size() * sizeof(Moments));
      if (!by_row) continue;
      std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
      const double e = b.residual_binarize(w, {&mask, false}, units, {3, true, true, true, true}, levels);
      put(levels.data(), levels.size() * sizeof(ResidualLevels));
      put(&e, sizeof e);
    }
  }
  return out;
}

TEST_F(DeviceFits, PlaceInMemoryDoesNotMatter) {
  for (const Shape& s : {Shape{3, 5, 0}, Shape{7, 64, 0}, Shape{66, 132, 0}, Shape{1, 4204, 0}}) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols);
    const Matrix w = normal_matrix(s.rows, s.cols, 1);
    const std::vector<unsigned char> expected = all_bytes(*backend_, w.view());
    for (const Placement& p : placements()) {
      SCOPED_TRACE(testing::Message() << "offset " << p.offset << ", extra " << p.extra);
      const DeviceView device(*backend_, w.view(), p);
      EXPECT_TRUE(all_bytes(*backend_, device.view()) == expected);
      EXPECT_TRUE(device.margin_intact());
    }
    Padded part(s.rows, s.cols, 3);  // a part of a held matrix
    for (int64_t i = 0; i < s.rows; ++i)
      std::copy(w.row(i), w.row(i) + s.cols, part.view().row(i));
    const HeldMemory held = hold(*backend_, std::as_const(part).view());
    EXPECT_TRUE(all_bytes(*backend_, std::as_const(part).view()) == expected);
  }
}

TEST_F(DeviceFits, OrderOfExecutionDoesNotMatter) {
  const Matrix w = normal_matrix(130, 97, 3);
  const std::vector<unsigned char> expected = all_bytes(*backend_, w.view());
  const kx::Options before = kx::options();
  kx::options().order = kx::Order::kReverse;
  EXPECT_TRUE(all_bytes(*backend_, w.view()) == expected) << "reverse";
  kx::options().order = kx::Order::kRandom;
  for (uint64_t s : {1, 2, 3}) {
    kx::options().seed = s;
    kx::options().workers = static_cast<int>(s);
    EXPECT_TRUE(all_bytes(*backend_, w.view()) == expected) << "random, seed " << s;
  }
  kx::options() = before;
}

// Beside a matrix that is held there are labels, units and partial results, but no second copy.
TEST_F(DeviceFits, HeldMatricesAreNotCopied) {
  const Matrix w = normal_matrix(256, 1000, 5);
  const uint64_t bytes = static_cast<uint64_t>(w.size()) * sizeof(float);
  const SaliencyMask none = SaliencyMask::none(256, 1000);
  const auto beyond = [&](const auto& operation) {
    backend_->restart_peak();
    const uint64_t before = backend_->device_memory().in_use;
    operation();
    return backend_->device_memory().peak - before;
  };
  const auto fits = [&](LabelShape shape, bool by_row) {
    const GroupMap g = random_labels(shape, 256, 1000, shape == LabelShape::kSingle ? 1 : 2, 128, 8);
    const ScaleUnits units("test", g, by_row, true);
    std::vector<Moments> m(static_cast<size_t>(units.count()));
    backend_->unit_moments(w.view(), {&none, false}, units, {}, m);
    if (!by_row) return;
    std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
    backend_->residual_binarize(w.view(), {&none, false}, units, kRule, levels);
  };
  ASSERT_GE(beyond([&] { fits(LabelShape::kSingle, true); }), bytes);  // so a copy would be seen
  const HeldMemory held = hold(*backend_, w.view());
  for (LabelShape shape :
       {LabelShape::kSingle, LabelShape::kRow, LabelShape::kColumn, LabelShape::kRowBlock, LabelShape::kElement})
    for (bool by_row : {false, true})
      EXPECT_LT(beyond([&] { fits(shape, by_row); }), bytes / 2) << static_cast<int>(shape) << by_row;
}

// Tables of 8 and of 32 units: one group more and less than they hold, and many tables.
TEST_F(DeviceFits, GroupsAroundTheSizeOfATable) {
  const Matrix w = exact_weights(13, 203, 10);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(13, 203, 0.3, 11));
  for (LabelShape shape : {LabelShape::kElement, LabelShape::kColumn})
    for (int64_t groups : {1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 64, 65, 255, 256})
      for (bool salient : {false, true}) {
        SCOPED_TRACE(testing::Message() << groups << " groups of shape " << static_cast<int>(shape) << ", salient " << salient);
        expect_the_reference(*oracle_, *backend_, w, {&mask, salient},
                             random_labels(shape, 13, 203, groups, 0, static_cast<uint64_t>(groups)));
      }
  GroupMap last = random_labels(LabelShape::kElement, 13, 203, 256, 0, 12);
  std::fill(last.element.begin(), last.element.end(), uint8_t{255});  // one group of all, and the highest label
  expect_the_reference(*oracle_, *backend_, w, {&mask, false}, last);
}

TEST_F(DeviceFits, RowBlocksOfEveryWidth) {
  const Matrix w = exact_weights(3, 4205, 20);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(3, 4205, 0.4, 21));
  for (int64_t block : {1, 3, 4, 61, 64, 65, 512, 513, 4096, 4097, 4205, 9000})
    for (bool salient : {false, true}) {
      SCOPED_TRACE(testing::Message() << "block " << block << ", salient " << salient);
      expect_the_reference(*oracle_, *backend_, w, {&mask, salient},
                           random_labels(LabelShape::kRowBlock, 3, 4205, 7, block, 22));
    }
}

// More cells than are in memory at once: bands of rows, of which masks, labels and centers, too, go over in parts.
TEST_F(DeviceFits, MoreRowBlocksThanABandHolds) {
  const int64_t rows = 265, cols = 1000;
  ASSERT_GT(rows * cols, int64_t{1} << 18);
  const Matrix w = exact_weights(rows, cols, 23);
  const SaliencyMask mask = SaliencyMask::elements(random_bits(rows, cols, 0.5, 24));
  const GroupMap g = random_labels(LabelShape::kRowBlock, rows, cols, 40, 1, 25);
  for (bool by_row : {false, true}) {
    const ScaleUnits units("test", g, by_row, true);
    const std::vector<float> center = exact_centers(units.count(), 26);
    std::vector<Moments> expected(static_cast<size_t>(units.count())), got(expected);
    oracle_->unit_moments(w.view(), {&mask, true}, units, center, expected);
    backend_->unit_moments(w.view(), {&mask, true}, units, center, got);
    EXPECT_TRUE(same_memory(expected, got)) << by_row;
  }
}

// Above 2048 rows a part of a table's rows is more than one, and the last part has fewer.
TEST_F(DeviceFits, PartsOfSeveralRows) {
  for (int64_t rows : {2047, 2048, 2049, 4099}) {
    SCOPED_TRACE(testing::Message() << rows << " rows");
    const Matrix w = exact_weights(rows, 3, 27);
    const SaliencyMask mask = SaliencyMask::elements(random_bits(rows, 3, 0.5, 28));
    const ScaleUnits units("test", GroupMap::single(rows, 3), false, false);
    const GroupMap g = random_labels(LabelShape::kElement, rows, 3, 5, 0, 29);
    const ScaleUnits of_groups("test", g, false, true);
    std::vector<Moments> expected(5), got(5);
    oracle_->unit_moments(w.view(), {&mask, false}, of_groups, {}, expected);
    backend_->unit_moments(w.view(), {&mask, false}, of_groups, {}, got);
    EXPECT_TRUE(same_memory(expected, got));
    oracle_->unit_moments(w.view(), {&mask, false}, units, {}, std::span(expected).first(1));
    backend_->unit_moments(w.view(), {&mask, false}, units, {}, std::span(got).first(1));
    EXPECT_TRUE(same_memory(expected, got));
  }
}

TEST_F(DeviceFits, LabelsOutOfRangeAreRefusedWhereverTheyAre) {
  const Matrix w = exact_weights(33, 301, 13);
  const SaliencyMask columns = SaliencyMask::columns(33, random_bits(1, 301, 0.5, 14));
  GroupMap g = random_labels(LabelShape::kElement, 33, 301, 70, 0, 15);
  for (bool by_row : {false, true}) {
    const ScaleUnits units("test", g, by_row, true);
    std::vector<Moments> m(static_cast<size_t>(units.count()));
    std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
    for (size_t at : {size_t{0}, size_t{301}, size_t{4999}, g.element.size() - 1}) {
      const uint8_t before = std::exchange(g.element[at], uint8_t{70});
      for (bool salient : {false, true}) {  // owned or not
        EXPECT_THROW(backend_->unit_moments(w.view(), {&columns, salient}, units, {}, m), Error) << at;
        if (by_row) {
          EXPECT_THROW(backend_->residual_binarize(w.view(), {&columns, salient}, units, kRule, levels), Error) << at;
        }
      }
      g.element[at] = before;
    }
    EXPECT_NO_THROW(backend_->unit_moments(w.view(), {&columns, false}, units, {}, m));
  }
}

TEST_F(DeviceFits, EmptyMatricesGiveZeros) {
  for (const Shape& s : {Shape{3, 0, 0}, Shape{0, 3, 0}}) {
    const WeightView w(nullptr, s.rows, s.cols);
    const SaliencyMask none = SaliencyMask::none(s.rows, s.cols);
    const GroupMap g = GroupMap::single(s.rows, s.cols);
    const ScaleUnits units("test", g, true, true);
    std::vector<Moments> m(static_cast<size_t>(units.count()), Moments{1, 1, 1, 1});
    std::vector<ResidualLevels> levels(static_cast<size_t>(units.count()));
    for (ResidualLevels& l : levels)
      l.count = 1;
    backend_->unit_moments(w, {&none, false}, units, {}, m);
    EXPECT_EQ(backend_->residual_binarize(w, {&none, false}, units, kRule, levels), 0.0);
    for (const Moments& k : m)
      EXPECT_TRUE(same_bits(k, Moments{}));
    for (const ResidualLevels& l : levels)
      EXPECT_EQ(l.count, 0);
  }
}

}  // namespace
}  // namespace sage::test
