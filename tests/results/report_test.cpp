#include "analysis/report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "analysis/compare.h"
#include "analysis/verbs.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "tests/results/samples.h"

namespace sage {
namespace {

using test::sample_sweep;
using test::TempFolder;

std::vector<SelectedRun> selected(const std::vector<RunRecord>& records) {
  std::vector<SelectedRun> out;
  for (const RunRecord& r : records)
    out.push_back({r.label, "", r, ""});
  return out;
}

std::vector<std::string> names(const Table& t) {
  std::vector<std::string> out;
  for (const auto& c : t.columns())
    out.push_back(c.name);
  return out;
}

size_t column(const Table& t, const std::string& name) {
  const auto all = names(t);
  const auto at = std::find(all.begin(), all.end(), name);
  EXPECT_NE(at, all.end()) << name;
  return static_cast<size_t>(at - all.begin());
}

bool has(const Table& t, const std::string& name) {
  const auto all = names(t);
  return std::find(all.begin(), all.end(), name) != all.end();
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Report, WeightAverageCountsWeights) {
  // 300 weights at 0.1 and 100 at 0.3: (30 + 30) / 400.
  std::vector<MatrixRow> matrices = sample_sweep()[3].matrices;
  EXPECT_DOUBLE_EQ(weight_average(matrices, &MatrixRow::d), 0.15);
  matrices[1].d = kNotMeasured;
  EXPECT_DOUBLE_EQ(weight_average(matrices, &MatrixRow::d), 0.1);
  EXPECT_TRUE(std::isnan(weight_average({}, &MatrixRow::d)));
}

TEST(Report, ShowsWhatVariesAndSaysTheRest) {
  const Table t = make_report(selected(sample_sweep()), default_table_spec());
  ASSERT_EQ(t.rows().size(), 5u);
  EXPECT_EQ(t.columns()[0].name, "label");
  EXPECT_EQ(*t.rows()[3][0].text, "sage_honest");
  EXPECT_EQ(*t.rows()[3][column(t, "perplexity")].value, 32.5);
  EXPECT_EQ(*t.rows()[3][column(t, "perplexity")].error, 0.325);
  EXPECT_EQ(*t.rows()[3][column(t, "paper bits")].value, 2.0);
  EXPECT_EQ(*t.rows()[3][column(t, "stored bits")].value, 2.25);
  EXPECT_EQ(*t.rows()[3][column(t, "whole-model bits")].value, 3.25);
  EXPECT_DOUBLE_EQ(*t.rows()[3][column(t, "D")].value, 0.15);
  EXPECT_DOUBLE_EQ(*t.rows()[3][column(t, "seconds")].value, 1.1);
  EXPECT_EQ(*t.rows()[3][column(t, "run")].text, "dddddddddd");
  EXPECT_FALSE(has(t, "KL"));        // nobody measured it
  EXPECT_FALSE(has(t, "peak GiB"));  // 1 GiB in every run
  EXPECT_TRUE(contains(t.caption(), "In every row: peak GiB 1.00."));
  EXPECT_TRUE(contains(t.caption(), "Model: SmolLM2-135M-Instruct (sha256 aaaaaaaaaaaa)."));
  EXPECT_TRUE(contains(t.caption(), "full-precision weights are themselves dequantized 4-bit weights"));
  EXPECT_TRUE(contains(t.caption(), "Text: wikitext2-test (sha256 bbbbbbbbbbbb)."));
  EXPECT_TRUE(contains(t.caption(), "Protocol: window 2048, no BOS, 4 windows."));
  EXPECT_FALSE(contains(t.caption(), "Commits differ"));
  EXPECT_FALSE(contains(t.caption(), "†"));
}

TEST(Report, FailedAndMissingRunsKeepTheirRows) {
  std::vector<SelectedRun> runs = selected(sample_sweep());
  runs.push_back({"later", "", std::nullopt, "damaged"});
  const Table t = make_report(runs, default_table_spec());
  ASSERT_EQ(t.rows().size(), 6u);
  EXPECT_EQ(*t.rows()[4][0].text, "broken");
  EXPECT_EQ(*t.rows()[4][1].text, "failed");
  EXPECT_EQ(*t.rows()[5][0].text, "later");
  for (size_t c = 1; c < t.columns().size(); ++c)
    EXPECT_FALSE(t.rows()[5][c].text || t.rows()[5][c].value);
  EXPECT_TRUE(contains(t.caption(), "broken failed (exit 1): layer 7 fc2: Gram not positive definite"));
  EXPECT_TRUE(contains(t.caption(), "later: damaged"));
  EXPECT_TRUE(contains(t.caption(), "4 of 6 runs complete"));
  // A dash in the text of the missing row.
  const std::string text = t.render(TableFormat::kText);
  EXPECT_TRUE(contains(text, "\nlater"));
}

TEST(Report, PointsToComeAreOneLine) {
  std::vector<SelectedRun> runs = selected({sample_sweep()[1]});
  for (int i = 0; i < 9; ++i)
    runs.push_back({fmt::format("seed={}", i), "", std::nullopt, "not run yet", 1, true});
  const Table t = make_report(runs, default_table_spec());
  EXPECT_EQ(t.rows().size(), 1u);
  for (const TableFormat format : {TableFormat::kText, TableFormat::kMarkdown, TableFormat::kLatex, TableFormat::kJson}) {
    const std::string text = t.render(format);
    EXPECT_TRUE(contains(text, "9 points not run yet."));
    EXPECT_EQ(text.find("not run yet"), text.rfind("not run yet"));
    EXPECT_FALSE(contains(text, "seed="));
  }
  runs.erase(runs.begin());
  const Table first_minute = make_report(runs, default_table_spec());
  EXPECT_TRUE(first_minute.rows().empty());
  EXPECT_EQ(first_minute.caption(), "9 points not run yet.");
  for (const TableFormat format :
       {TableFormat::kText, TableFormat::kMarkdown, TableFormat::kLatex, TableFormat::kCsv, TableFormat::kJson})
    EXPECT_NE(first_minute.render(format), "");
}

// In a CSV there is no caption to warn.
TEST(Report, WhatMakesRowsIncomparableIsAColumn) {
  const std::vector<std::string> plain = names(make_report(selected(sample_sweep()), default_table_spec()));
  for (const char* name : {"model", "text", "protocol", "windows", "backend", "device", "commit"})
    EXPECT_EQ(std::count(plain.begin(), plain.end(), name), 0) << name;
  const auto check = [&](const std::string& name, const std::string& base, const std::string& other,
                         const std::function<void(RunRecord&)>& change) {
    SCOPED_TRACE(name);
    for (const char* spec_name : {"", "bits"}) {
      std::vector<RunRecord> runs = sample_sweep();
      change(runs[2]);
      const Table t = make_report(selected(runs), *spec_name == 0 ? default_table_spec() : read_table_spec(spec_name));
      EXPECT_EQ(names(t)[0], "label");
      ASSERT_EQ(names(t)[1], name);
      for (const auto& row : t.rows()) {
        if (row[0].text == "broken") continue;
        const std::string shown = row[1].text ? *row[1].text : fmt::format("{}", row[1].value.value_or(-1));
        EXPECT_EQ(shown, row[0].text == "sage_paper" ? other : base) << *row[0].text;
      }
    }
  };
  check("model", "SmolLM2-135M-Instruct aaaaaaaaaaaa", "SmolLM2-135M-Instruct 999999999999",
        [](RunRecord& r) { r.provenance.model_digest = std::string(64, '9'); });
  check("text", "wikitext2-test bbbbbbbbbbbb", "wikitext2-test eeeeeeeeeeee",
        [](RunRecord& r) { r.provenance.text_digest = std::string(64, 'e'); });
  check("protocol", "window 2048, no BOS", "window 512", [](RunRecord& r) { r.metrics[0].protocol = "window 512"; });
  check("windows", "4", "2", [](RunRecord& r) { r.metrics[0].n = 2; });
  check("backend", "cpu", "cuda", [](RunRecord& r) { r.provenance.backend = "cuda"; });
  check("device", "A CPU @ 2.1 GHz", "a GPU", [](RunRecord& r) { r.provenance.gpu = "a GPU"; });
  check("commit", "01234567", "01234567*dd", [](RunRecord& r) { r.provenance.dirty = true; });
}

// Its digest is the evaluation's own, where there are several of them.
TEST(Report, TextsOfLaterEvaluationsCount) {
  std::vector<RunRecord> runs = sample_sweep();
  for (RunRecord& r : runs)
    if (r.complete()) r.metrics.push_back({"gptq-64@x.txt", kMetricPerplexity, 9, 1, 4, "p", std::string(64, '1')});
  EXPECT_FALSE(has(make_report(selected(runs), default_table_spec()), "text gptq-64@x.txt"));
  runs[1].metrics.back().text_digest = std::string(64, '2');
  const Table t = make_report(selected(runs), default_table_spec());
  EXPECT_EQ(*t.rows()[0][column(t, "text gptq-64@x.txt")].text, "x.txt 111111111111");
  EXPECT_EQ(*t.rows()[1][column(t, "text gptq-64@x.txt")].text, "x.txt 222222222222");
}

TEST(Report, EqualLabelsAreToldApart) {
  const auto labels = [](const std::vector<RunRecord>& runs) {
    std::vector<std::string> out;
    const Table report = make_report(selected(runs), default_table_spec());
    for (const auto& row : report.rows())
      out.push_back(*row[0].text);
    return out;
  };
  std::vector<RunRecord> runs = sample_sweep();
  runs.pop_back();
  runs[1].label = runs[2].label = runs[3].label = "rtn";
  runs[1].config = {{"name", "a", ""}, {"pipeline.quantizer.bits", "4", ""}, {"seed", "0", ""}};
  runs[2].config = {{"name", "b", ""}, {"pipeline.quantizer.bits", "2", ""}, {"seed", "0", ""}};
  runs[3].config = {{"name", "c", ""}, {"pipeline.quantizer.bits", "3", ""}, {"seed", "0", ""}};
  EXPECT_EQ(labels(runs), (std::vector<std::string>{"full precision", "rtn, quantizer.bits=4", "rtn, quantizer.bits=2",
                                                    "rtn, quantizer.bits=3"}));
  runs[3].config = runs[2].config;  // say, of other texts
  EXPECT_EQ(labels(runs), (std::vector<std::string>{"full precision", "rtn, quantizer.bits=4",
                                                    "rtn, quantizer.bits=2 cccccccccc", "rtn, quantizer.bits=2 dddddddddd"}));
  runs[3].run_key = runs[2].run_key;
  EXPECT_EQ(labels(runs)[3], "rtn, quantizer.bits=2 cccccccccc (2)");
  for (const char* path : {"a", "b", "c", "d"})
    runs[1].config.push_back({path, "1", ""});
  EXPECT_EQ(labels(runs)[1], "rtn bbbbbbbbbb");
}

TEST(Report, OnlyFailures) {
  const Table t = make_report(selected({sample_sweep()[4]}), default_table_spec());
  ASSERT_EQ(t.rows().size(), 1u);
  EXPECT_TRUE(contains(t.render(TableFormat::kText), "broken"));
  EXPECT_TRUE(contains(t.caption(), "0 of 1 runs complete"));
}

// Only where a device took part; the largest stage counts.
TEST(Report, DeviceMemory) {
  std::vector<RunRecord> runs = sample_sweep();
  EXPECT_FALSE(has(make_report(selected(runs), default_table_spec()), "device GiB"));
  runs[3].timing = {{"quantize", 1, 1, uint64_t{3} << 29}, {"evaluate", 1, 1, uint64_t{1} << 29}};
  const Table t = make_report(selected(runs), default_table_spec());
  ASSERT_TRUE(has(t, "device GiB"));
  EXPECT_EQ(*t.rows()[3][column(t, "device GiB")].value, 1.5);
  EXPECT_FALSE(t.rows()[0][column(t, "device GiB")].value && !std::isnan(*t.rows()[0][column(t, "device GiB")].value));
}

TEST(Report, OneRunShowsAllItHas) {
  const Table t = make_report(selected({sample_sweep()[3]}), default_table_spec());
  for (const char* name :
       {"label", "perplexity", "D", "paper bits", "stored bits", "whole-model bits", "peak GiB", "seconds", "run"})
    EXPECT_TRUE(has(t, name)) << name;
}

TEST(Report, WarnsWhereRowsAreNotComparable) {
  std::vector<RunRecord> runs = sample_sweep();
  runs[1].provenance.commit = "feedfacecafe";
  runs[1].provenance.dirty = true;
  runs[2].provenance.gpu = "NVIDIA H100";
  runs[2].provenance.backend = "cuda";
  runs[3].numerics = "reference";
  runs[3].provenance.text_digest = std::string(64, 'e');
  runs[1].metrics[0].protocol = "window 512";
  runs[2].provenance.model_digest = std::string(64, '9');
  const Table t = make_report(selected(runs), default_table_spec());
  EXPECT_TRUE(
      contains(t.caption(), "Commits differ: 01234567 (full precision, sage_paper, sage_honest); feedface* (rtn 4 bit)."));
  EXPECT_TRUE(contains(t.caption(),
                       "Devices differ: A CPU @ 2.1 GHz (full precision, rtn 4 bit, sage_honest); NVIDIA H100 (sage_paper)."));
  EXPECT_TRUE(contains(t.caption(), "Backends differ"));
  EXPECT_TRUE(contains(t.caption(), "Texts differ"));
  EXPECT_TRUE(contains(t.caption(), "Models differ"));
  EXPECT_TRUE(contains(t.caption(), "Protocols differ: window 2048, no BOS, 4 windows (full precision"));
  EXPECT_EQ(*t.rows()[3][0].text, "sage_honest†");
  EXPECT_TRUE(contains(t.caption(), "† decoded with FP32 parameters (numerics: reference)"));
}

TEST(Report, SaysHowManyMatricesWereQuantized) {
  std::vector<RunRecord> runs = sample_sweep();
  EXPECT_FALSE(has(make_report(selected(runs), default_table_spec()), "matrices quantized"));
  runs[0].storage.linear_matrices = runs[1].storage.linear_matrices = runs[1].storage.quantized_matrices = 7;
  runs[2].storage.linear_matrices = 7;
  runs[2].storage.quantized_matrices = 3;
  const Table t = make_report(selected(runs), default_table_spec());
  const size_t at = column(t, "matrices quantized");
  EXPECT_EQ(*t.rows()[2][at].text, "3 of 7");
  for (const size_t whole : {0, 1, 3})
    EXPECT_FALSE(t.rows()[whole][at].text) << whole;
  EXPECT_FALSE(contains(t.caption(), "quantized matrices alone"));
  // A record of the first schema that left layers out has bits of another meaning.
  runs[3].config = {{"exclude[0]", "*down_proj*", "x.yaml:2:1"}, {"include[0]", "*", "default"}};
  const Table old = make_report(selected(runs), default_table_spec());
  EXPECT_EQ(*old.rows()[3][column(old, "matrices quantized")].text, "2 of ?");
  EXPECT_TRUE(contains(old.caption(), "Bits are over the quantized matrices alone, by an earlier version, in: sage_honest."))
      << old.caption();
  EXPECT_EQ(*make_report(selected({runs[2]}), default_table_spec()).rows()[0].back().text, std::string(10, 'c'));
}

TEST(Report, ShowsWhatIsKnownOfCalibratedMatrices) {
  std::vector<RunRecord> runs = sample_sweep();
  std::vector<MatrixRow>& m = runs[3].matrices;  // 300 and 100 weights
  m[0].gram_loss = 0.02, m[1].gram_loss = 0.06;
  m[0].percdamp = 0.01, m[1].percdamp = 0.1;
  m[0].damping_retries = 0, m[1].damping_retries = 1;
  m[0].dead_columns = 2, m[1].dead_columns = 5;
  m[0].threshold_cut = 0.01, m[1].threshold_cut = 0.05;
  m[0].groups = 2, m[1].groups = 4;
  const Table t =
      make_report(selected(runs), read_table_spec(std::string(SAGE_TEST_DATA) + "/../../analysis/tables/audit.yaml"));
  const auto row = std::find_if(t.rows().begin(), t.rows().end(), [](const auto& r) { return *r[0].text == "sage_honest"; });
  ASSERT_NE(row, t.rows().end());
  for (const auto& [name, value] : std::map<std::string, double>{{"Gram loss", 0.03},
                                                                 {"largest damping", 0.1},
                                                                 {"damping retries", 1},
                                                                 {"dead columns", 7},
                                                                 {"cut", 0.02},
                                                                 {"K", 2.5}})
    EXPECT_NEAR(*(*row)[column(t, name)].value, value, 1e-12) << name;
  EXPECT_TRUE(has(make_report(selected(runs), default_table_spec()), "Gram loss"));
  EXPECT_FALSE(has(make_report(selected(sample_sweep()), default_table_spec()), "Gram loss"));
}

TEST(Report, SaysWhoseSecondsAreOfSeveralProcesses) {
  std::vector<RunRecord> runs = sample_sweep();
  EXPECT_FALSE(contains(make_report(selected(runs), default_table_spec()).caption(), "Seconds are sums"));
  runs[2].resumed = true;
  EXPECT_TRUE(contains(make_report(selected(runs), default_table_spec()).caption(), "did not finish, in: sage_paper."));
}

TEST(Report, SeveralEvaluationsAreNamed) {
  std::vector<RunRecord> runs = sample_sweep();
  runs[0].metrics.push_back({"llamacpp-512", kMetricPerplexity, 21.0, kNotMeasured, 9, "p"});
  const Table t = make_report(selected(runs), default_table_spec());
  EXPECT_EQ(*t.rows()[0][column(t, "perplexity llamacpp-512")].value, 21.0);
  EXPECT_FALSE(t.rows()[0][column(t, "perplexity llamacpp-512")].error);
  EXPECT_FALSE(t.rows()[1][column(t, "perplexity llamacpp-512")].value);
  EXPECT_TRUE(has(t, "perplexity gptq-2048"));
}

TEST(TableSpec, FilesChooseColumnsAndOrder) {
  const TempFolder dir;
  write_file_atomically(dir / "t.yaml",
                        "title: My table\n"
                        "columns: [label, {column: stored_bits, title: size, decimals: 1}, config.pipeline.k, peak_gib]\n"
                        "sort: stored_bits\n"
                        "keep_constant: true\n");
  std::vector<RunRecord> runs = sample_sweep();
  runs[1].config = {{"pipeline.k", "5", ""}};
  const Table t = make_report(selected(runs), read_table_spec(dir / "t.yaml"));
  EXPECT_EQ(names(t), (std::vector<std::string>{"label", "size", "pipeline.k", "peak GiB"}));
  EXPECT_EQ(*t.rows()[0][0].text, "sage_honest");
  EXPECT_EQ(*t.rows()[1][0].text, "sage_paper");
  EXPECT_EQ(*t.rows()[2][0].text, "rtn 4 bit");
  EXPECT_EQ(*t.rows()[2][2].text, "5");
  EXPECT_EQ(t.caption().rfind("My table.\n", 0), 0u);
}

TEST(TableSpec, WrongColumnsAreNamedWithTheirPlace) {
  const TempFolder dir;
  const auto error = [&](const std::string& yaml) {
    write_file_atomically(dir / "t.yaml", yaml);
    try {
      read_table_spec(dir / "t.yaml");
    } catch (const UserError& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const std::string typo = error("columns: [label, store_bits]\n");
  EXPECT_TRUE(contains(typo, "t.yaml:1:18")) << typo;
  EXPECT_TRUE(contains(typo, "did you mean 'stored_bits'")) << typo;
  EXPECT_TRUE(contains(error("columns: [label]\ncolums: 1\n"), "colums"));
  EXPECT_NE(error("columns: [config.]\n"), "");
  EXPECT_NE(error("title: x\n"), "");
  EXPECT_NE(error("columns: [label]\nsort: nothing\n"), "");
  EXPECT_THROW(read_table_spec("no_such_table"), UserError);
}

TEST(TableSpec, ShippedSpecsAreValid) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(std::string(SAGE_TEST_DATA) + "/../../analysis/tables")) {
    EXPECT_NO_THROW(make_report(selected(sample_sweep()), read_table_spec(entry.path().string()))) << entry.path();
    ++count;
  }
  EXPECT_GE(count, 3);
}

TEST(Selection, EveryWayOfNamingRuns) {
  const TempFolder dir;
  const Store store(dir / "store");
  for (const RunRecord& r : sample_sweep())
    store.put(r);
  const auto labels = [&](const std::vector<std::string>& words) {
    std::string out;
    for (const SelectedRun& run : select_runs(words, store, RunParts::kSummary))
      out += run.label + (run.record ? ";" : "?;");
    return out;
  };
  const std::string all = "full precision;rtn 4 bit;sage_paper;sage_honest;broken;";
  EXPECT_EQ(labels({}), all);
  EXPECT_EQ(labels({dir / "store"}), all);
  EXPECT_EQ(labels({"bbbb"}), "rtn 4 bit;");
  EXPECT_EQ(labels({store.path_of(std::string(64, 'd')), "aaaaaa"}), "sage_honest;full precision;");
  write_file_atomically(dir / "keys.txt", "# two\n" + std::string(64, 'c') + "  # paper\n\n" + std::string(64, 'f') + "\n");
  EXPECT_EQ(labels({dir / "keys.txt"}), "sage_paper;ffffffffff?;");

  make_folders(dir / "out");
  const std::string manifest = R"({"name": "s", "points": [)"
                               R"({"label": "one", "key": ")" +
                               std::string(64, 'b') + R"(", "run_file": "../store/runs/bb/)" + std::string(64, 'b') +
                               R"(.h5"},)"
                               R"({"label": "two", "key": ")" +
                               std::string(64, 'e') +
                               R"("},)"
                               R"({"label": "three", "key": ")" +
                               std::string(64, '0') + R"(", "run_file": "gone.h5"}]})";
  write_file_atomically(dir / "out/sweep.json", manifest);
  EXPECT_EQ(labels({dir / "out"}), "one;two;three?;");
  EXPECT_EQ(labels({dir / "out/sweep.json"}), "one;two;three?;");
  make_folders(dir / "store/sweeps");
  write_file_atomically(store.sweep_path("mine"),
                        R"({"name": "mine", "points": [{"label": "x", "key": ")" + std::string(64, 'a') + R"("}]})");
  EXPECT_EQ(labels({"mine"}), "x;");

  EXPECT_THROW(labels({"nothing-here"}), UserError);
  EXPECT_THROW(labels({"9999"}), UserError);
  write_file_atomically(dir / "bad.json", "{\"points\": 3}");
  EXPECT_THROW(labels({dir / "bad.json"}), ResourceError);
  write_file_atomically(dir / "worse.json", "{");
  EXPECT_THROW(labels({dir / "worse.json"}), ResourceError);
  write_file_atomically(dir / "junk.h5", "junk");
  EXPECT_THROW(labels({dir / "junk.h5"}), ResourceError);
  EXPECT_THROW(select_runs({}, Store(dir / "empty"), RunParts::kSummary), ResourceError);
  // A damaged file in the store is a row with a reason, not the end of the report.
  write_file_atomically(store.path_of(std::string(64, 'b')), "junk");
  EXPECT_EQ(labels({}), "full precision;" + std::string(64, 'b') + "?;sage_paper;sage_honest;broken;");
}

