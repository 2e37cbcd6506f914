// The quantizers of PB-LLM against its released code (data/baselines/pb_llm.h5: masks, parameters, and matrices quantized
// without compensation), and closed forms.
#include "core/util/errors.h"
#include "strategies/quantizer/keep.h"
#include "strategies/quantizer/pb_binary.h"
#include "strategies/quantizer/prune.h"
#include "strategies/quantizer/uniform.h"
#include "tests/strategies_b/support.h"
#include "tests/support/h5_fixture.h"

namespace sage {
namespace {

using test::code;
using test::H5Fixture;

// Of columns [first, last); what is not low is salient.
SaliencyMask salient_mask(const Matrix& low, int64_t first, int64_t last) {
  BitMask bits(low.rows(), last - first);
  for (int64_t i = 0; i < low.rows(); ++i)
    for (int64_t j = first; j < last; ++j)
      if (low(i, j) == 0) bits.set(i, j - first);
  return SaliencyMask::elements(std::move(bits));
}

std::unique_ptr<Quantizer> low_quantizer(const std::string& method, int64_t group) {
  if (method == "xnor") return std::make_unique<PbBinary>(PbBinary::Params{PbMethod::kXnor, PbDivisor::kAll, true});
  if (method == "sign") return std::make_unique<PbBinary>(PbBinary::Params{PbMethod::kSign, PbDivisor::kAll, true});
  if (method == "prune") return std::make_unique<Prune>(Prune::Params{});
  Uniform::Params p;
  p.bits = method == "2bit" ? 2 : 3;  // "4bit" has 8 levels
  p.pb_zero_group = group;
  return std::make_unique<Uniform>(p);
}

struct Fitted {
  Fitted(const Quantizer& q, WeightView w, const SaliencyMask& mask, bool salient, int64_t first_column, const GroupMap& groups)
      : planes(Numerics::kReference) {
    BlockContext ctx = test::context(w, Numerics::kReference);
    ctx.first_column = first_column;
    fitted = q.fit(ctx, {&mask, salient}, groups, 0);
    fitted->start_coding();
  }
  const PlaneWriter& emit() {
    fitted->emit(planes);
    return planes;
  }
  std::unique_ptr<FittedQuantizer> fitted;
  PlaneWriter planes;
};

TEST(PbReference, ParametersAndPlainMatrices) {
  const H5Fixture inputs("baselines/inputs.h5"), file("baselines/pb_llm.h5");
  int cases = 0, matrices = 0;
  for (const std::string& input : file.children("/")) {
    const Matrix w = inputs.matrix(input + "/W"), alive = test::weights_without_dead_columns(inputs, input);
    const int64_t rows = w.rows(), cols = w.cols();
    for (const std::string& name : file.children(input)) {
      SCOPED_TRACE(input + " " + name);
      const std::string path = input + "/" + name, method = file.attribute<std::string>(path, "method");
      if (!file.has(path + "/low_mask") || method == "no") continue;
      const Matrix bits = file.matrix(path + "/low_mask");
      const int64_t asked = file.attribute<int64_t>(path, "groupsize"), group = asked > 0 ? asked : cols;
      Matrix q(rows, cols);
      std::fill_n(q.data(), q.size(), test::kUntouched);

      // Rows are quantized to 8 bits by the range of all their weights, dead columns included.
      const SaliencyMask whole = salient_mask(bits, 0, cols);
      const GroupMap one = GroupMap::single(rows, cols);
      Uniform::Params p;
      p.bits = static_cast<int>(file.attribute<int64_t>(path, "high_bit"));
      p.range = UniformRange::kAll;
      Fitted high(Uniform(p), w.view(), whole, true, 0, one);
      high.fitted->encode(alive.view(), 0, 0, q.view());
      const PlaneWriter& planes = high.emit();
      const Matrix high_scale = file.matrix(path + "/high_scale"), high_zero = file.matrix(path + "/high_zero");
      size_t at = 0;
      for (int64_t i = 0; i < rows; ++i) {
        bool owns = false;
        for (int64_t j = 0; j < cols; ++j)
          owns |= whole.test(i, j);
        if (!owns) continue;
        ASSERT_EQ(planes.number_planes().at("uniform_scales").values[at], high_scale.data()[i]) << i;
        ASSERT_EQ(planes.symbol_planes().at("uniform_zeros").symbols[at], high_zero.data()[i]) << i;
        ++at;
      }

      for (int64_t first = 0; first < cols; first += group) {
        const int64_t last = std::min(first + group, cols), ordinal = first / group;
        const SaliencyMask mask = salient_mask(bits, first, last);
        const GroupMap groups = GroupMap::single(rows, last - first);
        const WeightView segment = alive.view().columns(first, last);
        const std::unique_ptr<Quantizer> quantizer = low_quantizer(method, group);
        Fitted low(*quantizer, segment, mask, false, first, groups);
        low.fitted->encode(segment, 0, 0, q.view().columns(first, last));
        const PlaneWriter& stored = low.emit();
        const auto expect_column = [&](const char* plane, const char* dataset, double tolerance) {
          const Matrix expected = file.matrix(path + "/" + dataset);
          const std::vector<float>& got = stored.number_planes().at(plane).values;
          ASSERT_EQ(static_cast<int64_t>(got.size()), rows);  // every row binarizes some weight of every group here
          for (int64_t i = 0; i < rows; ++i)
            ASSERT_NEAR(got[static_cast<size_t>(i)], expected(i, ordinal), tolerance) << dataset << " " << i;
        };
        if (method == "xnor" || method == "sign") expect_column("pb_scales", "low_scale", 1e-6);
        if (method == "xnor") expect_column("pb_means", "low_mean", 1e-6);
        if (method == "2bit" || method == "4bit") {
          expect_column("uniform_scales", "low_scale", 0);
          expect_column("uniform_zero_numbers", "low_zero", 0);
        }
      }
      ++cases;

      const std::string plain = path + "_plain";
      if (!file.has(plain)) continue;
      const Matrix expected = file.palette(plain + "/Q_index", plain + "/Q_level");
      for (int64_t i = 0; i < rows; ++i) {
        float largest = 0;
        for (int64_t j = 0; j < cols; ++j)
          largest = std::max(largest, std::abs(expected(i, j)));
        for (int64_t j = 0; j < cols; ++j)
          ASSERT_NEAR(q(i, j), expected(i, j), 1e-5f * largest) << i << " " << j;
      }
      ++matrices;
    }
  }
  EXPECT_EQ(cases, 64);
  EXPECT_EQ(matrices, 20);
}

// Four weights, the third salient.
struct Four {
  Matrix w = Matrix(1, 4);
  BitMask bits = BitMask(1, 4);
  SaliencyMask mask;
  Four() : mask(SaliencyMask::none(1, 4)) {
    const float values[] = {4, -2, 6, 0};
    std::copy_n(values, 4, w.data());
    bits.set(0, 2);
    mask = SaliencyMask::elements(bits);
  }
  test::Coded code(const Quantizer& q) const { return test::code(q, w.view(), mask, false, GroupMap::single(1, 4)); }
};

TEST(PbBinary, ClosedForms) {
  const Four f;
  const test::Coded all = f.code(PbBinary({PbMethod::kXnor, PbDivisor::kAll, false}));
  EXPECT_EQ(all.planes.number_planes().at("pb_means").values, std::vector<float>{.5f});     // 2 / 4
  EXPECT_EQ(all.planes.number_planes().at("pb_scales").values, std::vector<float>{1.75f});  // (3.5 + 2.5 + .5 + .5) / 4
  EXPECT_EQ(all.decoded(0, 0), 2.25f);
  EXPECT_EQ(all.decoded(0, 1), -1.25f);
  EXPECT_EQ(all.decoded(0, 3), -1.25f);  // a zero weight is one like any other
  const test::Coded owned = code(PbBinary({PbMethod::kXnor, PbDivisor::kOwned, false}), f.w.view(), f.mask, false,
                                 GroupMap::single(1, 4), 0, Numerics::kReference);
  EXPECT_FLOAT_EQ(owned.planes.number_planes().at("pb_means").values[0], 2.0f / 3);
  EXPECT_FLOAT_EQ(owned.planes.number_planes().at("pb_scales").values[0], 20.0f / 9);
  const test::Coded sign = f.code(PbBinary({PbMethod::kSign, PbDivisor::kAll, false}));
  EXPECT_EQ(sign.planes.number_planes().at("pb_scales").values, std::vector<float>{1});
  EXPECT_EQ(sign.decoded(0, 0), 1);
  EXPECT_EQ(sign.decoded(0, 1), 0);
  EXPECT_EQ(sign.decoded(0, 3), 0);
  EXPECT_EQ(sign.planes.number_planes().count("pb_means"), 0u);
  EXPECT_EQ(sign.paper.weight_bits, 3);
  EXPECT_EQ(sign.paper.scale_words, 0);
}

TEST(PbBinary, AWeightAtTheMean) {
  Matrix w(1, 3);
  w(0, 0) = -1, w(0, 1) = 0, w(0, 2) = 1;
  for (bool keep : {false, true}) {
    const test::Coded c = test::code_all(PbBinary({PbMethod::kXnor, PbDivisor::kAll, keep}), w.view(), Numerics::kReference);
    EXPECT_FLOAT_EQ(c.decoded(0, 1), keep ? 0.0f : 2.0f / 3);
    EXPECT_EQ(c.planes.symbol_planes().at("pb_signs").alphabet, keep ? 3 : 2);
  }
}

TEST(Prune, StoresNothing) {
  const Four f;
  const test::Coded c = f.code(Prune({}));
  EXPECT_EQ(c.squared_error, 20);
  EXPECT_TRUE(c.planes.number_planes().empty() && c.planes.symbol_planes().empty() && c.planes.integers().empty());
  EXPECT_EQ(c.decoded(0, 0), 0);
  EXPECT_EQ(c.paper.weight_bits, 0);
}

TEST(Keep, KeepsHalvesOrFloats) {
  Matrix w(1, 2);
  w(0, 0) = 1.0f / 3, w(0, 1) = 1e6f;
  const test::Coded half = test::code_all(Keep({}), w.view()), full = test::code_all(Keep({}), w.view(), Numerics::kReference);
  EXPECT_EQ(half.decoded(0, 0), 0.333251953125f);  // 1365 / 4096
  EXPECT_EQ(half.decoded(0, 1), 65504);
  EXPECT_EQ(half.paper.weight_bits, 32);
  EXPECT_EQ(full.squared_error, 0);
  EXPECT_EQ(full.paper.weight_bits, 64);
  EXPECT_EQ(half.planes.number_planes().at("kept_weights").role, Role::kCode);
}

TEST(Uniform, RangeOfAllWeights) {
  const Four f;
  Uniform::Params p;
  p.bits = 2;
  const test::Coded own = f.code(Uniform(p));
  EXPECT_EQ(own.planes.number_planes().at("uniform_scales").values, std::vector<float>{2});  // (4 + 2) / 3
  p.range = UniformRange::kAll;
  const test::Coded all = f.code(Uniform(p));
  EXPECT_NEAR(all.planes.number_planes().at("uniform_scales").values[0], 8.0 / 3, 2e-3);
  EXPECT_EQ(all.planes.symbol_planes().at("uniform_codes").symbols.size(), 3u);
}

TEST(Uniform, TritsClosedForm) {
  Matrix w(1, 5);
  const float values[] = {4, 2, 2.5f, -1, -3}, expected[] = {4, 0, 4, 0, -3};
  std::copy_n(values, 5, w.data());
  Uniform::Params p;
  p.trits = true;
  const test::Coded c = test::code_all(Uniform(p), w.view());
  for (int64_t j = 0; j < 5; ++j)
    EXPECT_EQ(c.decoded(0, j), expected[j]);
  EXPECT_EQ(c.planes.symbol_planes().at("uniform_codes").alphabet, 3);
  EXPECT_EQ(c.planes.symbol_planes().count("uniform_zeros"), 0u);
  EXPECT_NEAR(c.paper.weight_bits, 5 * std::log2(3.0), 1e-12);
}

TEST(Uniform, ShrinkingNeverRaisesTheErrorItMinimizes) {
  for (const char* law : {"gauss", "t5", "lapmix"}) {
    const Matrix w = test::make_random(law, 30, 256, 5);
    for (int bits : {2, 3, 4}) {
      Uniform::Params p;
      p.bits = bits;
      const test::Coded plain = test::code_all(Uniform(p), w.view());
      p.mse = true;
      const test::Coded shrunk = test::code_all(Uniform(p), w.view());
      double total = 0;
      for (int64_t i = 0; i < w.rows(); ++i) {
        double a = 0, b = 0;
        for (int64_t j = 0; j < w.cols(); ++j) {
          a += std::pow(std::abs(w(i, j) - plain.decoded(i, j)), 2.4);
          b += std::pow(std::abs(w(i, j) - shrunk.decoded(i, j)), 2.4);
        }
        EXPECT_LE(b, a * (1 + 1e-6));
        total += b / a;
      }
      EXPECT_LT(total, .95 * static_cast<double>(w.rows()));
    }
  }
}

TEST(Uniform, PbZerosNeedTheRowOfTheirGroup) {
  const Matrix w = test::make_random("gauss", 3, 8, 5);
  const SaliencyMask none = SaliencyMask::none(3, 8);
  Uniform::Params p;
  p.pb_zero_group = 8;
  BlockContext ctx = test::context(w.view());
  const GroupMap one = GroupMap::single(3, 8);
  ctx.first_column = 16;
  EXPECT_NO_THROW(Uniform(p).fit(ctx, {&none, false}, one, 0));
  ctx.first_column = 24;
  EXPECT_THROW(Uniform(p).fit(ctx, {&none, false}, one, 0), RunError);
}

}  // namespace
}  // namespace sage
