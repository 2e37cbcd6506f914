#include "experiments/cli/command_line.h"

#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "core/util/log.h"
#include "core/util/stop.h"
#include "experiments/cli/catalogue.h"
#include "experiments/cli/completion.h"
#include "experiments/cli/verbs.h"
#include "tests/cli_unit/helpers.h"

namespace sage {
namespace {

namespace po = boost::program_options;

Verb toy() {
  Verb v;
  v.name = "toy";
  v.summary = "Plays.";
  v.synopsis = "FILE [--device NAME] [--dry-run]";
  v.declare = [](po::options_description& o, po::positional_options_description& p) {
    o.add_options()("file", po::value<std::string>()->required(), "a file")("device,d", po::value<std::string>(), "a device")(
        "count", po::value<int>(), "a number")("seed", po::value<uint64_t>(), "a number")(
        "share", po::value<double>(), "a number")("set", po::value<std::vector<std::string>>()->composing(), "a.b=v")(
        "dry-run", "do nothing")("method", po::value<std::string>(), "a preset");
    p.add("file", 1);
  };
  v.run = [](const Program&, const po::variables_map& m) {
    const std::string file = m["file"].as<std::string>();
    if (file == "user") throw UserError("user's fault");
    if (file == "resource") throw ResourceError("resource");
    if (file == "run") throw RunError("bad weights");
    if (file == "tolerance") throw ToleranceError("outside");
    if (file == "bug") throw std::logic_error("surprise");
    if (file == "memory") throw std::bad_alloc();
    if (file == "stopped") throw Stopped("toy: stopped as asked; all is kept");
    fmt::print("file {} device {}\n", file, m.count("device") > 0 ? m["device"].as<std::string>() : "-");
    return ExitCode::kDone;
  };
  return v;
}

class CommandLine : public ExperimentFiles {
 protected:
  void SetUp() override {
    ExperimentFiles::SetUp();
    register_builtin(program_.registries);
    verbs_ = {toy(), list_verb(), describe_verb(), check_verb()};
  }
  void TearDown() override {
    set_log_level(LogLevel::kInfo);
    ExperimentFiles::TearDown();
  }
  int run(std::vector<std::string> words) {
    std::vector<const char*> argv = {"sageptq"};
    for (const std::string& w : words)
      argv.push_back(w.c_str());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int code = run_program(program_, verbs_, static_cast<int>(argv.size()), argv.data());
    out_ = testing::internal::GetCapturedStdout();
    err_ = testing::internal::GetCapturedStderr();
    return code;
  }
  Program program_;
  std::vector<Verb> verbs_;
  std::string out_, err_;
};

TEST_F(CommandLine, RunsAVerbAndKeepsArgv) {
  EXPECT_EQ(run({"toy", "f", "--device", "gpu"}), 0);
  EXPECT_EQ(out_, "file f device gpu\n");
  EXPECT_EQ(err_, "");
  EXPECT_EQ(program_.argv, (std::vector<std::string>{"sageptq", "toy", "f", "--device", "gpu"}));
  EXPECT_EQ(run({"-q", "--threads", "2", "toy", "--device=cpu", "f"}), 0);
  EXPECT_EQ(run({"--threads=1", "toy", "-dcpu", "f"}), 0);
}

TEST_F(CommandLine, NoGuessing) {
  EXPECT_EQ(run({"toy", "f", "--dry"}), 2);
  EXPECT_EQ(err_,
            "sageptq: toy: unknown option '--dry'; expected one of: --device, -d, --count, --seed, --share, --set, --dry-run, "
            "--method, --help, "
            "-h; see "
            "`sageptq help toy`\n");
  EXPECT_EQ(run({"toy", "f", "--dry-rnu"}), 2);
  EXPECT_TRUE(has(err_, "did you mean '--dry-run'?")) << err_;
}

TEST_F(CommandLine, AValueThatLooksLikeAnOptionIsRefused) {
  EXPECT_EQ(run({"toy", "f", "--device", "--dry-run"}), 2);
  EXPECT_TRUE(has(err_, "--device")) << err_;
  EXPECT_TRUE(has(err_, "sageptq: toy: ")) << err_;
  EXPECT_EQ(run({"toy", "f", "--device", "--unknown"}), 2);
  EXPECT_EQ(run({"toy", "f", "--device", "-x"}), 2);
  EXPECT_EQ(run({"toy", "f", "--device"}), 2);
  EXPECT_EQ(run({"toy", "f", "--count", "-3"}), 0);  // a number is a value
  EXPECT_EQ(run({"toy", "f", "--device=--dry-run"}), 0);
  EXPECT_EQ(out_, "file f device --dry-run\n");
}

TEST_F(CommandLine, WrongCommandLines) {
  EXPECT_EQ(run({"lst"}), 2);
  EXPECT_EQ(err_, "sageptq: unknown command 'lst'; expected one of: toy, list, describe, check, help; did you mean 'list'?\n");
  EXPECT_EQ(run({"toy"}), 2);
  EXPECT_TRUE(has(err_, "the argument 'file' is missing; expected: sageptq toy FILE")) << err_;
  EXPECT_EQ(run({"toy", "a", "b"}), 2);
  EXPECT_TRUE(has(err_, "too many arguments")) << err_;
  EXPECT_EQ(run({"toy", "a", "--count", "x"}), 2);
  EXPECT_TRUE(has(err_, "option '--count': found 'x'; expected a whole number")) << err_;
  EXPECT_EQ(run({"toy", "a", "--count", "99999999999"}), 2);
  EXPECT_EQ(run({"toy", "a", "--count=1.5"}), 2);
  EXPECT_TRUE(has(err_, "option '--count': found '1.5'; expected a whole number")) << err_;
  EXPECT_EQ(run({"toy", "a", "--seed", "-4"}), 2);
  EXPECT_TRUE(has(err_, "option '--seed': found '-4'; expected a whole number of at least 0")) << err_;
  EXPECT_EQ(run({"toy", "a", "--share", "much"}), 2);
  EXPECT_TRUE(has(err_, "option '--share': found 'much'; expected a number")) << err_;
  EXPECT_EQ(run({"toy", "a", "--share", "1e-4", "--seed", "18446744073709551615"}), 0);
  EXPECT_EQ(run({"toy", "a", "--device", "x", "--device", "y"}), 2);
  EXPECT_TRUE(has(err_, "more than once")) << err_;
  EXPECT_EQ(run({"toy", "a", "-v"}), 2);
  EXPECT_TRUE(has(err_, "'-v' is an option of sageptq itself; expected it before 'toy'")) << err_;
  EXPECT_EQ(run({"--thread", "2", "toy", "a"}), 2);
  EXPECT_TRUE(has(err_, "did you mean '--threads'?")) << err_;
  EXPECT_EQ(run({"--threads", "0", "toy", "a"}), 2);
  EXPECT_EQ(run({"--threads", "toy", "a"}), 2);
  EXPECT_EQ(run({"-q", "-v", "toy", "a"}), 2);
  EXPECT_EQ(run({}), 2);
  EXPECT_TRUE(has(err_, "usage: sageptq"));
  EXPECT_EQ(out_, "");
}

TEST_F(CommandLine, Help) {
  EXPECT_EQ(run({"--help"}), 0);
  EXPECT_TRUE(has(out_, "toy       Plays."));
  EXPECT_EQ(run({"help", "toy"}), 0);
  const std::string help = out_;
  EXPECT_TRUE(has(help, "usage: sageptq toy FILE [--device NAME] [--dry-run]"));
  EXPECT_TRUE(has(help, "--dry-run"));
  EXPECT_EQ(run({"toy", "--help"}), 0);
  EXPECT_EQ(out_, help);
  EXPECT_EQ(run({"toy", "--nonsense", "-h"}), 0);
  EXPECT_EQ(run({"--help", "toy"}), 0);
  EXPECT_EQ(out_, help);
  EXPECT_EQ(run({"help", "tyo"}), 2);
  EXPECT_TRUE(has(err_, "did you mean 'toy'?"));
  EXPECT_EQ(run({"--version"}), 0);
  EXPECT_TRUE(out_.starts_with("sageptq "));
}

TEST_F(CommandLine, ExitCodes) {
  EXPECT_EQ(run({"toy", "user"}), 2);
  EXPECT_EQ(err_, "sageptq: user's fault\n");
  EXPECT_EQ(run({"toy", "resource"}), 3);
  EXPECT_EQ(run({"toy", "tolerance"}), 5);
  EXPECT_EQ(run({"toy", "run"}), 3);
  EXPECT_EQ(err_, "sageptq: bad weights\n");
  EXPECT_EQ(run({"toy", "bug"}), 1);
  EXPECT_TRUE(has(err_, "internal error: surprise; this is a bug of sageptq"));
  EXPECT_EQ(run({"toy", "memory"}), 3);
  EXPECT_TRUE(has(err_, "out of memory"));
  EXPECT_EQ(run({"toy", "stopped", "--set", "a=it's b", "--set", "", "--device", "x/y.z-1"}), 75);
  EXPECT_EQ(err_,
            "sageptq: toy: stopped as asked; all is kept; to go on: sageptq toy stopped --set 'a=it'\\''s b' --set '' --device "
            "x/y.z-1\n");
}

TEST_F(CommandLine, FullDiskBehindStdoutIsAnError) {
  if (std::FILE* full = std::fopen("/dev/full", "w")) {
    std::fclose(full);
    std::fflush(stdout);
    const int keep = dup(STDOUT_FILENO);
    std::FILE* again = std::freopen("/dev/full", "w", stdout);
    ASSERT_NE(again, nullptr);
    const char* argv[] = {"sageptq", "list"};
    testing::internal::CaptureStderr();
    const int code = run_program(program_, verbs_, 2, argv);
    const std::string err = testing::internal::GetCapturedStderr();
    std::clearerr(stdout);
    dup2(keep, STDOUT_FILENO);
    close(keep);
    EXPECT_EQ(code, 3);
    EXPECT_TRUE(has(err, "sageptq: stdout: ")) << err;
  } else {
    GTEST_SKIP() << "no /dev/full here";
  }
}

TEST_F(CommandLine, ListNamesEveryComponent) {
  EXPECT_EQ(run({"list"}), 0);
  for (const ComponentInfo& c : program_.registries.all())
    EXPECT_TRUE(has(out_, c.name)) << c.name;
  EXPECT_TRUE(has(out_, "sage_paper"));
  EXPECT_EQ(run({"list", "grouping", "--format", "csv"}), 0);
  EXPECT_TRUE(has(out_, "kmeans"));
  EXPECT_FALSE(has(out_, "hadamard"));
  EXPECT_EQ(run({"list", "--format", "md"}), 0);
  EXPECT_TRUE(has(out_, "### grouping"));
  for (const char* kind : {"presets", "families", "protocols", "backends", "components"})
    EXPECT_EQ(run({"list", kind}), 0) << err_;
  EXPECT_TRUE(has(out_, "kind"));
  EXPECT_EQ(run({"list", "groupin"}), 2);
  EXPECT_TRUE(has(err_, "did you mean 'grouping'?"));
}

TEST_F(CommandLine, DescribeShowsParametersAndPresets) {
  for (const ComponentInfo& c : program_.registries.all()) {
    ASSERT_EQ(run({"describe", c.kind + "/" + c.name}), 0);
    EXPECT_TRUE(has(out_, c.doc)) << c.name;
    for (const ParamInfo& p : c.params)
      EXPECT_TRUE(has(out_, p.name)) << c.name;
  }
  EXPECT_EQ(run({"describe", "none"}), 0);  // several kinds have one
  EXPECT_TRUE(has(out_, "(saliency") && has(out_, "(transform"));
  EXPECT_EQ(run({"describe", "sage_paper"}), 0);
  EXPECT_TRUE(has(out_, "spectral"));
  EXPECT_EQ(run({"describe", "pipeline"}), 0);
  EXPECT_TRUE(has(out_, "salient_quantizer"));
  EXPECT_EQ(run({"describe", "eval"}), 0);
  EXPECT_TRUE(has(out_, "windows"));
  EXPECT_EQ(run({"describe", "experiment"}), 0);
  for (const char* key : {"seed", "include", "exclude", "trace", "keep_packed", "eval: a list", "calibration",
                          "glob on full names", "*down_proj*"})
    EXPECT_TRUE(has(out_, key)) << key << "\n" << out_;
  EXPECT_EQ(run({"describe", "calibraton"}), 2);
  EXPECT_TRUE(has(err_, "did you mean 'calibration'?")) << err_;
  EXPECT_EQ(run({"describe", "kmaens"}), 2);
  EXPECT_TRUE(has(err_, "did you mean 'kmeans'?"));
}

TEST_F(CommandLine, CheckPrintsTheFinalConfigurationWithOrigins) {
  const std::string path = file("x.yaml", "extends: rtn\npipeline: {quantizer: {bits: 3}}\n");
  EXPECT_EQ(run({"check", path, "--set", "seed=4"}), 0);
  EXPECT_TRUE(has(out_, "1 point\n"));
  EXPECT_TRUE(has(out_, "x.yaml:2:30"));
  EXPECT_TRUE(has(out_, "# --set seed=4"));
  EXPECT_EQ(run({"check", path, "--format", "json"}), 0);
  EXPECT_EQ(out_.front(), '[');
}

TEST_F(CommandLine, CheckLooksAtEveryFile) {
  const std::string good = file("good.yaml", "extends: rtn\nsweep: {grid: {seed: [1, 2, 3]}}\n");
  const std::string bad = file("bad.yaml", "extends: rtn\nsede: 3\n");
  EXPECT_EQ(run({"check", bad, good, (folder_ / "absent.yaml").string()}), 2);
  EXPECT_TRUE(has(out_, "3 points\n  seed=1\n  seed=2\n  seed=3\n"));
  EXPECT_TRUE(has(err_, "bad.yaml:2:1: unknown key 'sede'"));
  EXPECT_TRUE(has(err_, "absent.yaml"));
  EXPECT_EQ(run({"check", (folder_ / "absent.yaml").string()}), 3);
}

TEST_F(CommandLine, Completion) {
  const auto words = [&](const std::vector<std::string>& w) { return complete(program_, verbs_, w); };
  using Words = std::vector<std::string>;
  const auto contains = [](const Words& w, const std::string& x) { return std::find(w.begin(), w.end(), x) != w.end(); };
  EXPECT_EQ(words({"li"}), Words{"list"});
  EXPECT_TRUE(contains(words({""}), "describe"));
  EXPECT_EQ(words({"--thr"}), Words{"--threads"});
  EXPECT_EQ(words({"--threads", ""}), Words{});
  EXPECT_EQ(words({"-q", "des"}), Words{"describe"});
  EXPECT_EQ(words({"toy", "--d"}), (Words{"--device", "--dry-run"}));
  EXPECT_EQ(words({"toy", "--method", "sage_p"}), Words{"sage_paper"});
  EXPECT_EQ(words({"toy", "--method=sage_p"}), Words{"--method=sage_paper"});
  EXPECT_EQ(words({"toy", "f", "--set", "pipeline.grouping.ty"}), Words{"pipeline.grouping.type="});
  EXPECT_EQ(words({"toy", "f", "--set", "pipeline.grouping.type=km"}), Words{"pipeline.grouping.type=kmeans"});
  EXPECT_EQ(words({"toy", "f", "--set", "pipeline.grouping=km"}), Words{"pipeline.grouping=kmeans"});
  EXPECT_EQ(words({"toy", "f", "--set", "pipeline.numerics="}),
            (Words{"pipeline.numerics=packed", "pipeline.numerics=reference"}));
  EXPECT_EQ(words({"toy", "f", "--set", "eval.0.kl="}), (Words{"eval.0.kl=false", "eval.0.kl=true"}));
  EXPECT_EQ(words({"describe", "kme"}), Words{"kmeans"});
  EXPECT_EQ(words({"describe", "exper"}), Words{"experiment"});
  EXPECT_EQ(words({"list", "trans"}), Words{"transform"});
  EXPECT_EQ(words({"help", "che"}), Words{"check"});
  EXPECT_TRUE(contains(words({"check", ""}), "rtn"));
  EXPECT_EQ(words({"nonsense", "x"}), Words{});
  EXPECT_EQ(run({"__complete", "li"}), 0);
  EXPECT_EQ(out_, "list\n");
  EXPECT_EQ(run({"__complete"}), 0);
}

}  // namespace
}  // namespace sage
