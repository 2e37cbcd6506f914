#include "experiments/engine/experiment.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "core/eval/protocol.h"
#include "core/pipeline/pipeline.h"
#include "core/pipeline/pipeline_config.h"
#include "core/util/errors.h"
#include "experiments/engine/matrix_patterns.h"

namespace sage {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxExtends = 16;  // of one chain: deeper is a mistake

struct TopLevel {
  std::string name, label, about;
  int64_t seed = 0;
  std::vector<std::string> include{"*"}, exclude;
  bool trace = false, keep_packed = false;
};

struct ModelSection {
  std::string path = "default";
};

Schema<TopLevel> top_schema() {
  return Schema<TopLevel>{}
      .add("name", &TopLevel::name, "Name of the experiment; default: the file's.")
      .add("label", &TopLevel::label, "What tables call it; default: the name.")
      .add("about", &TopLevel::about, "One sentence on what it is for.")
      .add("seed", &TopLevel::seed, range(int64_t{0}, std::numeric_limits<int64_t>::max()), "Seed of every random stream.")
      .add("include", &TopLevel::include,
           "Linear layers to quantize, by glob on their full names; each pattern must match one.")
      .add("exclude", &TopLevel::exclude, "Of those, the ones to leave as they are, likewise: ['*down_proj*'].")
      .add("trace", &TopLevel::trace, "Keep what components report about their choices, and the timeline of a device.")
      .add("keep_packed", &TopLevel::keep_packed, "Keep the packed checkpoint beside the run's record.");
}

Schema<ModelSection> model_schema() {
  return Schema<ModelSection>{}.add("path", &ModelSection::path, "Hugging Face folder; `default` = the fetched default model.");
}

Schema<EvalSpec> eval_schema() {
  return Schema<EvalSpec>{}
      .add("protocol", &EvalSpec::protocol, "How windows are cut and scored: gptq-L or llamacpp-L, L tokens per window.")
      .add("text", &EvalSpec::text, "A named text, or a file.")
      .add("windows", &EvalSpec::windows, range(int64_t{0}, int64_t{1} << 40), "Windows scored; 0 = all of the text.")
      .add("kl", &EvalSpec::kl, "Also the divergence from the full-precision model.");
}

const std::vector<std::string> kSections = {"model", "eval", "calibration", "pipeline"};
const std::vector<std::string> kComposition = {"extends", "sweep"};

bool is_path(const std::string& text) {
  return text.find('/') != std::string::npos || text.ends_with(".yaml") || text.ends_with(".yml");
}

// The folder relative paths of this node are meant from: its file's, or none for --set and defaults.
fs::path folder_of(const Value& v) { return v.where().line > 0 ? fs::path(v.where().file).parent_path() : fs::path(); }

std::string anchored(const std::string& path, const Value& written) {
  if (path.empty() || fs::path(path).is_absolute()) return path;
  const fs::path folder = folder_of(written);
  return folder.empty() ? path : (folder / path).lexically_normal().string();
}

void merge_layer(Value& base, const Value& over) {
  merge_into(base, over);
  if (Value* pipeline = base.find("pipeline")) expand_bare_names(*pipeline);
}

Value load_layers(const std::string& path, std::vector<std::string>& chain);

// What `extends: a` or `extends: [a, b]` brings in, without names: they belong to the parent.
Value load_parents(const Value& extends, std::vector<std::string>& chain) {
  if (extends.is_map() || (extends.is_list() && extends.items().empty()) || extends.is_null())
    throw UserError("{}: found {} for extends; expected a preset or a file, or a list of them", extends.where().str(),
                    extends.is_map() ? "a map" : "nothing");
  Value merged = Value::map(extends.where());
  const std::vector<Value> one{extends};
  for (const Value& e : extends.is_list() ? extends.items() : one) {
    if (!e.is_scalar() || e.text().empty())
      throw UserError("{}: an entry of extends is not a name; expected a preset or a file", e.where().str());
    std::string path;
    try {
      path = is_path(e.text()) ? anchored(e.text(), e) : find_preset(e.text());
      if (!fs::exists(path)) throw UserError("no such file: {}", path);
    } catch (const UserError& error) {
      throw UserError("{}: extends '{}': {}", e.where().str(), e.text(), error.what());
    }
    Value parent = load_layers(path, chain);
    for (const char* own : {"name", "label", "about"})
      parent.erase(own);
    merge_layer(merged, parent);
  }
  return merged;
}

Value load_layers(const std::string& path, std::vector<std::string>& chain) {
  const std::string id = fs::weakly_canonical(path).string();
  if (std::find(chain.begin(), chain.end(), id) != chain.end())
    throw UserError("{}: extends itself, through {} file(s); expected a chain that ends", path, chain.size());
  if (static_cast<int>(chain.size()) >= kMaxExtends)
    throw UserError("{}: extends a chain of more than {} files; expected a shorter one", path, kMaxExtends);
  Value own = parse_yaml_file(path);
  if (own.is_null()) own = Value::map({path, 1, 1});
  if (!own.is_map())
    throw UserError("{}: not an experiment; expected a map with keys such as name, extends, pipeline", own.where().str());
  Value root = Value::map(own.where());
  if (const Value* extends = own.find("extends")) {
    chain.push_back(id);
    root = load_parents(*extends, chain);
    chain.pop_back();
    own.erase("extends");
  }
  root.set_where(own.where());
  merge_layer(root, own);
  return root;
}

// Gives every member of a printed section the origin of what was written.
Value with_origins(Value printed, const Value* written) {
  if (written == nullptr) return printed;
  printed.set_where(written->where());
  for (auto& [key, member] : printed.members())
    if (const Value* given = written->find(key)) {
      member.set_where(given->where());
      member.set_key_where(given->key_where());
      for (size_t i = 0; given->is_list() && member.is_list() && i < std::min(given->items().size(), member.items().size()); ++i)
        member.items()[i].set_where(given->items()[i].where());
    }
  return printed;
}

std::string default_name(const std::string& source) { return is_path(source) ? fs::path(source).stem().string() : source; }

}  // namespace

