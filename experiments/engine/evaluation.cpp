#include "experiments/engine/evaluation.h"

#include <cmath>

#include "core/eval/perplexity.h"
#include "core/eval/protocol.h"
#include "core/eval/text.h"
#include "core/model/family.h"
#include "core/model/tokenizer.h"
#include "core/util/errors.h"

namespace sage {

struct Evaluator::Prepared {
  TokenWindows windows;
};

Evaluator::Evaluator(const Backend& backend) : backend_(backend) {}
Evaluator::~Evaluator() = default;

const Evaluator::Prepared& Evaluator::prepare(const EvalSpec& spec, const WeightSource& full_precision) {
  const std::string key = fmt::format("{}\n{}\n{}\n{}", spec.protocol, spec.text, spec.windows, full_precision.folder());
  std::unique_ptr<Prepared>& p = prepared_[key];
  if (!p) {
    // Before hours of quantization, not after them.
    const ModelConfig& config = full_precision.config();
    check_sequence_length(find_family(config), config, find_protocol(spec.protocol).window);
    const Tokenizer tokenizer = Tokenizer::from_folder(full_precision.folder());
    p = std::make_unique<Prepared>(Prepared{make_windows(tokenizer, load_text(spec.text), find_protocol(spec.protocol), spec.windows)});
  }
  return *p;
}

std::string Evaluator::identity_of(const EvalSpec& spec, const WeightSource& full_precision) {
  const TokenWindows& w = prepare(spec, full_precision).windows;
  return fmt::format("eval {} windows {} text {} tokens {} tokenizer {} kl {}", w.protocol.words(), w.count, w.text_digest, w.tokens_digest, w.tokenizer_digest, spec.kl);
}

std::string Evaluator::text_digest_of(const EvalSpec& spec, const WeightSource& full_precision) {
  return prepare(spec, full_precision).windows.text_digest;
}

int64_t Evaluator::tokens_of(const EvalSpec& spec, const WeightSource& full_precision) {
  const TokenWindows& w = prepare(spec, full_precision).windows;
  return w.count * w.protocol.window;
}

void Evaluator::describe(const EvalSpec& spec, const WeightSource& full_precision, RunProvenance& provenance) {
  const TokenWindows& w = prepare(spec, full_precision).windows;
  add_note(w.text_note, provenance);
  if (!provenance.text_name.empty()) return;  // the first evaluation's text; every metric row names its own
  provenance.text_name = w.text_name;
  provenance.text_digest = w.text_digest;
  provenance.tokenizer_digest = w.tokenizer_digest;
}

void Evaluator::evaluate(const EvalSpec& spec, const WeightSource& weights, const WeightSource& full_precision, RunRecord& record) {
  const TokenWindows& w = prepare(spec, full_precision).windows;
  std::optional<Reference> reference;
  if (spec.kl) reference.emplace(Reference{&full_precision, FinalStates::of(full_precision, w, backend_, {})});
  const PerplexityResult r = evaluate_perplexity(weights, w, backend_, {}, reference ? &*reference : nullptr);
  const std::string task = fmt::format("{}@{}", r.protocol.name, r.text_name);
  const std::string words = r.protocol.words();
  record.metrics.push_back({task, kMetricPerplexity, r.perplexity, r.standard_error, r.windows, words});
  if (reference) {
    record.metrics.push_back({task, kMetricKl, r.kl_mean.mean, r.kl_mean.standard_error, r.windows, words});
    record.metrics.push_back({task, kMetricTop1, r.top1_mean.mean, r.top1_mean.standard_error, r.windows, words});
  }
  record.eval.push_back({task, r.nll, r.kl, r.top1});
}

void add_note(const std::string& note, RunProvenance& provenance) {
  std::string& all = provenance.text_note;
  if (note.empty() || all.find(note) != std::string::npos) return;
  all += (all.empty() ? "" : ". ") + note;
}

namespace {
void flatten(const Value& v, const std::string& path, std::vector<ConfigEntry>& out) {
  if (v.is_map()) {
    for (const auto& [key, member] : v.members()) flatten(member, path.empty() ? key : path + "." + key, out);
  } else if (v.is_list()) {
    for (size_t i = 0; i < v.items().size(); ++i) flatten(v.items()[i], fmt::format("{}[{}]", path, i), out);
  } else {
    out.push_back({path, v.is_null() ? "-" : v.text(), v.where().file.empty() ? "default" : v.where().str()});
  }
}
}  // namespace

void flatten_config(const Value& resolved, std::vector<ConfigEntry>& out) { flatten(resolved, "", out); }

}  // namespace sage
