#include "analysis/published.h"

#include <gtest/gtest.h>

#include <boost/program_options/parsers.hpp>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "analysis/published_report.h"
#include "analysis/verbs.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "experiments/engine/evaluation.h"
#include "experiments/engine/expand.h"
#include "results/store.h"
#include "strategies/builtin.h"
#include "tests/results/samples.h"

namespace sage {
namespace {

using test::TempFolder;

const std::string kFolder = std::string(SAGE_TEST_DATA) + "/../../analysis/published";
constexpr const char* kTask = "gptq-2048@WikiText-2 raw test";

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

const Published& shipped() {
  static const Published p = read_published(kFolder);
  return p;
}

const Registries& registries() {
  static const Registries* r = [] {
    auto* filled = new Registries;
    register_builtin(*filled);
    return filled;
  }();
  return *r;
}

// What a run of this preset with these settings records.
RunRecord run_of(const std::string& preset, const std::vector<std::string>& set, const std::string& model, double perplexity) {
  static int count = 0;
  RunRecord r;
  r.run_key = fmt::format("{:064x}", ++count);
  r.label = preset;
  r.started = r.finished = "2026-01-02T03:04:05Z";
  if (preset == "none") {
    r.full_precision = true;
    r.config = {{"pipeline", "none", ""}, {"seed", "0", ""}};
  } else {
    flatten_config(resolve_experiment(preset, set, registries()).resolved, r.config);
  }
  r.provenance.model_name = model;
  r.provenance.model_digest = model;
  r.metrics = {{kTask, kMetricPerplexity, perplexity, 0.5, 4, "p"}};
  r.storage.paper_bits = 1.1;
  r.storage.stored_bits = 2.9;
  return r;
}

std::vector<SelectedRun> selected(const std::vector<RunRecord>& records) {
  std::vector<SelectedRun> out;
  for (const RunRecord& r : records)
    out.push_back({r.label, "", r, ""});
  return out;
}

std::vector<std::string> names(const std::vector<const PublishedMethod*>& methods) {
  std::vector<std::string> out;
  for (const PublishedMethod* m : methods)
    out.push_back(m->name);
  return out;
}

// Rows as maps from heading to cell.
using Row = std::map<std::string, Table::Cell>;
std::vector<Row> rows_of(const Table& t) {
  std::vector<Row> out;
  for (const auto& row : t.rows()) {
    out.emplace_back();
    for (size_t c = 0; c < row.size(); ++c)
      out.back()[t.columns()[c].name] = row[c];
  }
  return out;
}

TEST(Published, NumbersAsPrinted) {
  const auto find = [](const std::string& source, const std::string& method, const std::string& model) {
    for (const PublishedFigure& f : shipped().figures)
      if (shipped().sources[f.source].name == source && f.method == method && f.model == model && f.text == kPublishedText)
        return f;
    ADD_FAILURE() << source << " " << method << " " << model;
    return PublishedFigure{};
  };
  EXPECT_EQ(find("BiLLM", "BiLLM", "LLaMA-2-7B").perplexity, 32.48);
  EXPECT_EQ(find("BiLLM", "BiLLM", "LLaMA-2-7B").ran_by, RanBy::kAuthors);
  EXPECT_EQ(find("BiLLM", "BiLLM", "LLaMA-2-7B").claimed_bits, 1.08);
  EXPECT_EQ(find("BiLLM", "PB-LLM 1.7-bit", "OPT-6.7B").perplexity, 105.16);
  EXPECT_EQ(find("BiLLM", "PB-LLM 1.7-bit", "OPT-6.7B").ran_by, RanBy::kOthers);
  EXPECT_EQ(find("ARB-LLM", "BiLLM", "LLaMA-3-8B").perplexity, 55.80);
  EXPECT_EQ(find("ARB-LLM", "GPTQ 1-bit g128", "OPT-13B").perplexity, 1.74e6);
  EXPECT_EQ(find("GPTQ", "GPTQ 3-bit g128", "LLaMA-65B").perplexity, 4.17);
  EXPECT_EQ(find("PB-LLM", "PB-LLM 10 % salient", "LLaMA-7B").perplexity, 85.78);
  EXPECT_EQ(find("PTQ1.61", "BiLLM", "LLaMA-2-70B").perplexity, 12.80);
  // Every source that has full precision agrees on it: a shifted column would not.
  std::map<std::string, std::set<double>> full;
  for (const PublishedFigure& f : shipped().figures)
    if (f.method == "full precision") full[f.model].insert(f.perplexity);
  for (const auto& [model, values] : full)
    EXPECT_EQ(values.size(), 1u) << model;
  EXPECT_EQ(full.size(), shipped().models.size());
}

TEST(Published, EveryModelHasNumbersAndAuthorsSayThingsOnce) {
  std::set<std::string> models;
  std::set<std::string> authors;
  for (const PublishedFigure& f : shipped().figures) {
    models.insert(f.model);
    if (f.ran_by == RanBy::kCopied) {
      EXPECT_TRUE(std::any_of(shipped().figures.begin(), shipped().figures.end(),
                              [&](const PublishedFigure& o) {
                                return o.ran_by == RanBy::kAuthors && o.model == f.model && o.method == f.method &&
                                       o.perplexity == f.perplexity;
                              }))
          << f.model << " " << f.method;
    }
    if (f.ran_by != RanBy::kAuthors) continue;
    EXPECT_TRUE(authors.insert(f.model + f.method + f.text).second) << f.model << " " << f.method;
  }
  EXPECT_EQ(models.size(), shipped().models.size());
}

TEST(Published, ModelsByName) {
  const auto model = [](const char* name) { return shipped().model_named(name); };
  EXPECT_EQ(model("Llama-2-7b-hf"), "LLaMA-2-7B");
  EXPECT_EQ(model("llama2_7b"), "LLaMA-2-7B");
  EXPECT_EQ(model("models--meta-llama--Llama-2-70b-hf"), "LLaMA-2-70B");
  EXPECT_EQ(model("facebook/opt-1.3b"), "OPT-1.3B");
  EXPECT_EQ(model("OPT-1.3B"), "OPT-1.3B");
  EXPECT_EQ(model("OPT_6.7B"), "OPT-6.7B");
  EXPECT_EQ(model("Meta-Llama-3-8B"), "LLaMA-3-8B");
  EXPECT_EQ(model("huggyllama--llama-7b"), "LLaMA-7B");
  EXPECT_EQ(model("vicuna-7b-v1.5"), "Vicuna-7B");
  for (const char* other : {"Llama-2-7b-chat-hf", "Meta-Llama-3-8B-Instruct", "Llama-3.1-8B", "CodeLlama-7b-hf",
                            "open_llama_7b", "opt-125m", "opt-13b-gptq", "opt-30", "SmolLM2-135M-Instruct", "xopt-1.3b", ""})
    EXPECT_EQ(model(other), "") << other;
}

// Each method's own recipe resolves to a run that is recognised as it, and as no other than those that say less.
TEST(Published, PresetsAreTheMethodsTheyAreSaidToBe) {
  const std::set<std::string> general{"PB-LLM 1.7-bit"};
  for (const PublishedMethod& m : shipped().methods) {
    std::vector<std::string> set;
    for (const auto& [path, value] : m.set)
      set.push_back(path + "=" + value);
    std::vector<std::string> found = names(shipped().methods_of(run_of(m.preset, set, "x", 1)));
    EXPECT_TRUE(std::find(found.begin(), found.end(), m.name) != found.end())
        << m.name << ": " << fmt::format("{}", fmt::join(found, ", "));
    std::erase_if(found, [&](const std::string& n) {
      return n == m.name || general.count(n) > 0 || (general.count(m.name) > 0 && n.starts_with("PB-LLM 10 %"));
    });
    EXPECT_TRUE(found.empty()) << m.name << " is also " << fmt::format("{}", fmt::join(found, ", "));
  }
}

TEST(Published, OtherRunsAreNoneOfThem) {
  const auto methods = [](const std::string& preset, const std::vector<std::string>& set) {
    return names(shipped().methods_of(run_of(preset, set, "x", 1)));
  };
  EXPECT_TRUE(methods("billm_paper", {}).empty());
  EXPECT_TRUE(methods("sage_honest", {}).empty());
  EXPECT_TRUE(methods("billm_released", {"pipeline.compensator=none"}).empty());
  EXPECT_TRUE(methods("billm_released", {"exclude=[\"*.q_proj\"]"}).empty());
  EXPECT_TRUE(methods("billm_released", {"include=[\"*.q_proj\"]"}).empty());
  EXPECT_TRUE(methods("rtn", {"pipeline.quantizer.bits=5"}).empty());
  EXPECT_TRUE(methods("rtn", {"pipeline.quantizer.group_size=128"}).empty());
  EXPECT_TRUE(
      methods("sage_paper", {"pipeline.compensator=gptq", "pipeline.block_columns=128", "pipeline.segment_weights=original"})
          .empty());
  EXPECT_TRUE(methods("sage_paper", {"pipeline.grouping.groups=4"}).empty());
  // Settings that the sources leave open may differ.
  EXPECT_EQ(methods("gptq", {"pipeline.column_order=activation", "seed=3", "calibration.samples=4"}),
            std::vector<std::string>{});
  EXPECT_EQ(methods("gptq", {"pipeline.quantizer.bits=3", "pipeline.column_order=activation"}),
            std::vector<std::string>{"GPTQ 3-bit g128"});
  EXPECT_EQ(methods("billm_released", {"pipeline.coder.group_index=range", "calibration.seed=7"}),
            std::vector<std::string>{"BiLLM"});
}

TEST(PublishedReport, PublishedRerunAndOurs) {
  std::vector<RunRecord> runs{run_of("none", {}, "Llama-2-7b-hf", 5.49),
                              run_of("billm_released", {}, "Llama-2-7b-hf", 30),
                              run_of("billm_released", {"calibration.seed=1"}, "Llama-2-7b-hf", 40),
                              run_of("pb_llm_rowwise", {}, "Llama-2-7b-hf", 70),
                              run_of("pb_llm_g128", {}, "Llama-2-7b-hf", 60),
                              run_of("billm_paper", {}, "Llama-2-7b-hf", 50)};
  const Table t = make_published_comparison(shipped(), selected(runs));
  std::map<std::string, std::vector<Row>> by_method;
  for (const Row& row : rows_of(t))
    by_method[row.at("method").text.value_or("")].push_back(row);
  ASSERT_EQ(by_method["BiLLM"].size(), 1u);
  const Row& billm = by_method["BiLLM"][0];
  EXPECT_EQ(*billm.at("published").value, 32.48);
  EXPECT_EQ(*billm.at("rerun min").value, 19.87);
  EXPECT_EQ(*billm.at("rerun max").value, 47.67);
  EXPECT_EQ(*billm.at("reruns").value, 4);  // ARB-LLM, NanoQuant, two users; what PTQ1.61 prints is BiLLM's own number
  EXPECT_EQ(*billm.at("ours").value, 35);
  EXPECT_NEAR(*billm.at("sd over seeds").value, std::sqrt(50.0), 1e-12);
  EXPECT_EQ(*billm.at("seeds").value, 2);
  EXPECT_EQ(*billm.at("claimed bits").value, 1.08);
  EXPECT_EQ(*billm.at("our stored bits").value, 2.9);
  EXPECT_EQ(*by_method["full precision"][0].at("ours").value, 5.49);
  EXPECT_TRUE(std::isnan(*by_method["full precision"][0].at("published").value));
  EXPECT_EQ(*by_method["full precision"][0].at("rerun min").value, 5.47);
  // Both readings of PB-LLM's "block 128" stand beside the same number.
  ASSERT_EQ(by_method["PB-LLM 1.7-bit"].size(), 2u);
  EXPECT_EQ(*by_method["PB-LLM 1.7-bit"][0].at("ours").value, 70);
  EXPECT_EQ(*by_method["PB-LLM 1.7-bit"][1].at("ours").value, 60);
  // Published, not run; run, not published.
  EXPECT_FALSE(by_method["GPTQ 2-bit g128"][0].at("ours").value);
  EXPECT_EQ(*by_method["GPTQ 2-bit g128"][0].at("rerun max").value, 60.45);
  ASSERT_EQ(by_method[""].size(), 1u);
  EXPECT_EQ(*by_method[""][0].at("our run").text, "billm_paper");
  EXPECT_TRUE(std::isnan(*by_method[""][0].at("published").value));
  EXPECT_TRUE(contains(t.caption(), "Model: LLaMA-2-7B. Text: WikiText-2.")) << t.caption();
  EXPECT_TRUE(contains(t.caption(), "BiLLM, arXiv:2402.04291v2"));
  EXPECT_TRUE(contains(t.caption(), "BiLLM, PB-LLM 1.7-bit: Printed as \"block 128\""));
  EXPECT_FALSE(contains(t.caption(), "LightCompress"));
}

TEST(PublishedReport, BesideNothing) {
  std::vector<RunRecord> runs{run_of("billm_released", {}, "SmolLM2-135M-Instruct", 100),
                              run_of("billm_released", {}, "opt-1.3b", 71), run_of("billm_released", {}, "opt-1.3b", 72),
                              run_of("rtn", {}, "opt-1.3b", 3)};
  runs[1].metrics[0].task = "gptq-2048@English Wikipedia (16 articles of gensim's test data)";
  runs[2].metrics[0].task = "llamacpp-512@WikiText-2 raw test";
  runs[3].status = "failed";
  runs[3].failure = {1, "a reason"};
  const Table t = make_published_comparison(shipped(), selected(runs));
  int alone = 0;
  for (const Row& row : rows_of(t))
    if (row.at("ours").value) {
      ++alone;
      EXPECT_TRUE(std::isnan(*row.at("published").value) && std::isnan(*row.at("rerun min").value)) << *row.at("our run").text;
      EXPECT_EQ(*row.at("method").text, "BiLLM");
    }
  EXPECT_EQ(alone, 3);
  EXPECT_TRUE(contains(t.caption(), "No published numbers are known for SmolLM2-135M-Instruct; known: OPT-1.3B,"));
  EXPECT_TRUE(contains(t.caption(), "Ours on English Wikipedia (16 articles of gensim's test data) is beside nothing"));
  EXPECT_TRUE(contains(t.caption(), "Ours under llamacpp-512 is beside nothing"));
  EXPECT_TRUE(contains(t.caption(), "rtn: failed: a reason"));
  // Training text is not test text.
  runs[1].metrics[0].task = "gptq-2048@WikiText-2 raw train (first 9 %, no blank rows)";
  EXPECT_TRUE(contains(make_published_comparison(shipped(), selected({runs[1]})).caption(), "beside nothing"));
}

TEST(PublishedReport, SaysWhereOursIsNotThePublishedExperiment) {
  RunRecord r = run_of("billm_released", {"calibration.samples=16", "eval=[{protocol: gptq-2048, text: default, windows: 4}]"},
                       "opt-1.3b", 71);
  r.timing = {{"calibrate", 1, 0}};
  r.numerics = "reference";
  const std::string caption = make_published_comparison(shipped(), selected({r})).caption();
  EXPECT_TRUE(contains(caption, "Ours, billm_released: 4 windows, not the whole text.")) << caption;
  EXPECT_TRUE(contains(caption, "Ours is calibrated on default:calibration, 16 samples of 2048 tokens"));
  EXPECT_TRUE(contains(caption, "decoded with FP32 parameters"));
}

TEST(PublishedReport, OtherTextsWhereOursHasThem) {
  RunRecord r = run_of("pb_llm_rowwise", {}, "opt-1.3b", 240);
  r.metrics.push_back({"gptq-2048@C4 en validation (first 1000 documents)", kMetricPerplexity, 170, 1, 9, "p"});
  bool seen = false;
  for (const Row& row : rows_of(make_published_comparison(shipped(), selected({r}))))
    if (*row.at("text").text == "C4" && row.at("method").text == "PB-LLM 10 % salient") {
      seen = true;
      EXPECT_EQ(*row.at("published").value, 165.7);
      EXPECT_EQ(*row.at("ours").value, 170);
    }
  EXPECT_TRUE(seen);
}

TEST(PublishedReport, NumbersAlone) {
  const Table one = make_published_table(shipped(), "llama-3-8b");
  ASSERT_GT(one.rows().size(), 10u);
  int billm = 0;
  for (const Row& row : rows_of(one)) {
    EXPECT_EQ(*row.at("model").text, "LLaMA-3-8B");
    billm += *row.at("method").text == "BiLLM";
  }
  EXPECT_EQ(billm, 4);  // 28.3, 31.20, 50.59, 55.80
  EXPECT_EQ(make_published_table(shipped(), "all").rows().size(), shipped().figures.size());
  try {
    make_published_table(shipped(), "gpt-5");
    ADD_FAILURE();
  } catch (const UserError& e) {
    EXPECT_TRUE(contains(e.what(), "found model 'gpt-5'; expected all or one of: OPT-1.3B")) << e.what();
  }
}

TEST(PublishedReport, TheVerbInEveryFormat) {
  namespace po = boost::program_options;
  const TempFolder dir;
  const Store store(dir / "store");
  store.put(run_of("billm_released", {}, "opt-1.3b", 71.25));
  const Verb verb = report_verb();
  const auto report = [&](std::vector<std::string> args) {
    po::options_description options;
    po::positional_options_description positional;
    verb.declare(options, positional);
    po::variables_map vm;
    po::store(po::command_line_parser(args).options(options).positional(positional).run(), vm);
    testing::internal::CaptureStdout();
    const ExitCode code = verb.run(Program{}, vm);
    EXPECT_EQ(code, ExitCode::kDone);
    return testing::internal::GetCapturedStdout();
  };
  for (const char* format : {"table", "md", "latex", "csv"}) {
    const std::string text = report({"--store", dir / "store", "--published", "--format", format});
    EXPECT_TRUE(contains(text, "69.97") && contains(text, "71.25")) << text;
  }
  const auto j = nlohmann::json::parse(report({"--store", dir / "store", "--published", "--format", "json"}));
  bool seen = false;
  for (const auto& row : j["rows"])
    if (row["method"] == "BiLLM") seen = row["published"] == 69.97 && row["rerun min"] == 69.05 && row["ours"] == 71.25;
  EXPECT_TRUE(seen);
  EXPECT_TRUE(contains(report({"--published-only", "opt-66b", "--format", "csv"}), "12.06"));
}

TEST(PublishedFiles, MistakesAreNamedWithTheirPlace) {
  const TempFolder dir;
  make_folders(dir / "p/sources");
  write_file_atomically(dir / "p/models.yaml", "models: [{name: A-1B, patterns: [a-1b]}]\nnot: [chat]\n");
  const std::string methods =
      "methods: [{name: full, preset: none, full_precision: true}, {name: m, preset: rtn, match: {a.b: 4.0}}]\n";
  write_file_atomically(dir / "p/methods.yaml", methods);
  const auto error = [&](const std::string& figures) {
    write_file_atomically(dir / "p/sources/s.yaml", "source: S\ntitle: T\nprotocol: gptq-2048\nfigures:\n" + figures);
    try {
      read_published(dir / "p");
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error("  - {method: m, ran_by: authors, perplexity: {A-1B: 3}}\n"), "");
  EXPECT_TRUE(contains(error("  - {method: n, ran_by: authors, perplexity: {A-1B: 3}}\n"), "s.yaml:5:14: found method 'n'"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: authors, perplexity: {A-2B: 3}}\n"), "found model 'A-2B'"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: me, perplexity: {A-1B: 3}}\n"), "ran_by"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: authors, perplexity: {A-1B: -3}}\n"), "above 0"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: authors, perplexity: {A-1B: nan}}\n"), "A-1B"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: authors, perplexty: {A-1B: 3}}\n"), "perplexty"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: authors, text: news, perplexity: {A-1B: 3}}\n"), "news"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: authors}\n"), "without `perplexity`"));
  EXPECT_TRUE(contains(error("  - {method: m, ran_by: authors, perplexity: {A-1B: 3}}\n"
                             "  - {method: m, ran_by: others, perplexity: {A-1B: 4}}\n"),
                       "a second figure for m, A-1B on WikiText-2"));
  write_file_atomically(dir / "p/methods.yaml", "methods: [{name: m, preset: rtn, like: k, match: {a.b: 4}}]\n");
  EXPECT_TRUE(contains(error("  []\n"), "found method 'k'"));
  write_file_atomically(dir / "p/methods.yaml", "methods: [{name: m, preset: rtn}]\n");
  EXPECT_TRUE(contains(error("  []\n"), "must either be full precision or have settings to match"));
  EXPECT_THROW(read_published(dir / "nothing"), ResourceError);
}

}  // namespace
}  // namespace sage