bool Experiment::selects(const std::string& matrix_name) const {
  const auto matches = [&](const std::string& glob) { return matches_pattern(glob, matrix_name); };
  return std::any_of(include.begin(), include.end(), matches) && std::none_of(exclude.begin(), exclude.end(), matches);
}

Value identity(const Experiment& experiment) {
  Value v = experiment.resolved;
  for (const char* key : {"name", "label", "about", "model", "calibration"})
    v.erase(key);
  if (experiment.calibrates) v.set("calibration", calibration_identity(experiment.calibration));
  if (Value* eval = v.find("eval"))
    for (Value& entry : eval->items())
      entry.erase("text");
  return v;
}

std::vector<std::string> preset_folders() {
  std::vector<std::string> folders;
  if (const char* list = std::getenv("SAGEPTQ_PRESETS"); list != nullptr) {
    std::string rest = list;
    while (!rest.empty()) {
      const size_t colon = rest.find(':');
      if (colon != 0) folders.push_back(rest.substr(0, colon));
      rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    }
  }
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) folders.push_back((program.parent_path().parent_path() / "share" / "sage-ptq" / "presets").string());
  folders.push_back(SAGE_PRESETS_SOURCE);  // a program run from its build tree wants its own, not an older installation's
  folders.push_back(SAGE_PRESETS_INSTALLED);
  return folders;
}

std::vector<PresetInfo> list_presets() {
  std::vector<PresetInfo> out;
  for (const std::string& folder : preset_folders()) {
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      if (it->path().extension() != ".yaml") continue;
      const std::string name = it->path().stem().string();
      if (std::any_of(out.begin(), out.end(), [&](const PresetInfo& p) { return p.name == name; })) continue;
      out.push_back({name, it->path().string(), ""});
    }
  }
  for (PresetInfo& p : out) {
    try {
      const Value root = parse_yaml_file(p.path);
      if (const Value* about = root.find("about"); about != nullptr && about->is_scalar()) p.about = about->text();
    } catch (const Error& e) {
      p.about = fmt::format("cannot be read: {}", e.what());
    }
  }
  std::sort(out.begin(), out.end(), [](const PresetInfo& a, const PresetInfo& b) { return a.name < b.name; });
  return out;
}

