// README.md promises: a component in under 30 lines, one line to register it, and everything else comes from its schema.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "core/pipeline/matrix_engine.h"
#include "core/pipeline/pipeline_config.h"
#include "kernels/backends.h"
#include "readme_component.h"
#include "strategies/builtin.h"
#include "tests/support/fixture.h"

namespace sage {
namespace {

class ReadmeComponent : public ::testing::Test {
 protected:
  void SetUp() override {
    register_builtin(registries_);
    registries_.threshold.add<CountThreshold>();
  }
  PipelineFactory factory(const std::string& threshold) {
    return PipelineFactory(canonical_pipeline(parse_yaml("{saliency: sigma, threshold: " + threshold + ", grouping: single, quantizer: binary,"
                                                         " salient_quantizer: multibit, coder: {salient_index: csr}}", "readme"), registries_), registries_);
  }
  Registries registries_;
};

TEST_F(ReadmeComponent, HasUnderThirtyLines) {
  std::ifstream in(SAGE_README_COMPONENT);
  int lines = 0;
  for (std::string line; std::getline(in, line);) lines += line.empty() ? 0 : 1;
  EXPECT_GT(lines, 10);
  EXPECT_LT(lines, 30);
}

TEST_F(ReadmeComponent, DoesItsWorkInAPipeline) {
  const std::unique_ptr<Backend> backend = make_backend("cpu");
  const Matrix w = test::make_random("gauss", 100, 200, 1);
  for (int count : {50, 400}) {
    const MatrixResult r = quantize_matrix(factory(fmt::format("{{type: count, count: {}}}", count)), {w.view(), {0, "x.weight"}, 0, nullptr, nullptr}, *backend);
    EXPECT_NEAR(r.salient_ratio * static_cast<double>(w.size()), count, 2);
  }
}

TEST_F(ReadmeComponent, IsListedAndCheckedFromItsSchema) {
  const std::vector<ComponentInfo> all = registries_.threshold.list();
  const auto it = std::find_if(all.begin(), all.end(), [](const ComponentInfo& c) { return c.name == "count"; });
  ASSERT_NE(it, all.end());
  ASSERT_EQ(it->params.size(), 1u);
  EXPECT_EQ(it->params[0].default_value, "1000");
  try {
    factory("{type: count, coutn: 3}");
    FAIL() << "a misspelt key was accepted";
  } catch (const UserError& e) {
    EXPECT_NE(std::string(e.what()).find("did you mean 'count'?"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace sage
