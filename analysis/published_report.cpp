#include "analysis/published_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "analysis/report.h"
#include "analysis/seeds.h"
#include "core/util/errors.h"
#include "results/coverage.h"

namespace sage {
namespace {

using Cell = Table::Cell;

Cell text_or_nothing(const std::string& s) { return s.empty() ? Cell() : Cell(s); }

// One perplexity of one of our runs (or of the mean over its seeds).
struct Ours {
  const SelectedRun* run = nullptr;
  const MetricRow* metric = nullptr;
  std::string model;        // published name, or ""
  std::string text;         // "WikiText-2", or the text's own name
  std::string protocol;     // its name
  bool comparable = false;  // model, text and protocol are those of published figures
  std::vector<const PublishedMethod*> methods;
};

// "gptq-2048@WikiText-2 raw test" -> the name figures use, or the text's own.
std::string text_of(const std::string& task, bool& known) {
  const size_t at = task.find('@');
  const std::string name = at == std::string::npos ? "" : task.substr(at + 1);
  std::string letters;
  for (const char c : name)
    if (const auto u = static_cast<unsigned char>(c); std::isalnum(u)) letters += static_cast<char>(std::tolower(u));
  const auto has = [&](const char* word) { return letters.find(word) != std::string::npos; };
  known = !has("train") && !has("calibration");
  if (known && !has("valid") && (has("wikitext2") || letters.starts_with("wikitest"))) return kPublishedText;
  if (known && letters.starts_with("c4")) return "C4";
  if (known && !has("valid") && letters.starts_with("ptb")) return "PTB";
  known = false;
  return name;
}

std::string model_of(const RunRecord& r) {
  return r.provenance.model_name.empty() ? r.provenance.model_path : r.provenance.model_name;
}

double metric_value(const RunRecord& r, const std::string& metric, const std::string& task) {
  const MetricRow* m = find_metric(r, metric, task);
  return m == nullptr ? kNotMeasured : m->value;
}

// What the figures used say about themselves: sources once, then their cautions.
class Footnotes {
 public:
  explicit Footnotes(const Published& p) : published_(p) {}
  void use(const PublishedFigure& f) {
    sources_.insert(f.source);
    if (f.note.empty()) return;
    const std::string line = fmt::format("{}, {}: {}", published_.sources[f.source].name, f.method, f.note);
    if (std::find(notes_.begin(), notes_.end(), line) == notes_.end()) notes_.push_back(line);
  }
  std::string text() const {
    std::string out;
    for (const size_t s : sources_)
      out += fmt::format("{}{}", out.empty() ? "Sources: " : "; ", published_.sources[s].title);
    if (!out.empty()) out += ".\n";
    for (const size_t s : sources_)
      for (const std::string& n : published_.sources[s].notes)
        out += fmt::format("{}: {}\n", published_.sources[s].name, n);
    for (const std::string& n : notes_)
      out += n + '\n';
    return out;
  }

 private:
  const Published& published_;
  std::set<size_t> sources_;
  std::vector<std::string> notes_;
};

std::string names_of(const std::vector<PublishedModel>& models) {
  std::string out;
  for (const PublishedModel& m : models)
    out += (out.empty() ? "" : ", ") + m.name;
  return out;
}

// A table from which columns that say the same in every row are left out.
Table without_columns(const Table& table, const std::vector<size_t>& dropped) {
  const auto kept = [&](size_t c) { return std::find(dropped.begin(), dropped.end(), c) == dropped.end(); };
  std::vector<Table::Column> heads;
  for (size_t c = 0; c < table.columns().size(); ++c)
    if (kept(c)) heads.push_back(table.columns()[c]);
  Table out(heads);
  for (const auto& row : table.rows()) {
    std::vector<Cell> cells;
    for (size_t c = 0; c < row.size(); ++c)
      if (kept(c)) cells.push_back(row[c]);
    out.add_row(std::move(cells));
  }
  return out;
}

bool one_text(const Table& table, size_t column) {
  return std::all_of(table.rows().begin(), table.rows().end(),
                     [&](const auto& row) { return row[column].text == table.rows()[0][column].text; });
}

class Comparison {
 public:
  Comparison(const Published& published, const std::vector<SelectedRun>& merged)
      : published_(published), footnotes_(published) {
    for (const SelectedRun& run : merged)
      if (run.record && run.record->complete())
        add_run(run);
      else if (run.pending)
        ++pending_;
      else
        problems_ += fmt::format("{}: {}\n", run.label, run.record ? "failed: " + run.record->failure.message : run.problem);
  }