std::string find_preset(const std::string& name) {
  if (!name.empty() && name.find('/') == std::string::npos && name[0] != '.')
    for (const std::string& folder : preset_folders()) {
      const fs::path path = fs::path(folder) / (name + ".yaml");
      std::error_code error;
      if (fs::is_regular_file(path, error)) return path.string();
    }
  std::vector<std::string> names;
  std::string all;
  for (const PresetInfo& p : list_presets()) {
    names.push_back(p.name);
    all += (all.empty() ? "" : ", ") + p.name;
  }
  const std::string near = nearest_name(name, names);
  throw UserError("unknown preset '{}'; expected one of: {}, or the path of a .yaml file{}", name,
                  all.empty() ? "(none found)" : all, near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
}

Value load_extended(const Value& extends) {
  std::vector<std::string> chain;
  return load_parents(extends, chain);
}

void sort_assignments(std::vector<std::pair<std::string, Value>>& assignments) {
  const auto rank = [](const std::string& path) {
    const auto depth = std::count(path.begin(), path.end(), '.');
    return std::pair(depth, !path.ends_with(".type"));
  };
  std::stable_sort(assignments.begin(), assignments.end(),
                   [&](const auto& a, const auto& b) { return rank(a.first) < rank(b.first); });
}

void apply_overrides(Value& root, const std::vector<std::pair<std::string, Value>>& overrides) {
  for (const auto& [path, value] : overrides) {
    set_path(root, path, value);
    if (Value* pipeline = root.find("pipeline")) expand_bare_names(*pipeline);
  }
}

LoadedExperiment load_experiment(const std::string& file_or_preset, const std::vector<std::string>& overrides) {
  LoadedExperiment loaded;
  loaded.source = file_or_preset;
  std::vector<std::string> chain;
  loaded.root = load_layers(is_path(file_or_preset) ? file_or_preset : find_preset(file_or_preset), chain);
  std::vector<std::pair<std::string, Value>> of_sweep;
  for (const std::string& text : overrides) {
    auto [path, value] = parse_override(text);
    if (path == "extends" || path.starts_with("extends."))
      throw UserError("--set {}: extends cannot be set from outside; expected another preset or file as the argument", text);
    auto& list = path == "sweep" || path.starts_with("sweep.") ? of_sweep : loaded.overrides;
    list.emplace_back(std::move(path), std::move(value));
  }
  sort_assignments(of_sweep);
  sort_assignments(loaded.overrides);
  apply_overrides(loaded.root, of_sweep);
  return loaded;
}

Experiment resolve(const Value& root, const std::string& source, const Registries& registries) {
  std::vector<std::string> others = kSections;
  others.insert(others.end(), kComposition.begin(), kComposition.end());
  TopLevel top = top_schema().parse(root, "the experiment", others);
  if (top.name.empty()) top.name = default_name(source);
  if (top.label.empty()) top.label = top.name;

  Experiment e;
  e.source = source;
  e.name = top.name;
  e.label = top.label;
  e.about = top.about;
  e.seed = top.seed;
  e.include = top.include;
  e.exclude = top.exclude;
  e.trace = top.trace;
  e.keep_packed = top.keep_packed;
  e.resolved = with_origins(top_schema().print(top), &root);

  const Value* model = root.find("model");
  ModelSection m = model_schema().parse(model == nullptr ? Value::null() : *model, "model");
  const Value* path = model == nullptr ? nullptr : model->find("path");
  if (path != nullptr && m.path != "default") m.path = anchored(m.path, *path);
  e.model_path = m.path;
  e.resolved.set("model", with_origins(model_schema().print(m), model));

  Value eval = Value::list();
  if (const Value* written = root.find("eval"); written != nullptr) {
    if (!written->is_list()) config_detail::fail_not_a_list(*written, "eval");
    eval.set_where(written->where());
    for (const Value& entry : written->items()) {
      EvalSpec spec = eval_schema().parse(entry, "eval");
      try {
        find_protocol(spec.protocol);
      } catch (const UserError& error) {
        const Value* written_protocol = entry.find("protocol");
        throw UserError("{}: eval: {}", (written_protocol == nullptr ? entry : *written_protocol).where().str(), error.what());
      }
      const Value* text = entry.find("text");
      if (text != nullptr && spec.text.find('/') != std::string::npos) spec.text = anchored(spec.text, *text);
      eval.items().push_back(with_origins(eval_schema().print(spec), &entry));
      e.eval.push_back(std::move(spec));
    }
  } else {
    e.eval.emplace_back();
    eval.items().push_back(eval_schema().print(e.eval.back()));
  }
  e.resolved.set("eval", std::move(eval));

  const Value* pipeline = root.find("pipeline");
  if (pipeline == nullptr)
    throw UserError("{}: no pipeline; expected `pipeline: {{...}}`, `extends: PRESET`, or `pipeline: none` for full precision",
                    root.where().str());
  e.pipeline = canonical_pipeline(*pipeline, registries);
  e.calibrates = !is_full_precision(e.pipeline) && PipelineFactory(e.pipeline, registries).needs_calibration();
  const Value* calibration = root.find("calibration");
  e.calibration = parse_calibration(calibration == nullptr ? Value::null() : *calibration);
  if (calibration != nullptr)
    if (const Value* dataset = calibration->find("dataset"); dataset != nullptr && e.calibration.dataset.find('/') != std::string::npos)
      e.calibration.dataset = anchored(e.calibration.dataset, *dataset);
  if (e.calibrates) e.resolved.set("calibration", with_origins(calibration_schema().print(e.calibration), calibration));
  e.resolved.set("pipeline", e.pipeline);
  return e;
}

Experiment resolve_experiment(const std::string& file_or_preset, const std::vector<std::string>& overrides,
                              const Registries& registries) {
  LoadedExperiment loaded = load_experiment(file_or_preset, overrides);
  if (const Value* sweep = loaded.root.find("sweep"); sweep != nullptr && !sweep->is_null())
    throw UserError("{}: this experiment has a sweep; expected one without; use `sageptq sweep {}`", sweep->key_where().str(),
                    file_or_preset);
  apply_overrides(loaded.root, loaded.overrides);
  return resolve(loaded.root, loaded.source, registries);
}

std::vector<std::pair<std::string, std::vector<ParamInfo>>> experiment_parameters() {
  return {{"experiment", top_schema().info()},
          {"model", model_schema().info()},
          {"eval", eval_schema().info()},
          {"calibration", calibration_schema().info()},
          {"pipeline", pipeline_parameters()}};
}

}  // namespace sage