TEST(Compare, PairedErrorIsThatOfTheDifferences) {
  const std::vector<double> a{3.0, 4.0, 5.0, 2.0}, b{3.1, 4.3, 5.2, 2.2};
  // Differences 0.1 0.3 0.2 0.2: mean 0.2, sum of squares 0.02, error sqrt(0.02 / 12).
  const PairedDifference d = paired_difference(a, b);
  EXPECT_NEAR(d.mean, 0.2, 1e-15);
  EXPECT_NEAR(d.standard_error, std::sqrt(0.02 / 12), 1e-15);
  EXPECT_EQ(d.n, 4u);
  const std::vector<double> one{1.0};
  EXPECT_TRUE(std::isnan(paired_difference(one, one).standard_error));
  EXPECT_EQ(paired_difference({}, {}).n, 0u);
}

TEST(Compare, PerplexityDifferenceByTheDeltaMethod) {
  const std::vector<double> a{3.0, 4.0, 5.0, 2.0}, b{3.1, 4.3, 5.2, 2.2};
  const PairedDifference d = paired_perplexity_difference(a, b);
  EXPECT_NEAR(d.mean, std::exp(3.7) - std::exp(3.5), 1e-12);
  // Jackknife, an independent estimate of the same error: equal for small spreads, so shrink the spread to compare.
  std::vector<double> x, y;
  for (size_t i = 0; i < 4; ++i)
    x.push_back(3.5 + 1e-4 * (a[i] - 3.5)), y.push_back(3.7 + 1e-4 * (b[i] - 3.7));
  const double error = paired_perplexity_difference(x, y).standard_error;
  double left_out[4], mean = 0;
  for (int k = 0; k < 4; ++k) {
    double sx = 0, sy = 0;
    for (int i = 0; i < 4; ++i)
      if (i != k) sx += x[static_cast<size_t>(i)], sy += y[static_cast<size_t>(i)];
    left_out[k] = std::exp(sy / 3) - std::exp(sx / 3);
    mean += left_out[k] / 4;
  }
  double squares = 0;
  for (double v : left_out)
    squares += (v - mean) * (v - mean);
  EXPECT_NEAR(error, std::sqrt(squares * 3 / 4), 1e-3 * error);
}

