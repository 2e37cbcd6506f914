// A device that fails at any one call: every call a script of operations makes fails once, in turn. Each time there is a
// ResourceError that says what failed, or, where the failure hurt nothing, right results; nothing is left behind; and unless
// the device is lost, the backend works again.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "core/backend/block_coder.h"
#include "core/backend/memory.h"
#include "core/util/errors.h"
#include "core/util/random.h"
#include "kernels/backends.h"
#include "kernels/cuda_on_cpu/cuda_on_cpu_backend.h"
#include "kernels/cuda_on_cpu/emulated_api.h"
#include "tests/cuda/faulty_api.h"

namespace sage::test {
namespace {

using cuda::Status;

Matrix normal(int64_t rows, int64_t cols, uint64_t stream) {
  Matrix m(rows, cols);
  Rng rng(5, stream);
  for (int64_t i = 0; i < m.size(); ++i)
    m.data()[i] = static_cast<float>(rng.normal());
  return m;
}

// Every family of operations that takes memory, copies, holds, multiplies or launches; all results in one list.
std::vector<double> script(const Backend& backend) {
  constexpr int64_t kPositions = 3, kWidth = 4, kTokens = 6;
  const Matrix x = normal(kPositions, kWidth, 1), y = normal(kPositions, kWidth, 2), head = normal(kTokens, kWidth, 3),
               large = normal(70, 10, 4);
  std::vector<double> out;
  const auto keep = [&](WeightView m) {
    for (int64_t i = 0; i < m.rows; ++i)
      out.insert(out.end(), m.row(i), m.row(i) + m.cols);
  };

  const HeldMemory held = hold(backend, head.view());
  const BackendMatrix device(backend, kPositions, kWidth), other(backend, kPositions, kWidth);
  copy(backend, x.view(), device.view());
  copy(backend, device.view(), other.view());
  backend.add(device.view(), y.view());
  backend.add(other.view(), device.view());
  {
    const HeldMemory unused = hold(backend, large.view());  // several times a pinned buffer
    const HeldMemory again = hold(backend, head.view());
  }
  keep(to_host(backend, device.view()).view());
  keep(to_host(backend, other.view()).view());

  Matrix logits(kPositions, kTokens);
  const std::vector<float> bias = {1, 2, 3, 4, 5, 6};
  backend.linear(device.view(), head.view(), bias, logits.view());
  keep(logits.view());

  std::vector<double> nll(kPositions), kl(kPositions);
  std::vector<int32_t> top(kPositions);
  std::vector<uint8_t> agree(kPositions);
  const std::vector<int32_t> target = {2, -1, 5};
  backend.head_nll(device.view(), head.view(), target, nll, {});
  out.insert(out.end(), nll.begin(), nll.end());
  backend.head_nll(x.view(), head.view(), target, nll, top);
  out.insert(out.end(), nll.begin(), nll.end());
  out.insert(out.end(), top.begin(), top.end());
  backend.head_divergence(x.view(), head.view(), device.view(), head.view(), kl, agree, target, nll);
  out.insert(out.end(), kl.begin(), kl.end());
  out.insert(out.end(), nll.begin(), nll.end());
  out.insert(out.end(), agree.begin(), agree.end());

  Matrix gram = Matrix::zeros(kWidth, kWidth);
  std::vector<double> wide(kWidth * kWidth, 0.0);
  backend.gram_update(device.view(), 0.5, 2, gram.view());
  backend.gram_update(x.view(), 0.5, 2, View<double>(wide.data(), kWidth, kWidth));
  keep(gram.view());
  out.insert(out.end(), wide.begin(), wide.end());

  Matrix product = normal(kPositions, kTokens, 6);
  const Matrix factor = normal(kWidth, kTokens, 7);
  backend.subtract_product(x.view(), factor.view(), product.view());
  keep(product.view());
  const std::vector<float> u = {1, 2, 3}, e = {0.5f, -1, 2, 4};
  backend.subtract_outer(u, e, device.view());
  keep(to_host(backend, device.view()).view());

  // Coded column by column in two slots, with everything a block can have to send.
  const SaliencyMask mask = [] {
    BitMask bits(kPositions, kWidth);
    bits.set(1, 2);
    return SaliencyMask::elements(bits);
  }();
  GroupMap groups = GroupMap::single(kPositions, kWidth);
  groups.shape = LabelShape::kElement;
  groups.groups = 2;
  groups.element = {0, 1, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0};
  GroupMap blocks = GroupMap::single(kPositions, kWidth);
  blocks.shape = LabelShape::kRowBlock;
  blocks.block = 2;
  blocks.groups = 2;
  blocks.label = {0, 1, 1, 0, 0, 1};
  const ScaleUnits by_group("test", groups, false, true), by_block("test", blocks, true, true);
  const std::vector<float> scales = {0.5f, 0.1f, 0.1f, 1.5f, 0, 0},
                           grids = {0.5f, 3, 0.25f, 3, 0.5f, 4, 0.5f, 3, 1, 3, 0.5f, 2};
  ElementCode signs, grid;
  signs.own = {&mask, false};
  signs.units = &by_group;
  signs.parameters = scales;
  grid.kind = ElementCode::Kind::kGrid;
  grid.largest = 7;
  grid.own = {&mask, true};
  grid.units = &by_block;
  grid.parameters = grids;
  const ElementCode codes[] = {signs, grid};
  std::vector<std::array<CodedColumn, 2>> columns;
  for (int64_t c = 0; c < kWidth; ++c)
    columns.push_back({CodedColumn{0, c}, CodedColumn{1, c}});
  Matrix triangle = Matrix::zeros(kWidth, kWidth), decoded(kPositions, kWidth), error(kPositions, kWidth);
  for (int64_t i = 0; i < kWidth; ++i)
    for (int64_t j = i; j < kWidth; ++j)
      triangle(i, j) = i == j ? 1.0f : 0.25f;
  std::vector<uint8_t> symbols(kPositions * kWidth);
  backend.block_coder()->code_block({codes, columns, Correction::kColumnwise, triangle.view()}, y.view(), decoded.view(),
                                    {symbols.data(), kPositions, kWidth}, error.view());
  keep(decoded.view());
  keep(error.view());
  out.insert(out.end(), symbols.begin(), symbols.end());

  std::vector<Moments> moments(2);
  std::vector<ResidualLevels> levels(static_cast<size_t>(by_block.count()));
  backend.unit_moments(y.view(), {&mask, false}, by_group, std::span(scales).first(2), moments);
  for (const Moments& m : moments)
    out.insert(out.end(), {m.sum, m.abs_sum, m.sq_sum});
  out.push_back(backend.residual_binarize(y.view(), {&mask, false}, by_block, {.order = 2}, levels));
  const std::vector<float> cuts = {0.2f, 0.9f};
  std::vector<double> errors(2);
  std::vector<int64_t> upper(2);
  backend.split_errors(y.view(), {.cuts = cuts, .apart = &mask}, errors, upper);
  out.insert(out.end(), errors.begin(), errors.end());
  return out;
}

struct Failure {
  std::string name;
  Status status;
  bool sticky;
  bool keep_memory;
  cuda::Precision precision = cuda::Precision::kFloat32;
  friend std::ostream& operator<<(std::ostream& out, const Failure& f) { return out << f.name; }
};
const Failure kFailures[] = {
    {"OutOfMemory", {2}, false, false},
    {"OutOfMemoryWithKeptBlocks", {2}, false, true},
    {"LaunchFailure", {719}, false, false},
    {"LaunchFailureWithKeptBlocks", {719}, false, true},
    {"IllegalAddressForGood", {700}, true, false},
    {"IllegalAddressForGoodWithKeptBlocks", {700}, true, true},
    {"CublasFailure", {13, Status::Library::kBlas}, false, true},
    {"LaunchFailureInBfloat16", {719}, false, true, cuda::Precision::kBfloat16},
};

class Failures : public testing::TestWithParam<Failure> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Failures, testing::ValuesIn(kFailures),
                         [](const testing::TestParamInfo<Failure>& info) { return info.param.name; });

std::unique_ptr<cuda::DeviceBackend> make(const std::shared_ptr<Faults>& faults, bool keep_memory,
                                          cuda::Precision precision = cuda::Precision::kFloat32) {
  cuda::DeviceSizes sizes = cuda::kEmulatedSizes;
  sizes.keep_memory = keep_memory;
  sizes.pinned_bytes = 1024;
  return std::make_unique<cuda::DeviceBackend>(make_faulty_api(cuda::make_emulated_api(), faults), cuda::emulated_kernels(),
                                               precision, sizes);
}

TEST_P(Failures, AtEveryCall) {
  const Failure& failure = GetParam();
  const std::vector<double> reference = script(*make_backend("reference"));
  const std::string code = cuda::make_emulated_api()->describe(failure.status);
  std::vector<double> expected;
  int64_t calls = 0;
  // bfloat16 has 8 bits; what it rounds here has magnitudes up to about 10.
  const double tolerance = failure.precision == cuda::Precision::kFloat32 ? 1e-5 : 0.1;
  {
    const auto faults = std::make_shared<Faults>();
    expected = script(*make(faults, failure.keep_memory, failure.precision));
    calls = faults->calls();
    ASSERT_EQ(expected.size(), reference.size());
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(expected[i], reference[i], tolerance * (1 + std::fabs(reference[i]))) << i;
  }
  int64_t reported = 0, recovered = 0;
  for (int64_t n = 1; n <= calls + 1; ++n) {
    SCOPED_TRACE(testing::Message() << "call " << n << " of " << calls);
    const auto faults = std::make_shared<Faults>();
    faults->arm(n, failure.status, failure.sticky);
    std::unique_ptr<cuda::DeviceBackend> backend;
    bool threw = false;
    try {
      backend = make(faults, failure.keep_memory, failure.precision);
      const std::vector<double> got = script(*backend);
      EXPECT_EQ(got, expected);
    } catch (const ResourceError& e) {
      const std::string text = e.what();
      EXPECT_EQ(text.rfind("cuda_on_cpu: ", 0), 0u) << text;
      EXPECT_NE(text.find(": " + code + "; expected "), std::string::npos) << text;
      EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 0) << text;
      threw = true;
      ++reported;
    }
    if (!threw && faults->fired()) ++recovered;
    EXPECT_FALSE(threw && !faults->fired());
    if (backend != nullptr) {
      EXPECT_EQ(backend->device_memory().in_use, 0u);
    }
    if (backend != nullptr && faults->fired()) {
      if (failure.sticky) {
        EXPECT_THROW(script(*backend), ResourceError) << "of a device that is lost";
      } else {
        EXPECT_EQ(script(*backend), expected) << "after the failure";
      }
    }
    backend.reset();
    EXPECT_EQ(faults->complaints(true), "");
    EXPECT_EQ(faults->fired(), n <= calls);
    if (HasFailure()) break;
  }
  // Calls in destructors cannot report; all others must.
  EXPECT_GT(reported, calls / 2);
  RecordProperty("calls", std::to_string(calls));
  RecordProperty("reported", std::to_string(reported));
  RecordProperty("recovered", std::to_string(recovered));
  std::cout << calls << " calls: " << reported << " failures reported, " << recovered << " without effect\n";
}

