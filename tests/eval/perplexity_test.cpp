#include "core/eval/perplexity.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "core/model/family.h"
#include "core/model/forward.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/stop.h"
#include "kernels/backends.h"

namespace sage {
namespace {

std::string model_folder(const std::string& name) { return std::string(SAGE_TEST_DATA) + "/hf/" + name; }

struct Expected {
  TokenWindows windows;
  std::vector<double> nll;     // 2 x 47
  std::vector<double> logits;  // 2 x 48 x vocab
  int64_t vocab = 0;
};

// The two sequences that transformers was run on, as two windows.
Expected expected_of(const std::string& name, const Protocol& protocol) {
  const SafetensorsFile file(model_folder(name) + "/expected.safetensors");
  std::vector<int32_t> ids;
  for (int64_t id : file.load_integers("input_ids"))
    ids.push_back(static_cast<int32_t>(id));
  Expected e;
  e.windows = cut_windows(ids, protocol, 0, std::nullopt);
  e.nll = file.load_doubles("nll");
  e.logits = file.load_doubles("logits");
  e.vocab = file.at("logits").shape.at(2);
  return e;
}

class EvalTest : public testing::Test {
 protected:
  void SetUp() override {
    options_.states_folder = testing::TempDir() + "sage_eval_states_" + std::to_string(getpid());
    options_.progress = false;
  }
  void TearDown() override { std::filesystem::remove_all(options_.states_folder); }
  EvalOptions options_;
  std::unique_ptr<Backend> cpu_ = make_backend("cpu");
};

// Neither a folder that cannot be made nor a disk that is full costs more than time.
TEST_F(EvalTest, StatesWithoutACache) {
  const std::string model = model_folder("llama_mha");
  const auto source = open_checkpoint(model);
  const Expected e = expected_of("llama_mha", find_protocol("gptq-48"));
  const FinalStates kept = FinalStates::of(*source, e.windows, *cpu_, options_);
  ASSERT_FALSE(kept.path().empty());
  const auto check = [&](const FinalStates& states) {
    EXPECT_TRUE(states.path().empty());
    for (int64_t w = 0; w < e.windows.count; ++w) {
      const WeightView a = states.window(w), b = kept.window(w);
      ASSERT_EQ(a.rows, b.rows);
      ASSERT_EQ(a.cols, b.cols);
      EXPECT_EQ(std::memcmp(a.data, b.data, sizeof(float) * static_cast<size_t>(a.rows * a.cols)), 0);
    }
    const Reference reference{source.get(), states};
    EXPECT_NEAR(evaluate_perplexity(*source, e.windows, *cpu_, options_, &reference).kl_mean.mean, 0, 1e-9);
  };
  EvalOptions elsewhere = options_;
  elsewhere.states_folder = kept.path() + "/below a file";
  check(FinalStates::of(*source, e.windows, *cpu_, elsewhere));

  elsewhere.states_folder = options_.states_folder + "/full";
  struct rlimit before {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 4096;
  setrlimit(RLIMIT_FSIZE, &small);
  const FinalStates states = FinalStates::of(*source, e.windows, *cpu_, elsewhere);
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  check(states);
  EXPECT_TRUE(std::filesystem::is_empty(elsewhere.states_folder));
}

// A wish to stop is heard between blocks, and leaves no half of the states.
TEST_F(EvalTest, Stops) {
  const auto source = open_checkpoint(model_folder("llama_mha"));
  const Expected e = expected_of("llama_mha", find_protocol("gptq-48"));
  request_stop();
  EXPECT_THROW(FinalStates::of(*source, e.windows, *cpu_, options_), Stopped);
  EXPECT_THROW(evaluate_perplexity(*source, e.windows, *cpu_, options_), Stopped);
  forget_stop();
  EXPECT_TRUE(std::filesystem::is_empty(options_.states_folder));
}

TEST_F(EvalTest, NllOfTinyModels) {
  for (const char* backend : {"cpu", "reference"}) {
    const auto device = make_backend(backend);
    for (const char* name : {"llama_mha", "llama_gqa_tied_bf16", "llama_bias_f16_sharded", "llama_head_dim",
                             "llama_rope_llama3", "llama_rope_linear", "opt", "opt_350m_style"}) {
      const auto source = open_checkpoint(model_folder(name));
      const Expected e = expected_of(name, find_protocol("gptq-48"));
      const PerplexityResult r = evaluate_perplexity(*source, e.windows, *device, options_);
      ASSERT_EQ(r.nll.size(), 2u);
      double mean = 0;
      for (size_t w = 0; w < 2; ++w) {
        double sum = 0;
        for (size_t t = 0; t < 47; ++t)
          sum += e.nll[w * 47 + t];
        EXPECT_NEAR(r.nll[w], sum / 47, 2e-5) << name << " " << backend;
        mean += sum / 94;
      }
      EXPECT_NEAR(r.perplexity / std::exp(mean), 1, 2e-5) << name;
      const double half = std::abs(r.nll[0] - r.nll[1]) / 2;  // standard error of two values
      EXPECT_NEAR(r.standard_error, r.perplexity * half, 1e-9 * r.perplexity);
      EXPECT_EQ(r.scored_tokens, 94);
      EXPECT_EQ(r.model_digest, source->digest());
    }
  }
}

TEST_F(EvalTest, SecondHalfOnly) {
  const auto source = open_checkpoint(model_folder("llama_mha"));
  const Expected e = expected_of("llama_mha", find_protocol("llamacpp-48"));
  const PerplexityResult r = evaluate_perplexity(*source, e.windows, *cpu_, options_);
  double sum = 0, squares = 0;
  for (size_t w = 0; w < 2; ++w) {
    double window = 0;
    for (size_t target = 25; target < 48; ++target) {
      const double v = e.nll[w * 47 + target - 1];
      window += v;
      squares += v * v;
    }
    EXPECT_NEAR(r.nll[w], window / 23, 2e-5);
    sum += window;
  }
  EXPECT_NEAR(std::log(r.perplexity), sum / 46, 2e-5);
  const double mean = sum / 46;
  EXPECT_NEAR(r.token_standard_error / r.perplexity, std::sqrt((squares / 46 - mean * mean) / 45), 1e-5);
}

// Passes over part of the windows give the same bits.
TEST_F(EvalTest, BudgetDoesNotMatter) {
  const auto source = open_checkpoint(model_folder("llama_mha"));
  Expected e = expected_of("llama_mha", find_protocol("gptq-48"));
  std::vector<int32_t> ids;
  for (int i = 0; i < 50; ++i)
    ids.insert(ids.end(), e.windows.ids.begin(), e.windows.ids.end());
  const TokenWindows windows = cut_windows(ids, find_protocol("gptq-48"), 0, std::nullopt);
  const PerplexityResult all = evaluate_perplexity(*source, windows, *cpu_, options_);
  options_.hidden_budget_bytes = 1;
  const PerplexityResult some = evaluate_perplexity(*source, windows, *cpu_, options_);
  EXPECT_EQ(all.nll, some.nll);
  EXPECT_EQ(all.nll.size(), 100u);
}

// KL(P || Q) and agreement, term by term: P from the logits another implementation recorded, Q from plain sums over the head.
TEST_F(EvalTest, DivergenceFromAnotherModel) {
  const Expected e = expected_of("llama_mha", find_protocol("gptq-48"));
  const auto source = open_checkpoint(model_folder("llama_rope_linear"));
  const auto other = open_checkpoint(model_folder("llama_mha"));
  const Reference reference{other.get(), FinalStates::of(*other, e.windows, *cpu_, options_)};
  const PerplexityResult r = evaluate_perplexity(*source, e.windows, *cpu_, options_, &reference);
  const Matrix head = load_head(find_family(source->config()), *source);
  const auto log_softmax = [](std::vector<double> x) {
    const double top = *std::max_element(x.begin(), x.end());
    double sum = 0;
    for (double v : x)
      sum += std::exp(v - top);
    for (double& v : x)
      v -= top + std::log(sum);
    return x;
  };
  const auto likeliest = [](const std::vector<double>& x) { return std::max_element(x.begin(), x.end()) - x.begin(); };
  run_windows(*source, e.windows, *cpu_, options_, [&](int64_t w, WeightView states) {
    double kl = 0;
    int agree = 0;
    for (int64_t t = 0; t < 47; ++t) {
      const double* recorded = e.logits.data() + (w * 48 + t) * e.vocab;
      const auto p = log_softmax({recorded, recorded + e.vocab});
      std::vector<double> logits(static_cast<size_t>(e.vocab));
      for (int64_t v = 0; v < e.vocab; ++v)
        for (int64_t c = 0; c < states.cols; ++c)
          logits[static_cast<size_t>(v)] += double{states(t, c)} * double{head(v, c)};
      const auto q = log_softmax(logits);
      for (size_t v = 0; v < p.size(); ++v)
        kl += std::exp(p[v]) * (p[v] - q[v]);
      agree += likeliest(p) == likeliest(q);
    }
    ASSERT_GT(kl / 47, 1e-3);  // the two models do differ
    EXPECT_NEAR(r.kl.at(static_cast<size_t>(w)) / (kl / 47), 1, 1e-4);
    EXPECT_DOUBLE_EQ(r.top1.at(static_cast<size_t>(w)), agree / 47.0);
  });
  EXPECT_NEAR(r.kl_mean.mean, (r.kl[0] + r.kl[1]) / 2, 1e-12);
}

// Final states have the head's width, which is not the stream's in every model.
TEST_F(EvalTest, StatesOfAModelWithProjections) {
  const auto source = open_checkpoint(model_folder("opt_350m_style"));
  const Expected e = expected_of("opt_350m_style", find_protocol("gptq-48"));
  const FinalStates states = FinalStates::of(*source, e.windows, *cpu_, options_);
  EXPECT_EQ(states.window(1).cols, 32);
  const Reference reference{source.get(), states};
  const PerplexityResult r = evaluate_perplexity(*source, e.windows, *cpu_, options_, &reference);
  EXPECT_TRUE(r.from_states);
  EXPECT_NEAR(r.kl_mean.mean, 0, 1e-9);
  EXPECT_EQ(r.top1_mean.mean, 1.0);
  for (size_t w = 0; w < 2; ++w) {
    double sum = 0;
    for (size_t t = 0; t < 47; ++t)
      sum += e.nll[w * 47 + t];
    EXPECT_NEAR(r.nll[w], sum / 47, 2e-5);
  }
}

TEST_F(EvalTest, RefusesWindowsLongerThanThePositionTable) {
  const auto source = open_checkpoint(model_folder("opt"));
  const std::vector<int32_t> ids(300, 7);
  const TokenWindows windows = cut_windows(ids, find_protocol("gptq-300"), 0, std::nullopt);
  try {
    evaluate_perplexity(*source, windows, *cpu_, options_);
    FAIL() << "no error";
  } catch (const UserError& error) {
    for (const char* part : {"sequences of 300 tokens", "max_position_embeddings = 256", "gptq-256"})
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
  EXPECT_FALSE(std::filesystem::exists(options_.states_folder));
}

TEST_F(EvalTest, StatesAreKeptAndReused) {
  const auto source = open_checkpoint(model_folder("llama_mha"));
  const Expected e = expected_of("llama_mha", find_protocol("llamacpp-48"));
  EXPECT_FALSE(FinalStates::find(*source, e.windows, *cpu_, options_).has_value());
  const PerplexityResult run = evaluate_perplexity(*source, e.windows, *cpu_, options_);
  const Reference reference{source.get(), FinalStates::of(*source, e.windows, *cpu_, options_)};
  const PerplexityResult kept = evaluate_perplexity(*source, e.windows, *cpu_, options_, &reference);
  EXPECT_FALSE(run.from_states);
  EXPECT_TRUE(kept.from_states);
  EXPECT_EQ(run.nll, kept.nll);
  EXPECT_NEAR(kept.kl_mean.mean, 0, 1e-9);
  EXPECT_EQ(kept.top1_mean.mean, 1);
  // Only positions that predict a scored target are kept: 2 windows x 23 x hidden 64.
  EXPECT_EQ(SafetensorsFile(reference.states.path()).payload_bytes(), 2u * 23 * 64 * 4);
  // Other windows, another protocol or another model do not find them.
  EXPECT_FALSE(
      FinalStates::find(*source, expected_of("llama_mha", find_protocol("gptq-48")).windows, *cpu_, options_).has_value());
  const auto other = open_checkpoint(model_folder("llama_rope_linear"));
  EXPECT_FALSE(FinalStates::find(*other, e.windows, *cpu_, options_).has_value());
  // A damaged file is computed again.
  const std::string path = reference.states.path();
  const std::string whole = read_file(path);
  write_file_atomically(path, whole.substr(0, whole.size() / 2));
  EXPECT_FALSE(FinalStates::find(*source, e.windows, *cpu_, options_).has_value());
  FinalStates::of(*source, e.windows, *cpu_, options_);
  EXPECT_EQ(read_file(path), whole);
}

// A folder of the test with llama_mha's weights and another config.json, or further files.
std::string edited_model(const std::string& folder, const std::string& key, const nlohmann::json& value, const std::string& file = "") {
  namespace fs = std::filesystem;
  fs::create_directories(folder);
  fs::copy(model_folder("llama_mha"), folder, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
  auto config = nlohmann::json::parse(read_file(folder + "/config.json"));
  config[key] = value;
  write_file_atomically(folder + "/config.json", config.dump());
  if (!file.empty()) write_file_atomically(folder + "/" + file, "{\"bos_token\": \"<s>\"}");
  return folder;
}

TEST_F(EvalTest, EverythingThatDecidesFinalStatesIsInTheirKey) {
  const std::string edited = options_.states_folder + "-models";
  const auto key = [&](const std::string& folder, const TokenWindows& windows, const Backend& backend) {
    return final_states_key(*open_checkpoint(folder), windows, backend);
  };
  const std::string mha = model_folder("llama_mha");
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};
  const Protocol protocol = find_protocol("gptq-8");
  const TokenWindows windows = cut_windows(ids, protocol, 2, std::nullopt);
  std::map<std::string, std::string> seen = {{key(mha, windows, *cpu_), "as it is"}};
  const auto is_new = [&](const char* what, const std::string& text) {
    const auto [it, fresh] = seen.emplace(text, what);
    EXPECT_TRUE(fresh) << what << " is taken for: " << it->second << "\n" << text;
  };
  is_new("weights", key(model_folder("llama_rope_linear"), windows, *cpu_));
  is_new("config.json", key(edited_model(edited + "/a", "rope_theta", 100.0), windows, *cpu_));
  is_new("tokenizer", key(edited_model(edited + "/b", "rope_theta", 10000.0, "special_tokens_map.json"), windows, *cpu_));
  is_new("backend", key(mha, windows, *make_backend("reference")));
  is_new("number of windows", key(mha, cut_windows(ids, protocol, 1, std::nullopt), *cpu_));
  std::vector<int32_t> other = ids;
  other[3] = 77;
  is_new("ids", key(mha, cut_windows(other, protocol, 2, std::nullopt), *cpu_));
  const std::vector<std::function<void(Protocol&)>> edits = {
      [](Protocol& p) { p.name = "another"; },   [](Protocol& p) { p.window = 9; },
      [](Protocol& p) { p.stride = 4; },         [](Protocol& p) { p.first_scored = 2; },
      [](Protocol& p) { p.bos = BosMode::kOverwriteFirst; }, [](Protocol& p) { p.join = TextJoin::kSpaces; },
      [](Protocol& p) { p.aggregate = Aggregate::kTargets; }};
  for (const auto& edit : edits) {
    TokenWindows w = windows;
    edit(w.protocol);
    is_new("protocol", key(mha, w, *cpu_));
  }
  TokenWindows renamed = windows;
  renamed.text_name = "another name";
  EXPECT_EQ(key(mha, renamed, *cpu_), key(mha, windows, *cpu_));
  EXPECT_EQ(key(edited_model(edited + "/c", "torch_dtype", "bfloat16"), windows, *cpu_), key(mha, windows, *cpu_));
  std::filesystem::remove_all(edited);
}

// Two folders with the same weights are two models where config.json makes them so.
TEST_F(EvalTest, StatesOfAnEditedModelAreItsOwn) {
  const std::string edited = options_.states_folder + "-model";
  const auto source = open_checkpoint(model_folder("llama_mha"));
  const TokenWindows windows = expected_of("llama_mha", find_protocol("gptq-48")).windows;
  FinalStates::of(*source, windows, *cpu_, options_);
  for (const auto& [name, key, value] : {std::tuple{"theta", "rope_theta", 100.0}, {"eps", "rms_norm_eps", 0.05}}) {
    const auto stretched = open_checkpoint(edited_model(edited + name, key, value));
    EXPECT_FALSE(FinalStates::find(*stretched, windows, *cpu_, options_).has_value()) << key;
    const PerplexityResult a = evaluate_perplexity(*source, windows, *cpu_, options_), b = evaluate_perplexity(*stretched, windows, *cpu_, options_);
    EXPECT_TRUE(a.from_states);
    EXPECT_FALSE(b.from_states);
    EXPECT_NE(a.nll, b.nll);
    std::filesystem::remove_all(edited + name);
  }
}

// States of three models of one size and room for two and a half: the least recently used go, but never one that is held.
TEST_F(EvalTest, StatesHaveABudget) {
  namespace fs = std::filesystem;
  const TokenWindows windows = expected_of("llama_mha", find_protocol("llamacpp-48")).windows;
  const auto states = [&](const char* model) {
    return FinalStates::of(*open_checkpoint(model_folder(model)), windows, *cpu_, options_);
  };
  const auto age = [](const std::string& path, int hours) {
    fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(hours));
  };
  std::optional<FinalStates> held = states("llama_mha");
  const std::string oldest = held->path(), older = states("llama_rope_linear").path();
  const std::string foreign = options_.states_folder + "/model.safetensors";
  write_file_atomically(foreign, std::string(100'000, 'x'));
  age(oldest, 3);
  age(older, 2);
  age(foreign, 4);
  options_.states_budget_bytes = fs::file_size(oldest) * 5 / 2;
  const std::string newest = states("llama_rope_llama3").path();
  EXPECT_TRUE(fs::exists(oldest)) << "it is held";
  EXPECT_FALSE(fs::exists(older));
  EXPECT_TRUE(fs::exists(newest));
  EXPECT_TRUE(fs::exists(foreign)) << "it is none of ours";
  const float first = held->window(0)(0, 0);

  // Found again, it counts as used now: the other one goes, once nobody holds either.
  held.reset();
  EXPECT_TRUE(fs::exists(oldest));
  age(newest, 1);
  EXPECT_EQ(states("llama_mha").window(0)(0, 0), first);
  states("llama_rope_linear");
  EXPECT_TRUE(fs::exists(oldest));
  EXPECT_FALSE(fs::exists(newest));

  // What is asked for is there, whatever the budget.
  options_.states_budget_bytes = 1;
  EXPECT_EQ(states("llama_rope_llama3").path(), newest);
  EXPECT_TRUE(fs::exists(newest));
  EXPECT_FALSE(fs::exists(oldest));
}

TEST_F(EvalTest, IdsOutsideTheVocabulary) {
  const auto source = open_checkpoint(model_folder("llama_mha"));
  const TokenWindows w = cut_windows(std::vector<int32_t>(48, 5000), find_protocol("gptq-48"), 0, std::nullopt);
  EXPECT_THROW(evaluate_perplexity(*source, w, *cpu_, options_), ResourceError);
}

// Per-window losses of the default model on WikiText-2, from transformers in FP32.
TEST_F(EvalTest, SmolLm2OnWikiText2) {
  const std::string folder = cache_folder() + "/models/SmolLM2-135M-Instruct";
  if (std::getenv("SAGEPTQ_DATA") == nullptr) GTEST_SKIP() << "SAGEPTQ_DATA is not set";
  if (!std::filesystem::exists(folder + "/model.safetensors"))
    GTEST_SKIP() << folder << " is not there: fetch the default model to run this test";
  const auto protocols =
      nlohmann::json::parse(read_file(std::string(SAGE_TEST_DATA) + "/smollm2/wikitext2.json")).at("protocols");
  const auto source = open_checkpoint(folder);
  const Tokenizer tokenizer = Tokenizer::from_file(folder + "/tokenizer.json");
  const Text text = load_text("wikitext2:test");
  const auto& gptq = protocols.at("gptq-2048");
  const TokenWindows windows = make_windows(tokenizer, text, find_protocol("gptq-2048"), 2);
  EXPECT_EQ(windows.available, gptq.at("windows").get<int64_t>());
  const PerplexityResult r = evaluate_perplexity(*source, windows, *cpu_, options_);
  for (size_t w = 0; w < r.nll.size(); ++w)
    EXPECT_NEAR(r.nll[w] / gptq.at("nll")[w].get<double>(), 1, 1e-3) << w;
  const TokenWindows short_ones = make_windows(tokenizer, text, find_protocol("llamacpp-512"), 4);
  const PerplexityResult l = evaluate_perplexity(*source, short_ones, *cpu_, options_);
  EXPECT_NEAR(l.perplexity / protocols.at("llamacpp-512").at("running_perplexity")[3].get<double>(), 1, 1e-3);
}

}  // namespace
}  // namespace sage
