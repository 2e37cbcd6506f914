#include "core/util/table.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "core/util/errors.h"

namespace sage {
namespace {

Table sample() {
  Table t({{"method"}, {"perplexity", true, 2}, {"D", true, 3}});
  t.add_row({"naïve | a_b", {42.697, 0.123}, 0.25});
  t.add_row({"x", 123456.0, 0.00001});
  t.add_row({"漢字", {}, -1.0});
  t.set_caption("50% of \"all\" & more_things\nsecond");
  return t;
}

TEST(Table, TextAlignsByDisplayWidth) {
  EXPECT_EQ(sample().render(TableFormat::kText),
            "method         perplexity         D\n"
            "-----------------------------------\n"
            "naïve | a_b  42.70 ± 0.12     0.250\n"
            "x                1.23e+05  1.00e-05\n"
            "漢字                    -    -1.000\n"
            "\n"
            "50% of \"all\" & more_things\n"
            "second\n");
}

TEST(Table, MarkdownEscapes) {
  EXPECT_EQ(sample().render(TableFormat::kMarkdown),
            "| method | perplexity | D |\n"
            "| --- | ---: | ---: |\n"
            "| naïve \\| a\\_b | 42.70 ± 0.12 | 0.250 |\n"
            "| x | 1.23e+05 | 1.00e-05 |\n"
            "| 漢字 | - | -1.000 |\n"
            "\n"
            "50% of \"all\" &amp; more\\_things\n"
            "\n"
            "second\n");
}

TEST(Table, LatexEscapes) {
  EXPECT_EQ(sample().render(TableFormat::kLatex),
            "% needs \\usepackage{booktabs}\n"
            "\\begin{table}\n"
            "  \\centering\n"
            "  \\caption{50\\% of \"all\" \\& more\\_things second}\n"
            "  \\begin{tabular}{lrr}\n"
            "    \\toprule\n"
            "    method & perplexity & D \\\\\n"
            "    \\midrule\n"
            "    naïve \\textbar{} a\\_b & 42.70 $\\pm$ 0.12 & 0.250 \\\\\n"
            "    x & $1.23\\times10^{5}$ & $1.00\\times10^{-5}$ \\\\\n"
            "    漢字 & -- & $-1.000$ \\\\\n"
            "    \\bottomrule\n"
            "  \\end{tabular}\n"
            "\\end{table}\n");
}

TEST(Table, LatexEscapesEverySpecialCharacter) {
  Table t({{"a"}});
  t.add_row({"\\{}$&#^_~%<>"});
  EXPECT_NE(t.render(TableFormat::kLatex)
                .find("\\textbackslash{}\\{\\}\\$\\&\\#\\textasciicircum{}\\_\\textasciitilde{}\\%\\textless{}\\textgreater{}"),
            std::string::npos);
}

TEST(Table, CsvKeepsAllDigitsAndQuotes) {
  Table t({{"name, unit"}, {"v", true, 1}});
  t.add_row({"say \"hi\"", {0.1, 1.0 / 3}});
  t.add_row({"two\nlines", std::numeric_limits<double>::quiet_NaN()});
  EXPECT_EQ(t.render(TableFormat::kCsv),
            "\"name, unit\",v,v stderr\n"
            "\"say \"\"hi\"\"\",0.1,0.3333333333333333\n"
            "\"two\nlines\",,\n");
}

TEST(Table, JsonReadsBack) {
  Table t({{"name"}, {"v", true, 1}});
  t.add_row({"a\"b\n", {1.0 / 3, 0.5}});
  t.add_row({"inf", std::numeric_limits<double>::infinity()});
  t.add_row({Table::Cell(), std::numeric_limits<double>::quiet_NaN()});
  t.add_row({"broken \xff utf-8", 7.0});
  const auto j = nlohmann::json::parse(t.render(TableFormat::kJson));
  EXPECT_EQ(j["rows"][0]["name"], "a\"b\n");
  EXPECT_EQ(j["rows"][0]["v"].get<double>(), 1.0 / 3);
  EXPECT_EQ(j["rows"][0]["v stderr"].get<double>(), 0.5);
  EXPECT_EQ(j["rows"][1]["v"], "inf");
  EXPECT_TRUE(j["rows"][1]["v stderr"].is_null());
  EXPECT_TRUE(j["rows"][2]["name"].is_null());
  EXPECT_TRUE(j["rows"][2]["v"].is_null());
  EXPECT_EQ(j["rows"][3]["v"], 7.0);
}

TEST(Table, LineBreaksDoNotBreakRows) {
  Table t({{"a"}, {"b"}});
  t.add_row({"x\ny\tz", "w"});
  EXPECT_EQ(t.render(TableFormat::kText), "a      b\n--------\nx y z  w\n");
  EXPECT_EQ(t.render(TableFormat::kMarkdown), "| a | b |\n| --- | --- |\n| x y z | w |\n");
}

TEST(Table, LongCaptionsWrapAtWords) {
  Table t({{"a"}});
  std::string caption;
  for (int i = 0; i < 40; ++i)
    caption += "word ";
  t.set_caption(caption);
  const std::string text = t.render(TableFormat::kText);
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    EXPECT_LE(end - at, 80u);
    at = end + 1;
  }
}

TEST(Table, WrongNumberOfCellsIsABug) {
  Table t({{"a"}, {"b"}});
  EXPECT_THROW(t.add_row({"x"}), std::logic_error);
}

TEST(Table, FormatNames) {
  EXPECT_EQ(parse_table_format("md"), TableFormat::kMarkdown);
  EXPECT_THROW(parse_table_format("html"), UserError);
}

}  // namespace
}  // namespace sage
