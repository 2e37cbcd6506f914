#include "analysis/seeds.h"

#include <gtest/gtest.h>

#include <boost/program_options/parsers.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "analysis/report.h"
#include "analysis/timing_bars.h"
#include "analysis/verbs.h"
#include "results/store.h"
#include "tests/results/samples.h"

namespace sage {
namespace {

using test::sample_sweep;
using test::TempFolder;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::vector<SelectedRun> selected(const std::vector<RunRecord>& records) {
  std::vector<SelectedRun> out;
  for (const RunRecord& r : records)
    out.push_back({r.label, "", r, ""});
  return out;
}

// The four windows of full precision and of three seeds of one method; perplexities 20, and 30, 36, 33.
std::vector<RunRecord> three_seeds() {
  const std::vector<RunRecord> samples = sample_sweep();
  std::vector<RunRecord> out{samples[0]};
  const double perplexities[] = {30, 36, 33};
  for (int s = 0; s < 3; ++s) {
    RunRecord r = samples[3];
    r.run_key = std::string(64, static_cast<char>('1' + s));
    r.label = "billm, calibration.seed=" + std::to_string(s) + ", seed=" + std::to_string(s);
    r.config = {{"pipeline.compensator.type", "block", ""},
                {"calibration.seed", std::to_string(s), ""},
                {"seed", std::to_string(s), ""}};
    r.storage.stored_bits = 2.8 + 0.1 * s;
    r.timing = {{"calibrate", 10.0 + s, uint64_t{1} << 30},
                {"evaluate gptq-2048", 5, uint64_t{s == 1 ? 3u : 1u} << 30, uint64_t{s == 2 ? 2u : 1u} << 30}};
    r.metrics[0].value = perplexities[s];
    r.eval[0].nll.clear();
    for (const double shift : {-0.3, 0.1, 0.15, 0.05})
      r.eval[0].nll.push_back(std::log(perplexities[s]) + (s == 2 ? -shift : shift));
    out.push_back(r);
  }
  out[0].metrics[0].value = 20;
  out[0].eval[0].nll.clear();
  for (const double shift : {-0.3, 0.1, 0.15, 0.05})
    out[0].eval[0].nll.push_back(std::log(20.0) + shift);
  out[0].config = {{"pipeline", "none", ""}, {"seed", "0", ""}};
  return out;
}

TEST(Seeds, MeanSpreadAndNumber) {
  const std::vector<SelectedRun> merged = merge_seeds(selected(three_seeds()));
  ASSERT_EQ(merged.size(), 2u);
  EXPECT_EQ(merged[1].label, "billm");
  EXPECT_EQ(merged[1].count, 3u);
  const RunRecord& r = *merged[1].record;
  const std::string task = "gptq-2048";
  EXPECT_DOUBLE_EQ(find_metric(r, kMetricPerplexity, task)->value, 33);
  EXPECT_DOUBLE_EQ(find_metric(r, kSpreadOfPerplexity, task)->value, 3);  // (9 + 9 + 0) / 2 = 9
  EXPECT_DOUBLE_EQ(find_metric(r, kSeeds, "")->value, 3);
  EXPECT_DOUBLE_EQ(find_metric(r, kOverFullPrecision, task)->value, 13);
  EXPECT_NEAR(r.storage.stored_bits, 2.9, 1e-12);
  EXPECT_DOUBLE_EQ(r.timing[0].seconds, 11);
  EXPECT_EQ(r.timing[1].peak_bytes, uint64_t{3} << 30);
  EXPECT_EQ(r.timing[1].device_peak_bytes, uint64_t{2} << 30);
  EXPECT_TRUE(r.run_key.empty());
  // The full-precision run is itself: no distance, no spread.
  EXPECT_EQ(merged[0].count, 1u);
  EXPECT_EQ(find_metric(*merged[0].record, kOverFullPrecision, task), nullptr);
  EXPECT_EQ(find_metric(*merged[0].record, kSpreadOfPerplexity, task), nullptr);
}

TEST(Seeds, ErrorsOverWindows) {
  const std::vector<SelectedRun> merged = merge_seeds(selected(three_seeds()));
  const RunRecord& r = *merged[1].record;
  // Window i of the mean varies as (30 + 36 - 33) / 3 = 11 shifts, that of the distance as 11 - 20 = -9 shifts; the shifts are
  // -0.3 0.1 0.15 0.05 with sum of squares 0.125, so their standard error is sqrt(0.125 / 12).
  const double shift_error = std::sqrt(0.125 / 12);
  EXPECT_NEAR(find_metric(r, kMetricPerplexity, "gptq-2048")->standard_error, 11 * shift_error, 1e-9);
  EXPECT_NEAR(find_metric(r, kOverFullPrecision, "gptq-2048")->standard_error, 9 * shift_error, 1e-9);
}

TEST(Seeds, OnlyRunsThatDifferInNothingElse) {
  std::vector<RunRecord> runs = three_seeds();
  EXPECT_TRUE(repeats_seeds(selected(runs)));
  runs[1].config[0].value = "gptq";
  runs[2].provenance.model_digest = "another";
  runs[3].numerics = "reference";
  EXPECT_FALSE(repeats_seeds(selected(runs)));
  EXPECT_FALSE(repeats_seeds(selected(sample_sweep())));  // no seeds recorded: never equal
  // The same seed twice is not a spread.
  runs = three_seeds();
  runs[2].config = runs[1].config;
  const std::vector<SelectedRun> merged = merge_seeds(selected(runs));
  ASSERT_EQ(merged.size(), 3u);
  EXPECT_EQ(merged[1].count, 2u);
  EXPECT_EQ(merged[2].label, "billm, calibration.seed=1, seed=1");
}

TEST(Seeds, UnpairedWindowsHaveNoDistance) {
  std::vector<RunRecord> runs = three_seeds();
  runs[2].provenance.tokenizer_digest = "another";
  runs[0].eval[0].nll.pop_back();
  for (const SelectedRun& run : merge_seeds(selected(runs)))
    EXPECT_EQ(find_metric(*run.record, kOverFullPrecision, "gptq-2048"), nullptr);
}

TEST(Seeds, ReportCountsRunsAndKeepsFailures) {
  std::vector<SelectedRun> runs = selected(three_seeds());
  runs.push_back({"billm, seed=3", "", std::nullopt, "not run yet", 1, true});
  runs.push_back({"billm, seed=4", "", std::nullopt, "damaged"});
  runs[3].record->provenance.commit = "feedfacecafe";
  const Table t = make_seed_report(runs, default_table_spec());
  ASSERT_EQ(t.rows().size(), 3u);
  std::vector<std::string> names;
  for (const auto& c : t.columns())
    names.push_back(c.name);
  ASSERT_GE(names.size(), 5u);
  EXPECT_EQ(std::vector<std::string>(names.begin(), names.begin() + 5),
            (std::vector<std::string>{"label", "seeds", "perplexity", "sd over seeds", "over full precision"}));
  EXPECT_EQ(*t.rows()[1][1].value, 3);
  EXPECT_EQ(*t.rows()[1][4].value, 13);
  EXPECT_TRUE(t.rows()[1][4].error);
  EXPECT_FALSE(t.rows()[0][3].value);
  EXPECT_EQ(*t.rows()[2][0].text, "billm, seed=4");
  EXPECT_TRUE(contains(t.caption(), "4 of 5 runs complete")) << t.caption();
  EXPECT_TRUE(contains(t.caption(), "1 point not run yet."));
  EXPECT_TRUE(contains(t.caption(), "The seeds of billm come from different commits or devices."));
  EXPECT_TRUE(contains(t.caption(), "--each"));
}

// What is said of columns is said where they are.
TEST(Seeds, CaptionsSpeakOfWhatIsShown) {
  TableSpec plain;
  plain.columns = {{"label", "", -1}, {"stored_bits", "", -1}};
  const std::string without = make_seed_report(selected(three_seeds()), plain).caption();
  EXPECT_FALSE(contains(without, "over full precision") || contains(without, "sd is")) << without;
  const std::string with = make_seed_report(selected(three_seeds()), default_table_spec()).caption();
  EXPECT_TRUE(contains(with, "over full precision is paired") && contains(with, "sd is the standard deviation")) << with;
  std::vector<RunRecord> alone = three_seeds();
  alone.erase(alone.begin());  // no full precision to be compared with
  EXPECT_FALSE(contains(make_seed_report(selected(alone), default_table_spec()).caption(), "over full precision"));
}

TEST(Seeds, EqualRunsHaveNoSpread) {
  std::vector<RunRecord> runs = three_seeds();
  for (RunRecord& r : runs)
    r.metrics[0].value = 8.0 / 3 + 0.1;  // whose mean over three, rounded, is another number
  const Table t = make_seed_report(selected(runs), default_table_spec());
  EXPECT_EQ(*t.rows()[1][3].value, 0.0);
}

std::string report(const std::vector<std::string>& args) {
  namespace po = boost::program_options;
  const Verb verb = report_verb();
  po::options_description options;
  po::positional_options_description positional;
  verb.declare(options, positional);
  po::variables_map vm;
  po::store(po::command_line_parser(args).options(options).positional(positional).run(), vm);
  testing::internal::CaptureStdout();
  const ExitCode code = verb.run(Program{}, vm);
  EXPECT_EQ(code, ExitCode::kDone);
  return testing::internal::GetCapturedStdout();
}

TEST(Seeds, TheVerbMergesUnlessEachIsAsked) {
  const TempFolder dir;
  const Store store(dir / "store");
  for (const RunRecord& r : three_seeds())
    store.put(r);
  const auto j = nlohmann::json::parse(report({"--store", dir / "store", "--format", "json"}));
  ASSERT_EQ(j["rows"].size(), 2u);
  const auto& billm = j["rows"][0]["label"] == "billm" ? j["rows"][0] : j["rows"][1];
  EXPECT_DOUBLE_EQ(billm["perplexity"].get<double>(), 33);
  EXPECT_DOUBLE_EQ(billm["sd over seeds"].get<double>(), 3);
  EXPECT_GT(billm["over full precision stderr"].get<double>(), 0);
  const auto each = nlohmann::json::parse(report({"--store", dir / "store", "--format", "json", "--each"}));
  EXPECT_EQ(each["rows"].size(), 4u);
  EXPECT_FALSE(each["rows"][0].contains("sd over seeds"));
  for (const char* format : {"table", "md", "latex", "csv"})
    EXPECT_TRUE(contains(report({"--store", dir / "store", "--format", format}), "billm")) << format;
}

TEST(TimingBars, OneScalePartsAddUp) {
  std::vector<RunRecord> runs = three_seeds();
  runs[0].label = "é";
  runs[0].timing = {{"evaluate gptq-2048", 5, 0}, {"evaluate llamacpp-512", 5, 0}};
  runs[1].label = "billm";
  runs[1].timing = {{"calibrate", 20, 0}, {"quantize", 10, 0}, {"evaluate gptq-2048", 10, 0}};
  runs[2].label = "failed";
  runs[2].status = "failed";
  runs[3].timing.clear();
  EXPECT_EQ(timing_bars(selected(runs), 8),
            "Where the time went:  █ calibrate  ▓ quantize  ▒ evaluate\n"
            "é      ▒▒        10.0 s: evaluate 100 %\n"
            "billm  ████▓▓▒▒  40.0 s: calibrate 50 %, quantize 25 %, evaluate 25 %\n");
  EXPECT_EQ(timing_bars({}, 8), "");
}

TEST(TimingBars, OnTerminalsOnly) {
  const TempFolder dir;
  const Store store(dir / "store");
  for (const RunRecord& r : three_seeds())
    store.put(r);
  EXPECT_TRUE(contains(report({"--store", dir / "store", "--time"}), "\nWhere the time went:"));
  EXPECT_FALSE(contains(report({"--store", dir / "store"}), "Where the time went"));
  EXPECT_FALSE(contains(report({"--store", dir / "store", "--time", "--format", "csv"}), "Where the time went"));
}

// "evaluate gptq-2048" counts as evaluate: what run files hold.
TEST(TimingBars, CostTableSumsEvaluations) {
  const std::string path = std::string(SAGE_TEST_DATA) + "/../../analysis/tables/cost.yaml";
  const Table t = make_report(selected(three_seeds()), read_table_spec(path));
  bool calibrate = false, evaluate = false;
  for (size_t c = 0; c < t.columns().size(); ++c) {
    if (t.columns()[c].name == "calibrate s") calibrate = *t.rows()[1][c].value == 10;
    if (t.columns()[c].name == "evaluate s") evaluate = *t.rows()[1][c].value == 5;
  }
  EXPECT_TRUE(calibrate);
  EXPECT_TRUE(evaluate);
}

}  // namespace
}  // namespace sage
