#include "tests/results/samples.h"

#include <stdlib.h>

#include <cmath>

namespace sage::test {

RunRecord sample_record() {
  RunRecord r;
  r.run_key = "ab12cd34" + std::string(55, '0') + "7";
  r.label = "grouping=spectral(4) é";
  r.started = "2026-01-02T03:04:05Z";
  r.finished = "2026-01-02T03:05:06Z";
  r.numerics = "reference";
  r.config_source = "name: x\n# a comment, ü\npipeline:\n  saliency: {type: sigma}\n";
  r.config_resolved = R"({"name":"x","pipeline":{"saliency":{"type":"sigma"}}})";
  r.config = {{"name", "x", "x.yaml:1:7"}, {"pipeline.saliency.type", "sigma", "x.yaml:4:20"}, {"pipeline.saliency.ratio", "1e-05", "default"}};
  r.provenance = {.commit = "0123456789abcdef0123456789abcdef01234567",
                  .dirty = true,
                  .diff_digest = "dd",
                  .argv = {"sageptq", "run", "a b", "--set", "x=\"y\""},
                  .host = "h1",
                  .cpu = "A CPU @ 2.1 GHz",
                  .gpu = "",
                  .threads = 2,
                  .backend = "cpu",
                  .libraries = {{"hdf5", "1.10.8"}, {"openblas", "0.3.21"}},
                  .job = "17",
                  .model_path = "/models/m",
                  .model_name = "SmolLM2-135M-Instruct",
                  .model_digest = std::string(64, 'a'),
                  .model_note = "full-precision weights are themselves dequantized 4-bit weights",
                  .text_name = "wikitext2-test",
                  .text_digest = std::string(64, 'b'),
                  .tokenizer_digest = std::string(64, 'c')};
  r.metrics = {{"gptq-2048", kMetricPerplexity, 32.5, 0.25, 4, "window 2048, no BOS"}, {"gptq-2048", kMetricKl, 0.125, 0.01, 4, "window 2048, no BOS"}};
  r.storage = {.linear_weights = 106168320,
               .stored_bits = 2.25,
               .paper_weight_bits = 1.01,
               .paper_scaling_bits = 0.05,
               .paper_bits = 1.06,
               .whole_model_bits = 3.5,
               .file_bytes = 90000001,
               .metadata_bytes = 12345,
               .unquantized_bytes = 60000000};
  r.storage_by_role = {{"signs", 13271040}, {"scales", 1000}, {"group_index", uint64_t{1} << 40}};
  r.matrices = {{.layer = 0, .name = "layers.0.q_proj", .rows = 576, .cols = 576, .groups = 4, .salient_ratio = 0.01, .paper_bits = 1.06,
                 .stored_bits = 2.25, .d = 0.11, .gram_loss = kNotMeasured, .excess_stored = rate_excess(2.25, 0.11),
                 .excess_paper = rate_excess(1.06, 0.11), .seconds = 0.5, .choice = "K=4"},
                {.layer = 1, .name = "layers.1.down_proj", .rows = 576, .cols = 1536, .groups = 2, .salient_ratio = 0.02, .paper_bits = 1.07,
                 .stored_bits = 2.35, .d = 0.12, .gram_loss = 0.2, .excess_stored = rate_excess(2.35, 0.12),
                 .excess_paper = rate_excess(1.07, 0.12), .seconds = 0.75, .choice = "K=2"}};
  r.timing = {{"quantize", 12.5, uint64_t{3} << 29}, {"evaluate", 30.25, uint64_t{1} << 30}};
  r.eval = {{"gptq-2048", {3.5, 3.25, 3.75, 3.4}, {0.1, 0.2, 0.05, 0.15}, {}}, {"odd/name%2F", {1.0}, {}, {0.5}}};
  r.trace = {{"layers.0.q_proj", "eigenvalues", {3}, {0.0, 0.5, 1.5}}, {"layers.0.q_proj", "affinity", {2, 3}, {1, 2, 3, 4, 5, 6}}};
  return r;
}

namespace {
RunRecord point(char digit, const std::string& label, double perplexity, double paper_bits, double stored_bits, double d) {
  RunRecord r;
  r.run_key = std::string(64, digit);
  r.label = label;
  r.started = r.finished = "2026-01-02T03:04:05Z";
  r.provenance = sample_record().provenance;
  r.provenance.dirty = false;
  r.storage.paper_bits = paper_bits;
  r.storage.stored_bits = stored_bits;
  r.storage.whole_model_bits = stored_bits + 1;
  r.storage.linear_weights = 1000;
  r.metrics = {{"gptq-2048", kMetricPerplexity, perplexity, perplexity / 100, 4, "window 2048, no BOS"}};
  r.matrices = {{.rows = 10, .cols = 30, .d = d}, {.rows = 10, .cols = 10, .d = d * 3}};
  r.timing = {{"quantize", 1.0 + d, uint64_t{1} << 30}};
  EvalSeries e{"gptq-2048", {}, {}, {}};
  for (double shift : {-0.3, 0.1, 0.15, 0.05}) e.nll.push_back(std::log(perplexity) + shift);
  r.eval = {e};
  return r;
}
}  // namespace

std::vector<RunRecord> sample_sweep() {
  std::vector<RunRecord> out{point('a', "full precision", 24.15, 16, 16, 0), point('b', "rtn 4 bit", 42.7, 4, 4.03, 0.01),
                             point('c', "sage_paper", 1234567.0, 1.06, 3.2, 0.3), point('d', "sage_honest", 32.5, 2.0, 2.25, 0.1)};
  out[0].full_precision = true;
  out[0].matrices.clear();
  RunRecord failed = point('e', "broken", 1, 1, 1, 1);
  failed.status = "failed";
  failed.metrics.clear();
  failed.failure = {1, "layer 7 fc2: Gram not positive definite; expected ...; try compensator.damping"};
  out.push_back(failed);
  return out;
}

TempFolder::TempFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "sage-results-XXXXXX").string();
  path_ = mkdtemp(name.data());
}
TempFolder::~TempFolder() {
  std::error_code ec;
  std::filesystem::remove_all(path_, ec);
}

}  // namespace sage::test
