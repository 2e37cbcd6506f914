#include "tests/results/samples.h"

#include <stdlib.h>

#include <cmath>

namespace sage::test {

namespace {
MatrixRow matrix(int64_t layer, const std::string& name, int64_t rows, int64_t cols, double d) {
  MatrixRow m;
  m.layer = layer;
  m.name = name;
  m.rows = rows;
  m.cols = cols;
  m.d = d;
  return m;
}
}  // namespace

RunRecord sample_record() {
  RunRecord r;
  r.run_key = "ab12cd34" + std::string(55, '0') + "7";
  r.label = "grouping=spectral(4) é";
  r.started = "2026-01-02T03:04:05Z";
  r.finished = "2026-01-02T03:05:06Z";
  r.numerics = "reference";
  r.config_source = "name: x\n# a comment, ü\npipeline:\n  saliency: {type: sigma}\n";
  r.config_resolved = R"({"name":"x","pipeline":{"saliency":{"type":"sigma"}}})";
  r.config = {{"name", "x", "x.yaml:1:7"},
              {"pipeline.saliency.type", "sigma", "x.yaml:4:20"},
              {"pipeline.saliency.ratio", "1e-05", "default"}};
  RunProvenance& p = r.provenance;
  p.commit = "0123456789abcdef0123456789abcdef01234567";
  p.dirty = true;
  p.diff_digest = "dd";
  p.argv = {"sageptq", "run", "a b", "--set", "x=\"y\""};
  p.host = "h1";
  p.cpu = "A CPU @ 2.1 GHz";
  p.gpu = "";
  p.threads = 2;
  p.backend = "cpu";
  p.libraries = {{"hdf5", "1.10.8"}, {"openblas", "0.3.21"}};
  p.job = "17";
  p.model_path = "/models/m";
  p.model_name = "SmolLM2-135M-Instruct";
  p.model_digest = std::string(64, 'a');
  p.model_note = "full-precision weights are themselves dequantized 4-bit weights";
  p.text_name = "wikitext2-test";
  p.text_digest = std::string(64, 'b');
  p.tokenizer_digest = std::string(64, 'c');
  r.metrics = {{"gptq-2048", kMetricPerplexity, 32.5, 0.25, 4, "window 2048, no BOS", "t1"},
               {"gptq-2048", kMetricKl, 0.125, 0.01, 4, "window 2048, no BOS", "t2"}};
  r.resumed = true;
  r.storage.linear_weights = 106168320;
  r.storage.quantized_weights = 100000000;
  r.storage.linear_matrices = 210;
  r.storage.quantized_matrices = 199;
  r.storage.left_out_bytes = 12336640;
  r.storage.stored_bits = 2.25;
  r.storage.paper_weight_bits = 1.01;
  r.storage.paper_scaling_bits = 0.05;
  r.storage.paper_bits = 1.06;
  r.storage.whole_model_bits = 3.5;
  r.storage.file_bytes = 90000001;
  r.storage.metadata_bytes = 12345;
  r.storage.unquantized_bytes = 60000000;
  r.storage_by_role = {{"signs", 13271040}, {"scales", 1000}, {"group_index", uint64_t{1} << 40}};
  r.matrices = {matrix(0, "layers.0.q_proj", 576, 576, 0.11), matrix(1, "layers.1.down_proj", 576, 1536, 0.12)};
  r.matrices[0].groups = 4, r.matrices[1].groups = 2;
  r.matrices[0].choice = "K=4", r.matrices[1].choice = "K=2";
  r.matrices[0].salient_ratio = 0.01, r.matrices[1].salient_ratio = 0.02;
  r.matrices[0].seconds = 0.5, r.matrices[1].seconds = 0.75;
  r.matrices[1].gram_loss = 0.2;
  r.matrices[1].percdamp = 0.1, r.matrices[1].damping_retries = 1, r.matrices[1].dead_columns = 3,
  r.matrices[1].threshold_cut = 0.04;
  for (MatrixRow& m : r.matrices) {
    m.paper_bits = 1.06 + 0.01 * static_cast<double>(m.layer);
    m.stored_bits = 2.25 + 0.1 * static_cast<double>(m.layer);
    m.excess_stored = rate_excess(m.stored_bits, m.d);
    m.excess_paper = rate_excess(m.paper_bits, m.d);
  }
  r.timing = {{"quantize", 12.5, uint64_t{3} << 29, uint64_t{5} << 29}, {"evaluate", 30.25, uint64_t{1} << 30, 0}};
  r.timeline = {{"transfer", "576 x 1536", 0.25, 0.5}, {"compute", "block 0", 0.375, 1.75}};
  r.eval = {{"gptq-2048", {3.5, 3.25, 3.75, 3.4}, {0.1, 0.2, 0.05, 0.15}, {}}, {"odd/name%2F", {1.0}, {}, {0.5}}};
  r.trace = {{"layers.0.q_proj", "eigenvalues", {3}, {0.0, 0.5, 1.5}},
             {"layers.0.q_proj", "affinity", {2, 3}, {1, 2, 3, 4, 5, 6}}};
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
  r.matrices = {matrix(0, "a", 10, 30, d), matrix(0, "b", 10, 10, d * 3)};
  r.timing = {{"quantize", 1.0 + d, uint64_t{1} << 30}};
  EvalSeries e{"gptq-2048", {}, {}, {}};
  for (double shift : {-0.3, 0.1, 0.15, 0.05})
    e.nll.push_back(std::log(perplexity) + shift);
  r.eval = {e};
  return r;
}
}  // namespace

std::vector<RunRecord> sample_sweep() {
  std::vector<RunRecord> out{point('a', "full precision", 24.15, 16, 16, 0), point('b', "rtn 4 bit", 42.7, 4, 4.03, 0.01),
                             point('c', "sage_paper", 1234567.0, 1.06, 3.2, 0.3),
                             point('d', "sage_honest", 32.5, 2.0, 2.25, 0.1)};
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
