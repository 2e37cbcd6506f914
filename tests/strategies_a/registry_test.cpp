#include <gtest/gtest.h>

#include "core/util/errors.h"
#include "strategies/builtin.h"
#include "tests/strategies_a/support.h"

namespace sage::test {
namespace {

Registries builtin() {
  Registries r;
  register_builtin(r);
  return r;
}

template <class I>
void expect_documented(const Registry<I>& registry, std::vector<std::string> names) {
  for (const ComponentInfo& info : registry.list()) {
    EXPECT_FALSE(info.doc.empty()) << info.name;
    EXPECT_GE(info.version, 1);
    for (const ParamInfo& p : info.params)
      EXPECT_FALSE(p.doc.empty()) << info.name << "." << p.name;
    // Canonical form: every default filled in, and stable.
    const Value canonical = registry.canonical(Value::scalar(info.name), "test");
    EXPECT_EQ(canonical_json(registry.canonical(canonical, "test")), canonical_json(canonical));
    EXPECT_EQ(canonical.members().size(), info.params.size() + 1);
    EXPECT_NE(registry.make(canonical, "test"), nullptr);
    std::erase(names, info.name);
  }
  EXPECT_TRUE(names.empty()) << "not registered: " << names.front();
}

TEST(Registered, ComponentsAreListedDocumentedAndBuildable) {
  const Registries r = builtin();
  expect_documented(r.saliency, {"sigma", "magnitude", "columns", "hessian", "hessian_inverse_diag", "none", "random"});
  expect_documented(r.grouping, {"spectral", "kmeans", "equal_count", "percentile_split", "max_fraction_split", "positional",
                                 "single", "fixed"});
  expect_documented(r.threshold, {"fixed", "cap", "grid", "brent", "percentile", "column_count", "column_search"});
}

TEST(Registered, ParametersReachTheComponent) {
  const Registries r = builtin();
  Block block(make_random("gauss", 64, 128, 1));
  const auto grouping = r.grouping.make(parse_yaml("{type: kmeans, groups: 5}", "test"), "pipeline.grouping");
  EXPECT_EQ(block.groups(*grouping, block.none()).groups, 5);
  const auto spectral =
      r.grouping.make(parse_yaml("{type: spectral, groups: 3, knn: 7, affinity: rbf, sil_space: embedding}", "test"), "x");
  EXPECT_EQ(block.groups(*spectral, block.none()).groups, 3);
  const auto brent = r.threshold.make(parse_yaml("{type: brent, objective: budget, budget: 1.5, lo: 0.01}", "test"), "x");
  EXPECT_EQ(brent->lowest_ratio(), 0.01);
  EXPECT_EQ(brent->objective({0.2, 1, 1.4}), 0.2);
  const auto count = r.threshold.make(parse_yaml("{type: column_count, columns: 3}", "test"), "x");
  EXPECT_EQ(count->search({}).cut.value, 3);
  const auto columns = r.saliency.make(parse_yaml("{type: hessian, unit: columns}", "test"), "x");
  EXPECT_EQ(columns->mask_shape(), MaskShape::kColumns);
  EXPECT_THROW(r.threshold.make(parse_yaml("{type: percentile, low_frac: 1}", "test"), "x"), UserError);
  EXPECT_THROW(r.threshold.make(parse_yaml("{type: column_search, least: 5, most: 4}", "test"), "x"), UserError);
  EXPECT_THROW(r.threshold.make(parse_yaml("{type: brent, objective: budget}", "test"), "x"), UserError);
  EXPECT_THROW(r.grouping.make(parse_yaml("{type: spectral, affinity: gaussian}", "test"), "x"), UserError);
  EXPECT_THROW(r.grouping.make(parse_yaml("{type: kmeans, groups: 0}", "test"), "x"), UserError);
  EXPECT_THROW(r.saliency.make(parse_yaml("{type: sigmas}", "test"), "x"), UserError);
}

}  // namespace
}  // namespace sage::test
