// Kernels that try splits of rows, beyond what every backend is asked: views anywhere in device memory, held memory, every way
// a block divides its work at its limits, bands of rows, and orders of execution.
#include <cstring>

#include "kernels/cuda/split_kernels.h"
#include "tests/cuda/device_view.h"
#include "tests/kernels/selections.h"

namespace sage::test {
namespace {

class DeviceSplits : public testing::Test {
 protected:
  std::unique_ptr<Backend> backend_ = make_cuda_on_cpu_backend(), oracle_ = make_backend("reference");
};

struct Outcome {
  std::vector<double> errors;
  std::vector<int64_t> upper;
};
Outcome split(const Backend& b, WeightView x, const SplitTrials& trials) {
  Outcome out{std::vector<double>(trials.cuts.size(), -1.0), std::vector<int64_t>(trials.cuts.size(), -1)};
  b.split_errors(x, trials, out.errors, out.upper);
  return out;
}
bool same_bytes(const Outcome& a, const Outcome& b) {
  return a.upper == b.upper && std::memcmp(a.errors.data(), b.errors.data(), a.errors.size() * sizeof(double)) == 0;
}

std::vector<float> even_cuts(int count, float most) {
  std::vector<float> out;
  for (int k = 0; k < count; ++k)
    out.push_back(most * static_cast<float>(k) / static_cast<float>(count));
  return out;
}
std::vector<float> mixed_keys(int64_t cols) {
  std::vector<float> out;
  for (int64_t j = 0; j < cols; ++j)
    out.push_back(static_cast<float>(j * 37 % 101));
  return out;
}

void expect_reference(const Backend& b, const Backend& oracle, const Matrix& x, const SplitTrials& trials) {
  const Outcome expected = split(oracle, x.view(), trials), got = split(b, x.view(), trials);
  ASSERT_EQ(got.upper, expected.upper);
  for (size_t t = 0; t < got.errors.size(); ++t) {
    ASSERT_NEAR(got.errors[t], expected.errors[t], 1e-11 * (expected.errors[t] + 1e-6)) << "cut " << t;
    if (t > 0 && got.upper[t] == got.upper[t - 1]) {
      ASSERT_EQ(got.errors[t], got.errors[t - 1]) << "cut " << t;
    }
  }
}

// Every result that depends on the weights.
std::vector<Outcome> all_outcomes(const Backend& b, WeightView x) {
  const SaliencyMask mask = SaliencyMask::elements(random_bits(x.rows, x.cols, 0.1, 1));
  const std::vector<float> cuts = even_cuts(40, 2.0f), keys = mixed_keys(x.cols), columns = even_cuts(30, 90.0f);
  return {split(b, x, {.cuts = cuts, .apart = &mask, .order = 1, .centered = true}),
          split(b, x, {.cuts = columns, .column_keys = keys, .order = 2, .centered = false})};
}
void expect_same(const std::vector<Outcome>& expected, const std::vector<Outcome>& got) {
  for (size_t k = 0; k < expected.size(); ++k)
    EXPECT_TRUE(same_bytes(expected[k], got[k])) << "outcome " << k;
}

TEST_F(DeviceSplits, PlaceInMemoryDoesNotMatter) {
  for (const Shape& s : {Shape{3, 5, 0}, Shape{7, 64, 0}, Shape{11, 129, 0}, Shape{2, 2100, 0}}) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.cols);
    const Matrix x = normal_matrix(s.rows, s.cols, 10);
    const std::vector<Outcome> expected = all_outcomes(*backend_, x.view());
    for (const Placement& p : placements()) {
      SCOPED_TRACE(testing::Message() << "offset " << p.offset << ", extra " << p.extra);
      const DeviceView device(*backend_, x.view(), p);
      expect_same(expected, all_outcomes(*backend_, device.view()));
      EXPECT_TRUE(device.margin_intact());
    }
    Padded part(s.rows, s.cols, 3);  // a part of a held matrix
    for (int64_t i = 0; i < s.rows; ++i)
      std::copy(x.row(i), x.row(i) + s.cols, part.view().row(i));
    const HeldMemory held = hold(*backend_, std::as_const(part).view());
    expect_same(expected, all_outcomes(*backend_, std::as_const(part).view()));
  }
}

