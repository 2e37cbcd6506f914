// Bits against the bytes of the file, counted here from its tensors: layers that are left as they are count with what they
// take.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/model/safetensors.h"
#include "core/pipeline/quantize_model.h"
#include "core/util/files.h"
#include "tests/pipeline/calibrated.h"
#include "tests/support/temporary_folder.h"

namespace sage {
namespace {

using test::cpu;
using test::factory;
using test::registries;

// Which layers are quantized.
struct Choice {
  const char* name;
  std::function<bool(const LinearSite&)> selects;
};

class CountedBits : public ::testing::TestWithParam<const char*> {
 protected:
  TemporaryFolder folder_;
};
// 16-bit weights of both kinds, and FP32.
INSTANTIATE_TEST_SUITE_P(Models, CountedBits, ::testing::Values("llama_gqa_tied_bf16", "opt", "llama_mha"));

TEST_P(CountedBits, AreOverAllLinearLayers) {
  const CheckpointSource source(std::string(SAGE_TEST_DATA) + "/hf/" + GetParam());
  const std::vector<LinearSite> sites = linear_sites(find_family(source.config()), source.config());
  const PipelineFactory f = factory("{quantizer: {type: uniform, bits: 3, group_size: 16, paper_counts_scales: true}}");
  const std::vector<Choice> choices = {{"all", [](const LinearSite&) { return true; }},
                                       {"without down", [](const LinearSite& s) { return s.role != LinearRole::kDown; }},
                                       {"first block", [](const LinearSite& s) { return s.layer == 0; }},
                                       {"one", [&](const LinearSite& s) { return s.name == sites.back().name; }}};
  double fewer = 0;
  for (const Choice& choice : choices) {
    SCOPED_TRACE(choice.name);
    const std::string out = folder_.file(choice.name);
    std::map<std::string, bool> chosen;
    for (const LinearSite& s : sites)
      chosen[s.name] = choice.selects(s);
    const PackedReport r = quantize_model({source,
                                           f,
                                           registries(),
                                           cpu(),
                                           0,
                                           out,
                                           "",
                                           false,
                                           [&](const std::string& name) { return chosen.at(name); },
                                           {},
                                           nullptr});

    const SafetensorsFile file(out + "/model.safetensors");
    uint64_t bytes = 0, left = 0, all = 0;
    int64_t weights = 0, quantized = 0, parameters = 0, left_weights = 0;
    double paper = 0;
    for (const LinearSite& s : sites) {
      const int64_t n = s.rows * s.cols;
      weights += n;
      quantized += chosen.at(s.name) ? n : 0;
      left_weights += chosen.at(s.name) ? 0 : n;
      const std::string stem = s.name.substr(0, s.name.size() - std::string("weight").size());
      uint64_t of_layer = 0;
      for (const TensorInfo& t : file.tensors())
        if (t.name.starts_with(stem) && t.name != stem + "bias") of_layer += t.end - t.begin;
      bytes += of_layer;
      if (!chosen.at(s.name)) left += of_layer;
      paper += chosen.at(s.name) ? 0 : 8.0 * static_cast<double>(of_layer);
    }
    for (const MatrixReport& m : r.matrices)
      paper += m.storage.paper_bits() * static_cast<double>(m.storage.weights);
    for (const TensorInfo& t : file.tensors())
      all += t.end - t.begin;
    for (const std::string& name : source.names()) {
      int64_t n = 1;
      for (const int64_t d : source.shape(name))
        n *= d;
      parameters += n;
    }
    EXPECT_NEAR(r.stored_bits(), 8.0 * static_cast<double>(bytes) / static_cast<double>(weights), 1e-12);
    EXPECT_NEAR(r.paper_bits(), paper / static_cast<double>(weights), 1e-9);
    EXPECT_NEAR(
        r.whole_model_bits(),
        8.0 * static_cast<double>(std::filesystem::file_size(out + "/model.safetensors")) / static_cast<double>(parameters),
        1e-12);
    EXPECT_EQ(r.linear_weights(), weights);
    EXPECT_EQ(r.quantized_weights(), quantized);
    EXPECT_EQ(r.left_out_bytes, left);
    EXPECT_EQ(r.left_out_weights, left_weights);
    EXPECT_EQ(r.linear_matrices(), static_cast<int64_t>(sites.size()));
    EXPECT_EQ(r.left_out_matrices + static_cast<int64_t>(r.matrices.size()), static_cast<int64_t>(sites.size()));
    uint64_t of_planes = 0;
    for (const auto& [role, b] : r.roles())
      of_planes += b;
    EXPECT_EQ(of_planes + r.unquantized_bytes, all);
    EXPECT_LE(r.left_out_bytes, r.unquantized_bytes);
    // Fewer layers quantized: never fewer bits, of either kind.
    EXPECT_GE(r.stored_bits(), fewer);
    EXPECT_GE(r.stored_bits(), r.paper_bits());
    fewer = r.stored_bits();
    // D is of what was quantized.
    double d = 0;
    for (const MatrixReport& m : r.matrices)
      d += m.relative_error * static_cast<double>(m.storage.weights);
    EXPECT_NEAR(r.relative_error(), d / static_cast<double>(quantized), 1e-12);
  }
  EXPECT_GT(fewer, 10);  // all but one layer in 16 bits or more
}

}  // namespace
}  // namespace sage
