// Packed files to the device: what PackedMatrix decodes is what the decoder of the pipeline decodes, whatever the pipeline.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/util/errors.h"
#include "kernels/cuda/packed/packed_planes.h"
#include "tests/cuda_packed/support.h"
#include "tests/pipeline/calibrated.h"

namespace sage {
namespace {

using cuda::Activations;
using cuda::PackedMatrix;
using test::device;
using test::factory;
using test::kMatrixName;

struct Method {
  const char* name;
  std::string yaml;
  bool exact = false;  // 200 columns are several blocks of less than 128: int8 activations are not used
};
void PrintTo(const Method& m, std::ostream* out) { *out << m.name; }

std::string sage_paper(int groups, double ratio, const std::string& more = "") {
  const std::string grouping = groups == 1 ? "single" : fmt::format("{{type: kmeans, groups: {}}}", groups);
  return fmt::format(
      "{{saliency: {}, threshold: {{type: fixed, ratio: {}}}, grouping: {}, quantizer: binary, salient_quantizer: {{type: "
      "multibit, bits: 4}}{}}}",
      ratio > 0 ? "sigma" : "none", ratio, grouping, more);
}

std::vector<Method> methods() {
  const std::string salient = "saliency: sigma, threshold: {type: fixed, ratio: 0.05}, salient_quantizer: multibit";
  return {
      {"k1", sage_paper(1, 0)},
      {"k2", sage_paper(2, 0)},
      {"k4", sage_paper(4, 0)},
      {"k5", sage_paper(5, 0)},
      {"k8", sage_paper(8, 0)},
      {"k1_salient", sage_paper(1, 0.05)},
      {"k2_salient_bitmap", sage_paper(2, 0.05, ", coder: {salient_index: bitmap}")},
      {"k4_salient_csr", sage_paper(4, 0.05, ", coder: {salient_index: csr}")},
      {"k8_salient_range", sage_paper(8, 0.05, ", coder: {salient_index: range, group_index: range, signs: range}")},
      {"k3_reference", sage_paper(3, 0.05, ", numerics: reference")},
      {"columns",
       "{saliency: columns, threshold: {type: fixed, ratio: 0.06}, grouping: single, quantizer: {type: binary, scale: row}, "
       "salient_quantizer: multibit,"
       " coder: {salient_index: bitmap}}"},
      {"columns_delta8",
       "{saliency: columns, threshold: {type: fixed, ratio: 0.06}, grouping: {type: kmeans, groups: 2}, quantizer: binary, "
       "salient_quantizer: keep,"
       " coder: {salient_index: csr}}"},
      {"shifts", "{" + salient + ", grouping: {type: equal_count, groups: 4}, quantizer: {type: binary, mean_shift: true}}"},
      {"row", "{" + salient + ", grouping: {type: kmeans, groups: 4}, quantizer: {type: binary, scale: row}}"},
      {"row_group",
       "{" + salient + ", grouping: {type: kmeans, groups: 4}, quantizer: {type: binary, scale: row_group, mean_shift: true}}"},
      {"rank1", "{" + salient + ", grouping: single, quantizer: {type: binary, scale: rank1}}"},
      {"column_blocks", "{" + salient + ", grouping: {type: positional, unit: columns, block: 32}, quantizer: binary}", true},
      {"column_blocks_128",
       "{" + salient +
           ", grouping: {type: positional, unit: columns, block: 128}, quantizer: {type: binary, scale: row_group}}"},
      {"rows", "{" + salient + ", grouping: {type: positional, unit: rows}, quantizer: binary}"},
      {"row_blocks", "{" + salient + ", grouping: {type: positional, unit: row_block, block: 64}, quantizer: binary}", true},
      {"shared_ids",
       "{" + salient + ", grouping: {type: positional, unit: shared_ids, block: 32, groups: 6}, quantizer: binary}", true},
      {"segments",
       "{segment_columns: 64, salient_segment_columns: 0, " + salient +
           ", grouping: {type: kmeans, groups: 3}, quantizer: {type: binary, scale: row_group}}",
       true},
      {"segments_of_blocks",
       "{segment_columns: 128, " + salient +
           ", grouping: {type: positional, unit: shared_ids, block: 64, groups: 4}, quantizer: binary}",
       true},
      {"segments_rank1", "{segment_columns: 128, " + salient + ", grouping: single, quantizer: {type: binary, scale: rank1}}"},
      {"scaled_rows",
       "{transform: {type: scale, mode: row}, " + salient + ", grouping: {type: kmeans, groups: 4}, quantizer: binary}"},
      {"scaled_rank1", "{transform: {type: scale, mode: rank1}, " + salient +
                           ", grouping: {type: kmeans, groups: 2}, quantizer: {type: binary, scale: rank1}}"},
      {"alternatives",
       sage_paper(2, 0.05, ", alternatives: [{saliency: {type: none}}, {grouping: {type: kmeans, groups: 4}}]")},
  };
}

class PackedFile : public testing::TestWithParam<Method> {};

TEST_P(PackedFile, DecodesAndMultipliesAsTheDecodedWeightsDo) {
  const PipelineFactory f = factory(GetParam().yaml);
  const std::pair<int64_t, int64_t> sizes[] = {{1, 40}, {19, 33}, {40, 200}, {33, 261}};
  for (const auto& [rows, cols] : sizes) {
    SCOPED_TRACE(fmt::format("{} x {}", rows, cols));
    const Matrix original = test::make_random("t10+s", rows, cols, 7);
    const MatrixResult r = quantize_matrix(f, {original.view(), {0, kMatrixName}, 1, nullptr, nullptr}, test::cpu());
    const Matrix expected = test::decode(f, r.packed);
    const PackedMatrix w(device(), cuda::read_packed_planes(f, r.packed, kMatrixName));
    Matrix decoded(rows, cols);
    w.decode(decoded.view());
    ASSERT_TRUE(test::same_bits(expected, decoded));

    float largest = 0;  // of what planes may hold
    for (int64_t k = 0; k < expected.size(); ++k)
      largest = std::max(largest, std::fabs(expected.data()[k]));
    for (const int64_t vectors : {int64_t{1}, PackedMatrix::kPanelVectors}) {
      const Matrix x = test::normals(vectors, cols);
      Matrix y(vectors, rows), q(vectors, rows);
      w.multiply(x.view(), y.view());
      w.multiply(x.view(), q.view(), Activations::kInt8);
      float most = 0;
      for (int64_t k = 0; k < x.size(); ++k)
        most = std::max(most, std::fabs(x.data()[k]));
      for (int64_t t = 0; t < vectors; ++t)
        for (int64_t i = 0; i < rows; ++i) {
          const test::Dot d = test::dot(expected.view(), i, x.view(), t);
          const double slack = test::rounding(d.magnitude + 2 * largest * most, cols);
          ASSERT_NEAR(d.value, y(t, i), slack);
          // Half a step of the activations times sum |w|, generously: the planes hold a group's level at salient positions, and
          // columns with factors have steps of their own.
          ASSERT_NEAR(d.value, q(t, i), 0.5 * most / 127 * 4 * largest * static_cast<double>(cols) + slack);
          if (GetParam().exact && vectors == 1 && cols >= 200) {
            ASSERT_EQ(y(t, i), q(t, i));
          }
        }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, PackedFile, testing::ValuesIn(methods()),
                         [](const auto& info) { return std::string(info.param.name); });

// Stored bytes of the coders raw and bitmap are used as they are; the others' symbols take a byte.
TEST(PackedPlanes, TakesStoredBytesWhereTheyAreBits) {
  const Matrix original = test::make_random("gauss", 16, 96, 3);
  for (const bool raw : {true, false}) {
    const std::string coder = raw ? "raw" : "range";
    const PipelineFactory f = factory(sage_paper(
        4, 0.05,
        fmt::format(", coder: {{salient_index: {}, group_index: {}, signs: {}}}", raw ? "bitmap" : "range", coder, coder)));
    const MatrixResult r = quantize_matrix(f, {original.view(), {0, kMatrixName}, 1, nullptr, nullptr}, test::cpu());
    const cuda::PackedPlanes p = cuda::read_packed_planes(f, r.packed, kMatrixName);
    EXPECT_EQ(p.signs.width, raw ? 1 : 8);
    EXPECT_EQ(p.ids.width, raw ? 2 : 8);
    EXPECT_EQ(p.id_planes, 2);
    if (!raw) continue;
    EXPECT_EQ(p.signs.bytes, test::plane(r.packed, "signs")->bytes);
    EXPECT_EQ(p.ids.bytes, test::plane(r.packed, "group_index")->bytes);
    EXPECT_EQ(p.salient_bits, test::plane(r.packed, "salient_index")->bytes);
  }
}

TEST(PackedPlanes, RefusesMethodsWithoutALayoutByName) {
  const std::string salient = "saliency: sigma, threshold: {type: fixed, ratio: 0.05}, salient_quantizer: multibit, ";
  const std::pair<std::string, std::vector<std::string>> cases[] = {
      {"{" + salient + "grouping: single, quantizer: {type: uniform, bits: 3}}", {"quantizer uniform", "binary"}},
      {"{" + salient + "grouping: single, quantizer: residual_binary}", {"quantizer residual_binary"}},
      {"{transform: {type: hadamard}, " + salient + "grouping: single, quantizer: binary}",
       {"transform hadamard", "none or scale"}},
      {sage_paper(9, 0), {"grouping kmeans with 9 groups", "at most 8"}},
      {"{segment_columns: 48, " + salient + "grouping: single, quantizer: binary}", {"segment_columns 48", "multiple of 32"}},
      {"{" + salient + "grouping: {type: positional, unit: row_block, block: 20}, quantizer: binary}",
       {"grouping positional with blocks of 20", "multiple of 32"}},
      {"{segment_columns: 96, " + salient + "grouping: {type: positional, unit: columns, block: 64}, quantizer: binary}",
       {"blocks of 64", "divides segments of 96"}},
  };
  const Matrix original = test::make_random("gauss", 16, 192, 3);
  for (const auto& [yaml, words] : cases) {
    SCOPED_TRACE(yaml);
    const PipelineFactory f = factory(yaml);
    const MatrixResult r = quantize_matrix(f, {original.view(), {0, kMatrixName}, 1, nullptr, nullptr}, test::cpu());
    const std::string message = test::message_of<UserError>([&] { cuda::read_packed_planes(f, r.packed, kMatrixName); });
    test::expect_words(message, words);
    test::expect_words(message, {kMatrixName, "expected"});
  }
}

TEST(PackedPlanes, RefusesDamagedPlanes) {
  const PipelineFactory f = factory(sage_paper(3, 0.05, ", coder: {salient_index: bitmap}"));
  const Matrix original = test::make_random("gauss", 16, 96, 3);
  const QuantizedMatrix good = quantize_matrix(f, {original.view(), {0, kMatrixName}, 1, nullptr, nullptr}, test::cpu()).packed;
  Rng rng(5, "damage");
  int refused = 0;
  for (int round = 0; round < 100; ++round) {
    QuantizedMatrix bad = good;
    StoredPlane& p = bad.planes[rng.below(bad.planes.size())];
    if (rng.below(2) == 0)
      p.bytes[rng.below(p.bytes.size())] ^= static_cast<std::byte>(1u << rng.below(8));
    else
      p.bytes.resize(rng.below(p.bytes.size()));
    try {
      const PackedMatrix w(device(), cuda::read_packed_planes(f, bad, kMatrixName));
      const Matrix expected = test::decode(f, bad);
      Matrix decoded(16, 96);
      w.decode(decoded.view());
      EXPECT_TRUE(test::same_bits(expected, decoded));
    } catch (const ResourceError&) {
      ++refused;
      EXPECT_THROW(test::decode(f, bad), ResourceError);
    }
  }
  EXPECT_GT(refused, 30);
}

}  // namespace
}  // namespace sage