TEST_F(DeviceSplits, OrderOfExecutionDoesNotMatter) {
  for (const Shape& s : {Shape{37, 97, 0}, Shape{3, 1100, 0}}) {
    const Matrix x = normal_matrix(s.rows, s.cols, 11);
    const std::vector<Outcome> expected = all_outcomes(*backend_, x.view());
    const kx::Options before = kx::options();
    kx::options().order = kx::Order::kReverse;
    expect_same(expected, all_outcomes(*backend_, x.view()));
    kx::options().order = kx::Order::kRandom;
    for (uint64_t seed : {1, 2, 3}) {
      kx::options().seed = seed;
      kx::options().workers = static_cast<int>(seed);
      expect_same(expected, all_outcomes(*backend_, x.view()));
    }
    kx::options() = before;
  }
}

TEST_F(DeviceSplits, HeldMatricesAreNotCopied) {
  const Matrix x = normal_matrix(64, 3000, 12);
  const uint64_t bytes = static_cast<uint64_t>(x.size()) * sizeof(float);
  const std::vector<float> cuts = even_cuts(3, 2.0f);
  const auto beyond = [&] {
    backend_->restart_peak();
    const uint64_t before = backend_->device_memory().in_use;
    split(*backend_, x.view(), {.cuts = cuts});
    return backend_->device_memory().peak - before;
  };
  ASSERT_GE(beyond(), bytes);  // so a copy would be seen
  const HeldMemory held = hold(*backend_, x.view());
  EXPECT_LT(beyond(), bytes / 4);
}

// Rows that end a lane, a word of the mask, a tile, or begin one.
TEST_F(DeviceSplits, RowsOfEveryLength) {
  const std::vector<float> cuts = even_cuts(9, 2.5f), counts = even_cuts(9, 102.0f);
  for (int64_t cols :
       {1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 256, 257, 1023, 1024, 1025, 1055, 1057, 2047, 2048, 2049, 3100}) {
    const int64_t rows = cols < 300 ? 33 : 3;
    const Matrix x = normal_matrix(rows, cols, 13);
    const std::vector<float> keys = mixed_keys(cols);
    for (double share : {0.0, 0.1, 0.6, 1.1}) {
      const SaliencyMask mask = SaliencyMask::elements(random_bits(rows, cols, share, 14));
      for (int order : {1, 2}) {
        SCOPED_TRACE(testing::Message() << cols << " columns, " << mask.count() << " apart, order " << order);
        expect_reference(*backend_, *oracle_, x, {.cuts = cuts, .apart = &mask, .order = order, .centered = order == 1});
        expect_reference(*backend_, *oracle_, x,
                         {.cuts = counts, .column_keys = keys, .apart = &mask, .order = order, .centered = true});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// As many cuts as give a block one row more or less, fill it, or need another turn.
TEST_F(DeviceSplits, AnyNumberOfCuts) {
  const Matrix x = normal_matrix(19, 60, 15), wide = normal_matrix(2, 1500, 16);
  for (int count : {1, 2, 3, 49, 63, 64, 81, 85, 86, 127, 128, 129, 254, 255, 256, 257, 510, 511, 513}) {
    const std::vector<float> cuts = even_cuts(count, 2.5f);
    for (const Matrix* m : {&x, &wide}) {
      const SaliencyMask mask = SaliencyMask::elements(random_bits(m->rows(), m->cols(), 0.1, 17)),
                         none = SaliencyMask::none(m->rows(), m->cols());
      for (const SaliencyMask* apart : {&mask, &none}) {
        SCOPED_TRACE(testing::Message() << count << " cuts, " << m->cols() << " columns, " << apart->count() << " apart");
        expect_reference(*backend_, *oracle_, *m, {.cuts = cuts, .apart = apart, .order = 1, .centered = true});
        if (HasFatalFailure()) return;
      }
    }
  }
}

// More rows than a band of sums holds: each band has its part of the mask.
TEST_F(DeviceSplits, BandsOfRows) {
  const int64_t rows = 250, cols = 6, cuts = 9000;
  ASSERT_EQ(cuda::split_bands(rows, cuts), 3);
  const Matrix x = normal_matrix(rows, cols, 18);
  std::vector<float> values = even_cuts(cuts, 2.5f);
  for (const SaliencyMask& mask :
       {SaliencyMask::elements(random_bits(rows, cols, 0.3, 19)), SaliencyMask::columns(rows, random_bits(1, cols, 0.5, 20))})
    expect_reference(*backend_, *oracle_, x, {.cuts = values, .apart = &mask, .order = 1, .centered = true});
}

}  // namespace
}  // namespace sage::test