  Table table() {
    std::vector<std::string> models;  // in the order of models.yaml, then those without figures
    for (const PublishedModel& m : published_.models)
      if (std::any_of(ours_.begin(), ours_.end(), [&](const Ours& o) { return o.model == m.name; })) models.push_back(m.name);
    for (const std::string& model : models)
      add_model(model);
    for (const Ours& o : ours_)
      if (o.model.empty()) add_alone(o, model_of(*o.run->record));

    const bool same_model = one_text(table_, kModel), same_text = one_text(table_, kText);
    std::vector<size_t> dropped;
    std::string caption;
    if (!table_.rows().empty() && same_model) {
      dropped.push_back(kModel);
      caption += fmt::format("Model: {}. ", *table_.rows()[0][kModel].text);
    }
    if (!table_.rows().empty() && same_text && table_.rows()[0][kText].text) {
      dropped.push_back(kText);
      caption += fmt::format("Text: {}. ", *table_.rows()[0][kText].text);
    }
    caption +=
        "Perplexity. published: by the method's own authors; rerun: least and largest of the runs by others, with the number "
        "of "
        "sources; ours: ± is one standard error over windows, the mean where there are several seeds.\n";
    caption += why_ + problems_;
    if (pending_ > 0) caption += fmt::format("{} point{} not run yet.\n", pending_, pending_ == 1 ? "" : "s");
    caption += footnotes_.text();
    if (caption.ends_with('\n')) caption.pop_back();
    Table out = without_columns(table_, dropped);
    out.set_caption(caption);
    return out;
  }

 private:
  static constexpr size_t kModel = 0, kText = 1;

  void add_run(const SelectedRun& run) {
    const RunRecord& r = *run.record;
    const std::string model = published_.model_named(model_of(r));
    if (model.empty())
      say(fmt::format("No published numbers are known for {}; known: {}.", model_of(r), names_of(published_.models)));
    for (const MetricRow& m : r.metrics) {
      if (m.metric != kMetricPerplexity) continue;
      Ours o;
      o.run = &run, o.metric = &m, o.model = model;
      bool known_text = false;
      o.text = text_of(m.task, known_text);
      o.protocol = m.task.substr(0, m.task.find('@'));
      const bool known_protocol = std::any_of(published_.sources.begin(), published_.sources.end(),
                                              [&](const PublishedSource& s) { return s.protocol == o.protocol; });
      o.comparable = !model.empty() && known_text && known_protocol;
      if (!model.empty() && !known_text)
        say(fmt::format("Ours on {} is beside nothing: the sources did not use that text.", o.text));
      if (!model.empty() && known_text && !known_protocol)
        say(fmt::format("Ours under {} is beside nothing: the sources used another protocol.", o.protocol));
      o.methods = published_.methods_of(r);
      if (o.comparable) describe_limits(o);
      ours_.push_back(std::move(o));
    }
  }

  // Where a run of the right method is still not the published experiment.
  void describe_limits(const Ours& o) {
    const RunRecord& r = *o.run->record;
    std::string dataset, samples, length;
    bool partial = false;
    for (const ConfigEntry& e : r.config) {
      if (e.path.starts_with("eval[") && e.path.ends_with("].windows")) partial = partial || e.value != "0";
      if (e.path == "calibration.dataset") dataset = e.value;
      if (e.path == "calibration.samples") samples = e.value;
      if (e.path == "calibration.length_tokens") length = e.value;
    }
    if (partial) say(fmt::format("Ours, {}: {} windows, not the whole text.", o.run->label, o.metric->n));
    const bool calibrated =
        std::any_of(r.timing.begin(), r.timing.end(), [](const StageRow& s) { return s.stage == "calibrate"; });
    if (calibrated)
      say(fmt::format(
          "Ours is calibrated on {}, {} samples of {} tokens; the sources on 128 of 2048 from the first shard of C4 "
          "unless they say otherwise.",
          dataset, samples, length));
    if (r.numerics == "reference")
      say(fmt::format("Ours, {}: decoded with FP32 parameters, as the released code is.", o.run->label));
  }

  void say(const std::string& line) {
    if (why_.find(line + '\n') == std::string::npos) why_ += line + '\n';
  }

  void add_model(const std::string& model) {
    std::vector<std::string> texts{kPublishedText};
    for (const Ours& o : ours_)
      if (o.model == model && o.comparable && std::find(texts.begin(), texts.end(), o.text) == texts.end())
        texts.push_back(o.text);
    std::set<const Ours*> shown;
    for (const std::string& text : texts)
      for (const PublishedMethod& method : published_.methods) {
        std::vector<const PublishedFigure*> figures;
        for (const PublishedFigure& f : published_.figures)
          if (f.model == model && f.text == text && f.method == method.name) figures.push_back(&f);
        if (figures.empty()) continue;
        bool any = false;
        for (const Ours& o : ours_) {
          const bool is = o.model == model && o.comparable && o.text == text &&
                          std::find(o.methods.begin(), o.methods.end(), &method) != o.methods.end();
          if (!is) continue;
          add_row(model, text, method.name, figures, &o);
          shown.insert(&o);
          any = true;
        }
        if (!any) add_row(model, text, method.name, figures, nullptr);
      }
    for (const Ours& o : ours_)
      if (o.model == model && shown.count(&o) == 0) add_alone(o, model);
  }