TEST(Compare, ShowsSettingsThatDifferAndPairsWindows) {
  std::vector<RunRecord> runs = sample_sweep();
  runs[1].config = {{"pipeline.bits", "4", ""}, {"seed", "0", ""}};
  runs[3].config = {{"pipeline.bits", "2", ""}, {"seed", "0", ""}, {"pipeline.k", "4", ""}};
  const Comparison c = compare_runs(selected({runs[1], runs[3]}));
  ASSERT_EQ(c.configuration.rows().size(), 2u);
  EXPECT_EQ(*c.configuration.rows()[0][0].text, "pipeline.bits");
  EXPECT_EQ(*c.configuration.rows()[0][2].text, "2");
  EXPECT_EQ(*c.configuration.rows()[1][0].text, "pipeline.k");
  EXPECT_FALSE(c.configuration.rows()[1][1].text);
  const auto row = [&](const std::string& name) {
    for (const auto& r : c.metrics.rows())
      if (*r[0].text == name) return r;
    ADD_FAILURE() << name;
    return c.metrics.rows()[0];
  };
  EXPECT_NEAR(*row("perplexity")[3].value, 32.5 - 42.7, 1e-9);
  // Equal shifts of every window: the unpaired errors are large, the paired one of the NLL is nothing but rounding.
  EXPECT_NEAR(*row("mean NLL")[3].value, std::log(32.5 / 42.7), 1e-12);
  EXPECT_LT(*row("mean NLL")[3].error, 1e-12);
  EXPECT_NEAR(*row("stored bits")[3].value, 2.25 - 4.03, 1e-12);
  EXPECT_NEAR(*row("D")[3].value, 0.15 - 0.015, 1e-12);
}

