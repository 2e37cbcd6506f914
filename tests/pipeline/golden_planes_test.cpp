// One digest of planes for every composition, kept with the versions it was taken at: whoever changes what the engine or a
// component makes of the same weights learns here which version to raise. This says that a result changed, never that it is
// right.
//
// tests/data/golden_planes.tsv: composition, digest, engine@version and components. After a change with its version raised,
//
//   sage_test_pipeline --gtest_filter='*GoldenPlanes*' | sed -n 's/^new line: //p'
//
// prints the lines to put in place of the old ones.
//
// Digests are the same on every machine. Weights are small multiples of 2^-9, so that sums of weights, magnitudes and squares
// are exact in any order and with any instructions; Grams are those of inputs in groups of four whose Cholesky factors are
// short binary fractions, undamped, so that factors and corrections are exact, too, whatever LAPACK or BLAS does. What is left
// are roots, logarithms and the eigenvectors behind `spectral`, from which counts and cuts are taken, far from ties on this
// input. Each is made with every set of instructions this machine has.
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <sstream>

#include "core/pipeline/engine_version.h"
#include "kernels/cpu/cpu_backend.h"
#include "tests/pipeline/calibrated.h"
#include "tests/pipeline/combinations.h"

namespace sage {
namespace {

using test::NamedPipeline;

constexpr int64_t kRows = 96, kCols = 192;

// Of bell shape and with a few large ones: the sum of eight bytes of SHA-256, and every 97th weight times four.
Matrix dyadic_weights() {
  Matrix w(kRows, kCols);
  for (int64_t i = 0; i < kRows; ++i)
    for (int64_t j = 0; j < kCols; ++j) {
      const std::string hash = sha256_hex(fmt::format("{} {}", i, j));
      int sum = -1020;
      for (size_t k = 0; k < 8; ++k)
        sum += std::stoi(hash.substr(2 * k, 2), nullptr, 16);
      w(i, j) = static_cast<float>((i * kCols + j) % 97 == 5 ? 4 * sum : sum) / 512;
    }
  return w;
}

// H with J H J = L L^T: L is lower triangular, column j meets columns j + 48, j + 96 and j + 144 alone, and all entries are
// powers of two or half of them.
Matrix dyadic_gram() {
  Matrix h = Matrix::zeros(kCols, kCols);
  constexpr int64_t kStep = kCols / 4;
  for (int64_t first = 0; first < kStep; ++first) {
    double l[4][4] = {};
    for (int a = 0; a < 4; ++a) {
      l[a][a] = (first + a) % 5 == 0 ? 2 : 1;
      for (int b = 0; b < a; ++b)
        l[a][b] = (first + a + 2 * b) % 3 == 0 ? 0.5 : (first + b) % 2 == 0 ? -0.5 : 0;
    }
    for (int a = 0; a < 4; ++a)
      for (int b = 0; b < 4; ++b) {
        double sum = 0;
        for (int k = 0; k < 4; ++k)
          sum += l[a][k] * l[b][k];
        h(kCols - 1 - (first + kStep * a), kCols - 1 - (first + kStep * b)) = static_cast<float>(sum);
      }
  }
  return h;
}

// Every shape of pipeline, and every component under every compensator and in scopes of each kind.
std::vector<std::pair<std::string, std::string>> compositions() {
  std::vector<std::pair<std::string, std::string>> out;
  for (const NamedPipeline& p : test::all_shapes_of_pipelines())
    out.emplace_back(p.name, p.yaml);
  for (const NamedPipeline& parts : test::components())
    for (const char* compensator : {"gptq", "block", "block_exact"})
      out.emplace_back(fmt::format("{} {}", parts.name, compensator),
                       test::pipeline(parts.yaml, compensator, "segment_columns: 64, block_columns: 64"));
  for (const std::string& scope : test::activation_scopes())
    out.emplace_back("uniform gptq " + scope, test::pipeline(test::components().front().yaml, "gptq", scope));
  return out;
}

std::string digest_of(const QuantizedMatrix& q) {
  Sha256 sha;
  for (const StoredPlane& p : q.planes) {
    const std::string head = fmt::format("{} {} {}\n", p.name, p.dtype, p.bytes.size());
    sha.update(head.data(), head.size());
    sha.update(p.bytes.data(), p.bytes.size());
  }
  return sha.hex();
}

std::string versions_of(const PipelineFactory& f) {
  std::string text = fmt::format("engine@{}", kEngineVersion);
  for (const std::string& c : f.component_versions())
    text += " " + c;
  return text;
}

struct Golden {
  std::string digest, versions;
};
std::map<std::string, Golden> table() {
  std::map<std::string, Golden> out;
  std::ifstream in(std::string(SAGE_TEST_DATA) + "/golden_planes.tsv");
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string name;
    Golden g;
    std::getline(fields, name, '\t');
    std::getline(fields, g.digest, '\t');
    std::getline(fields, g.versions);
    out[name] = g;
  }
  return out;
}

TEST(GoldenPlanes, ChangeOnlyWithAVersion) {
  const Matrix w = dyadic_weights(), gram = dyadic_gram();
  FactorOptions options;
  options.percdamp = 0;
  const LayerHessian hessian(gram.view(), options, test::kLayerName);
  std::map<std::string, Golden> known = table();
  for (const auto& [name, yaml] : compositions()) {
    const PipelineFactory f = test::factory(yaml);
    std::map<std::string, std::string> digests;  // by instructions
    for (const std::string& variant : cpu_variants()) {
      const std::unique_ptr<Backend> cpu = make_cpu_backend(variant);
      const MatrixResult r =
          quantize_matrix(f, {.weights = w.view(), .id = {0, test::kMatrixName}, .seed = 1, .hessian = &hessian}, *cpu);
      digests[digest_of(r.packed)] += variant + " ";
    }
    ASSERT_EQ(digests.size(), 1u) << name << ": planes depend on the instructions: " << fmt::format("{}", digests);
    const Golden now = {digests.begin()->first, versions_of(f)};
    const auto it = known.find(name);
    const bool there = it != known.end();
    const Golden before = there ? it->second : Golden{};
    if (there) known.erase(it);
    if (before.digest == now.digest && before.versions == now.versions) continue;
    const char* what = !there ? "is new; add its line to tests/data/golden_planes.tsv"
                       : before.versions == now.versions
                           ? "gives other planes, and no version was raised: raise kVersion of the component that changed, "
                             "or kEngineVersion (core/pipeline/engine_version.h), since stored results answer for what is "
                             "computed now; then put the new line into tests/data/golden_planes.tsv"
                       : before.digest == now.digest
                           ? "was kept at other versions; put the new line into tests/data/golden_planes.tsv"
                           : "gives other planes at the new versions; put the new line into tests/data/golden_planes.tsv";
    ADD_FAILURE() << name << " " << what << "\nold versions: " << before.versions << "\nnew line: " << name << '\t'
                  << now.digest << '\t' << now.versions;
  }
  for (const auto& [name, golden] : known)
    ADD_FAILURE() << name << ": no such composition; remove its line from tests/data/golden_planes.tsv";
}

// The Gram is what the comment above says: factors are exact, whatever computes them.
TEST(GoldenPlanes, FactorsOfTheGramAreShortBinaryFractions) {
  for (const GramPrecision precision : {GramPrecision::kFp32, GramPrecision::kFp64}) {
    FactorOptions options;
    options.percdamp = 0;
    options.precision = precision;
    const HessianFactor factor = factor_hessian(dyadic_gram().view(), options, test::kLayerName);
    int linked = 0;
    for (int64_t i = 0; i < kCols; ++i)
      for (int64_t j = i; j < kCols; ++j) {
        const float u = factor.upper(i, j);
        ASSERT_EQ(u * 64, std::round(u * 64)) << i << " " << j;
        linked += i != j && u != 0;
      }
    EXPECT_GT(linked, kCols / 2);
  }
}

}  // namespace
}  // namespace sage
