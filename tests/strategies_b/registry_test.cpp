#include "core/util/errors.h"
#include "strategies/builtin.h"
#include "tests/strategies_b/support.h"

namespace sage {
namespace {

template <class I>
std::vector<std::string> names(const Registry<I>& r) {
  std::vector<std::string> out;
  for (const ComponentInfo& c : r.list())
    out.push_back(c.name);
  return out;
}

bool holds(const std::vector<std::string>& all, const std::string& name) {
  return std::find(all.begin(), all.end(), name) != all.end();
}

TEST(Builtin, OffersEveryComponent) {
  Registries r;
  register_builtin(r);
  for (const char* n : {"multibit", "binary", "uniform", "residual_binary", "pb_binary", "prune", "keep"})
    EXPECT_TRUE(holds(names(r.quantizer), n)) << n;
  for (const char* n : {"none", "scale", "hadamard"})
    EXPECT_TRUE(holds(names(r.transform), n)) << n;
  for (const char* n : {"raw", "bitmap", "csr", "delta8", "range"})
    EXPECT_TRUE(holds(names(r.coder), n)) << n;
  EXPECT_TRUE(holds(names(r.compensator), "none"));
}

TEST(Builtin, EveryComponentIsDocumented) {
  Registries r;
  register_builtin(r);
  for (const ComponentInfo& c : r.all()) {
    EXPECT_FALSE(c.doc.empty()) << c.kind << " " << c.name;
    EXPECT_GE(c.version, 1);
    for (const ParamInfo& p : c.params)
      EXPECT_FALSE(p.doc.empty()) << c.kind << " " << c.name << " " << p.name;
  }
}

Value block(const char* yaml) { return parse_yaml(yaml, "test.yaml"); }

TEST(Builtin, CanonicalBlocksReadBackTheSame) {
  Registries r;
  register_builtin(r);
  for (const char* yaml : {"{type: multibit, bits: 2, grid: offset}", "{type: binary, scale: rank1, passes: 3}",
                           "{type: uniform, bits: 3, group_size: 128}"}) {
    const Value once = r.quantizer.canonical(block(yaml), "pipeline.quantizer");
    EXPECT_EQ(canonical_json(once), canonical_json(r.quantizer.canonical(once, "pipeline.quantizer")));
  }
  EXPECT_EQ(
      canonical_json(r.quantizer.canonical(block("{type: uniform, bits: 3}"), "q")),
      R"({"bits":3,"group_size":0,"mse":false,"paper_counts_scales":false,"pb_zero_group":0,"range":"own","symmetric":false,)"
      R"("trits":false,"type":"uniform"})");
  EXPECT_EQ(canonical_json(r.transform.canonical(block("scale"), "t")), R"({"mode":"rank1","passes":4,"type":"scale"})");
}

TEST(Builtin, BadParametersAreRefused) {
  Registries r;
  register_builtin(r);
  for (const char* yaml :
       {"{type: multibit, bits: 9}", "{type: multibit, bits: 1}", "{type: multibit, grid: mid}", "{type: uniform, bits: 0}",
        "{type: uniform, groupsize: 128}", "{type: binary, scale: rank1, mean_shift: true}", "{type: round, bits: 3}",
        "{type: uniform, trits: true, mse: true}", "{type: uniform, pb_zero_group: 64, symmetric: true}",
        "{type: uniform, pb_zero_group: 64, group_size: 64}", "{type: uniform, pb_zero_group: 64, trits: true}",
        "{type: residual_binary, order: 5}", "{type: pb_binary, method: prune}", "{type: prune, bits: 2}"})
    EXPECT_THROW(r.quantizer.make(block(yaml), "pipeline.quantizer"), UserError) << yaml;
  EXPECT_THROW(r.transform.make(block("{type: hadamard, side: top}"), "pipeline.transform"), UserError);
  EXPECT_THROW(r.coder.make(block("{type: rang}"), "pipeline.coder"), UserError);
}

// Swapping a component, or any of its options, changes what comes out.
TEST(Builtin, EveryOptionHasAnEffect) {
  Registries r;
  register_builtin(r);
  const Matrix w = test::make_random("t10+s", 60, 200, 4);
  double t = 0;
  const SaliencyMask mask = test::largest(w.view(), .2, &t);
  const GroupMap groups = test::make_groups(LabelShape::kElement, 60, 200, 3);
  std::vector<double> errors;
  for (const char* yaml : {"{type: multibit}",
                           "{type: multibit, bits: 2}",
                           "{type: multibit, grid: midtread}",
                           "{type: multibit, grid: offset}",
                           "{type: binary}",
                           "{type: binary, scale: row}",
                           "{type: binary, scale: row_group}",
                           "{type: binary, scale: rank1}",
                           "{type: binary, scale: rank1, passes: 1}",
                           "{type: binary, mean_shift: true}",
                           "{type: uniform}",
                           "{type: uniform, bits: 3}",
                           "{type: uniform, group_size: 64}",
                           "{type: uniform, symmetric: true}",
                           "{type: uniform, bits: 2, mse: true}",
                           "{type: uniform, trits: true}",
                           "{type: uniform, pb_zero_group: 200}",
                           "residual_binary",
                           "{type: residual_binary, order: 2}",
                           "{type: residual_binary, order: 2, merge_means: false}",
                           "{type: residual_binary, order: 2, mean: false}",
                           "pb_binary",
                           "{type: pb_binary, divisor: owned}",
                           "{type: pb_binary, method: sign}",
                           "prune",
                           "keep"}) {
    const double e = test::code(*r.quantizer.make(block(yaml), "quantizer"), w.view(), mask, true, groups, t).squared_error;
    for (double other : errors)
      EXPECT_NE(e, other) << yaml;
    errors.push_back(e);
  }
  std::vector<Matrix> transformed;
  for (const char* yaml : {"none", "{type: scale, mode: row}", "{type: scale, passes: 1}", "scale", "hadamard",
                           "{type: hadamard, side: output}", "{type: hadamard, side: both}"}) {
    Matrix m = Matrix::copy(w.view());
    r.transform.make(block(yaml), "transform")->fit(test::context(w.view()))->apply(m.view(), test::backend());
    for (const Matrix& other : transformed)
      EXPECT_GT(test::backend().squared_distance(m.view(), other.view()), 0) << yaml;
    transformed.push_back(std::move(m));
  }
}

}  // namespace
}  // namespace sage