TEST(Compare, SaysWhyItDoesNotPair) {
  std::vector<RunRecord> runs = sample_sweep();
  runs[1].eval[0].nll.pop_back();
  EXPECT_TRUE(contains(compare_runs(selected({runs[0], runs[1]})).metrics.caption(),
                       "rtn 4 bit is not paired with full precision on gptq-2048: 4 and 3 windows."));
  runs = sample_sweep();
  runs[1].provenance.text_digest = "other";
  const Comparison c = compare_runs(selected({runs[0], runs[1]}));
  EXPECT_TRUE(contains(c.metrics.caption(), "other texts"));
  EXPECT_FALSE(c.metrics.rows()[0][3].error);
  EXPECT_NEAR(*c.metrics.rows()[0][3].value, 42.7 - 24.15, 1e-9);
}

TEST(Compare, EqualLabelsAreToldApart) {
  std::vector<RunRecord> runs = sample_sweep();
  runs[1].label = runs[0].label;
  const Comparison c = compare_runs(selected({runs[0], runs[1], runs[1]}));
  EXPECT_EQ(c.metrics.columns().size(), 6u);
  for (size_t i = 0; i < 6; ++i)
    for (size_t k = 0; k < i; ++k)
      EXPECT_NE(c.metrics.columns()[i].name, c.metrics.columns()[k].name);
}