// The text names the operation that was asked for.
TEST(FailureTexts, NameTheOperation) {
  const auto faults = std::make_shared<Faults>();
  const auto backend = make(faults, true);
  Matrix x = normal(3, 4, 1), y = normal(3, 4, 2), square = Matrix::zeros(4, 4);
  std::vector<double> nll(3);
  const std::vector<int32_t> target = {0, 1, 2};
  const std::vector<std::pair<std::string, std::function<void()>>> operations = {
      {"add", [&] { backend->add(x.view(), y.view()); }},
      {"gram_update", [&] { backend->gram_update(x.view(), 0, 1, square.view()); }},
      {"head_nll", [&] { backend->head_nll(x.view(), y.view(), target, nll, {}); }},
      {"subtract_product", [&] { backend->subtract_product(y.view(), square.view(), x.view()); }},
      {"allocate", [&] { backend->allocate(4096); }},
      {"hold", [&] { backend->hold(x.view()); }},
  };
  for (const auto& [name, operation] : operations)
    for (int64_t n = 1; n <= 6; ++n) {
      faults->arm(n, {719}, false);
      try {
        operation();
        EXPECT_TRUE(n > 1 || !faults->fired()) << name << ": the first call failed, and nobody said so";
      } catch (const ResourceError& e) {
        EXPECT_EQ(std::string(e.what()).rfind("cuda_on_cpu: " + name, 0), 0u) << e.what();
      }
    }
}

// An operation that needs more memory than there is: it changes nothing, and works once there is some.
TEST(FailureTexts, NoMemoryForAnOperation) {
  const auto faults = std::make_shared<Faults>();
  const auto backend = make(faults, true);
  const Matrix y = normal(300, 300, 1);
  const BackendMatrix small(*backend, 300, 300);
  copy(*backend, y.view(), small.view());
  faults->limit_memory(faults->memory() + 1000);
  try {
    backend->add(small.view(), y.view());
    ADD_FAILURE() << "no error";
  } catch (const ResourceError& e) {
    // 360000 bytes, rounded up to 512.
    EXPECT_NE(std::string(e.what()).find("add: taking 0.4 MB of device memory (0.4 of"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("expected enough free device memory; close other programs"), std::string::npos);
  }
  EXPECT_EQ(std::memcmp(to_host(*backend, small.view()).data(), y.data(), sizeof(float) * 90000), 0);
  faults->limit_memory(SIZE_MAX);
  backend->add(small.view(), y.view());
  EXPECT_EQ(to_host(*backend, small.view())(7, 9), 2 * y(7, 9));
}

}  // namespace
}  // namespace sage::test