  void add_alone(const Ours& o, const std::string& model) {
    const bool other_protocol = std::none_of(published_.sources.begin(), published_.sources.end(),
                                             [&](const PublishedSource& s) { return s.protocol == o.protocol; });
    add_row(model, other_protocol ? fmt::format("{} ({})", o.text, o.protocol) : o.text,
            o.methods.empty() ? "" : o.methods[0]->name, {}, &o);
  }

  void add_row(const std::string& model, const std::string& text, const std::string& method,
               const std::vector<const PublishedFigure*>& figures, const Ours* ours) {
    double by_authors = kNotMeasured, least = kNotMeasured, largest = kNotMeasured, claimed = kNotMeasured;
    int reruns = 0;
    for (const PublishedFigure* f : figures) {
      footnotes_.use(*f);
      const bool by_its_authors = f->ran_by == RanBy::kAuthors;
      if (std::isnan(claimed) || by_its_authors) claimed = std::isnan(f->claimed_bits) ? claimed : f->claimed_bits;
      if (by_its_authors) by_authors = f->perplexity;
      if (f->ran_by != RanBy::kOthers) continue;
      least = std::isnan(least) ? f->perplexity : std::min(least, f->perplexity);
      largest = std::isnan(largest) ? f->perplexity : std::max(largest, f->perplexity);
      ++reruns;
    }
    std::vector<Cell> cells{text_or_nothing(model),  text_or_nothing(text),
                            text_or_nothing(method), Cell(claimed),
                            Cell(by_authors),        Cell(least),
                            Cell(largest),           reruns > 0 ? Cell(static_cast<double>(reruns)) : Cell()};
    if (ours == nullptr) {
      cells.resize(table_.columns().size());
    } else {
      const RunRecord& r = *ours->run->record;
      const std::string share = matrices_quantized(r);
      cells.emplace_back(ours->run->label + (share.empty() ? "" : fmt::format(" ({} matrices)", share)));
      cells.emplace_back(ours->metric->value, ours->metric->standard_error);
      cells.emplace_back(metric_value(r, kSpreadOfPerplexity, ours->metric->task));
      cells.emplace_back(static_cast<double>(ours->run->count));
      cells.emplace_back(r.storage.paper_bits);
      cells.emplace_back(r.storage.stored_bits);
    }
    table_.add_row(std::move(cells));
  }

  const Published& published_;
  Footnotes footnotes_;
  std::vector<Ours> ours_;
  std::string why_, problems_;
  size_t pending_ = 0;
  Table table_{{{"model"},
                {"text"},
                {"method"},
                {"claimed bits", true, 3},
                {"published", true, 2},
                {"rerun min", true, 2},
                {"rerun max", true, 2},
                {"reruns", true, 0},
                {"our run"},
                {"ours", true, 2},
                {"sd over seeds", true, 2},
                {"seeds", true, 0},
                {"our paper bits", true, 3},
                {"our stored bits", true, 3}}};
};

}  // namespace

Table make_published_table(const Published& published, const std::string& model) {
  const std::string known = model == "all" ? "" : published.model_named(model);
  if (model != "all" && known.empty())
    throw UserError("--published-only: found model '{}'; expected all or one of: {}; name one of them", model,
                    names_of(published.models));
  Table table(
      {{"model"}, {"text"}, {"method"}, {"claimed bits", true, 3}, {"perplexity", true, 2}, {"run by"}, {"source"}, {"table"}});
  Footnotes footnotes(published);
  for (const PublishedModel& m : published.models) {
    if (!known.empty() && m.name != known) continue;
    for (const PublishedMethod& method : published.methods)
      for (const PublishedFigure& f : published.figures) {
        if (f.model != m.name || f.method != method.name) continue;
        footnotes.use(f);
        table.add_row({f.model, f.text, f.method, f.claimed_bits, f.perplexity, ran_by_name(f.ran_by),
                       published.sources[f.source].name, text_or_nothing(f.table)});
      }
  }
  std::string caption = "Published perplexities, windows of 2048 tokens as GPTQ evaluates.\n" + footnotes.text();
  if (caption.ends_with('\n')) caption.pop_back();
  table.set_caption(caption);
  return table;
}

Table make_published_comparison(const Published& published, const std::vector<SelectedRun>& runs) {
  const std::vector<SelectedRun> merged = merge_seeds(runs);
  return Comparison(published, merged).table();
}

}  // namespace sage