// The verbs as run_program calls them.
std::string run(const Verb& verb, std::vector<std::string> args) {
  namespace po = boost::program_options;
  po::options_description options;
  po::positional_options_description positional;
  verb.declare(options, positional);
  po::variables_map vm;
  po::store(po::command_line_parser(args).options(options).positional(positional).run(), vm);
  testing::internal::CaptureStdout();
  const ExitCode code = verb.run(Program{}, vm);
  const std::string out = testing::internal::GetCapturedStdout();
  EXPECT_EQ(code, ExitCode::kDone);
  return out;
}

TEST(Verbs, ReportWritesWhatIsAskedFor) {
  const TempFolder dir;
  const Store store(dir / "store");
  for (const RunRecord& r : sample_sweep())
    store.put(r);
  EXPECT_TRUE(contains(run(report_verb(), {"--store", dir / "store"}), "\nsage_honest "));
  const auto j = nlohmann::json::parse(run(report_verb(), {"--store", dir / "store", "--format", "json"}));
  EXPECT_EQ(j["rows"][1]["stored bits"], 4.03);
  EXPECT_DOUBLE_EQ(j["rows"][1]["perplexity stderr"].get<double>(), 0.427);
  EXPECT_EQ(run(report_verb(), {"--store", dir / "store", "-o", dir / "t.md"}), "");
  EXPECT_TRUE(contains(read_file(dir / "t.md"), "| rtn 4 bit | 42.700 ± 0.427 |"));
  EXPECT_EQ(run(report_verb(), {"bbbb", "--store", dir / "store", "-o", dir / "t.csv"}), "");
  EXPECT_TRUE(contains(read_file(dir / "t.csv"), "rtn 4 bit,42.7,0.427"));
  EXPECT_THROW(run(report_verb(), {"--store", dir / "store", "--format", "html"}), UserError);
  testing::internal::GetCapturedStdout();
  for (const std::string& out : {std::string(), dir.str(), dir / "t/", store.path_of(std::string(64, 'b'))}) {
    EXPECT_THROW(run(report_verb(), {"--store", dir / "store", "-o", out}), UserError) << out;
    testing::internal::GetCapturedStdout();
  }
  EXPECT_TRUE(store.get(std::string(64, 'b')).complete());
}

TEST(Verbs, CompareWantsCompleteRuns) {
  const TempFolder dir;
  const Store store(dir / "store");
  for (const RunRecord& r : sample_sweep())
    store.put(r);
  const std::string out = run(compare_verb(), {"aaaa", "bbbb", "--store", dir / "store"});
  EXPECT_TRUE(contains(out, "perplexity"));
  const auto j = nlohmann::json::parse(run(compare_verb(), {"aaaa", "bbbb", "--store", dir / "store", "--format", "json"}));
  EXPECT_EQ(j["metrics"]["rows"][0]["figure"], "perplexity");
  EXPECT_TRUE(j["configuration"]["rows"].is_array());
  EXPECT_THROW(run(compare_verb(), {"aaaa", "--store", dir / "store"}), UserError);
  testing::internal::GetCapturedStdout();
  EXPECT_THROW(run(compare_verb(), {"aaaa", "eeee", "--store", dir / "store"}), ResourceError);
  testing::internal::GetCapturedStdout();
}

}  // namespace
}  // namespace sage
