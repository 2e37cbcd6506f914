#include "analysis/published.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include "analysis/shipped.h"
#include "core/config/schema.h"
#include "core/config/value.h"
#include "core/util/errors.h"

namespace sage {

namespace fs = std::filesystem;

namespace {

constexpr const char* kTexts[] = {kPublishedText, "C4", "PTB"};
constexpr const char* kAbsent = "absent";
constexpr const char* kAny = "any";

void check_keys(const Value& map, const std::string& section, const std::vector<std::string>& known) {
  if (!map.is_map()) config_detail::fail_not_a_map(map, section);
  for (const auto& [key, value] : map.members())
    if (std::find(known.begin(), known.end(), key) == known.end()) config_detail::fail_unknown_key(value, key, section, known);
}

const Value& need(const Value& map, const std::string& key, const std::string& section) {
  const Value* v = map.find(key);
  if (v == nullptr) throw UserError("{}: {} without `{}`; expected it; add it", map.where().str(), section, key);
  return *v;
}

std::string text_at(const Value& map, const std::string& key) {
  const Value* v = map.find(key);
  return v == nullptr ? std::string() : config_detail::parse_text(*v, key);
}

const std::vector<Value>& list_at(const Value& map, const std::string& key) {
  static const std::vector<Value> none;
  const Value* v = map.find(key);
  if (v == nullptr) return none;
  if (!v->is_list()) config_detail::fail_not_a_list(*v, key);
  return v->items();
}

std::vector<std::string> texts_at(const Value& map, const std::string& key) {
  std::vector<std::string> out;
  for (const Value& v : list_at(map, key))
    out.push_back(config_detail::parse_text(v, key));
  return out;
}

std::vector<std::pair<std::string, std::string>> settings_at(const Value& map, const std::string& key) {
  std::vector<std::pair<std::string, std::string>> out;
  const Value* v = map.find(key);
  if (v == nullptr) return out;
  if (!v->is_map()) config_detail::fail_not_a_map(*v, key);
  for (const auto& [path, value] : v->members())
    out.emplace_back(path, config_detail::parse_text(value, path));
  return out;
}

double positive(const Value& v, const std::string& key) {
  const double x = config_detail::parse_double(v, key);
  if (!(x > 0)) config_detail::fail_range(v, key, "above 0");
  return x;
}

template <class T>
void expect_known(const Value& where, const char* what, const std::string& name, const std::vector<T>& known) {
  std::vector<std::string> names;
  for (const T& k : known)
    names.push_back(k.name);
  if (std::find(names.begin(), names.end(), name) != names.end()) return;
  const std::string near = nearest_name(name, names);
  throw UserError("{}: found {} '{}'; expected one of {}{}", where.where().str(), what, name, fmt::join(names, ", "),
                  near.empty() ? "; correct the spelling" : fmt::format("; did you mean '{}'?", near));
}

RanBy parse_ran_by(const Value& v) {
  std::vector<std::string> names;
  for (const RanBy who : {RanBy::kAuthors, RanBy::kOthers, RanBy::kCopied}) {
    names.emplace_back(ran_by_name(who));
    if (config_detail::parse_text(v, "ran_by") == names.back()) return who;
  }
  config_detail::fail_choice(v, "ran_by", names);
}

void read_models(const std::string& path, Published& out) {
  const Value root = parse_yaml_file(path);
  check_keys(root, "models.yaml", {"models", "not"});
  for (const Value& v : list_at(root, "models")) {
    check_keys(v, "a model", {"name", "patterns"});
    out.models.push_back({config_detail::parse_text(need(v, "name", "a model"), "name"), texts_at(v, "patterns")});
  }
  out.other_models = texts_at(root, "not");
}

void read_methods(const std::string& path, Published& out) {
  const Value root = parse_yaml_file(path);
  check_keys(root, "methods.yaml", {"methods"});
  for (const Value& v : list_at(root, "methods")) {
    check_keys(v, "a method", {"name", "preset", "set", "like", "match", "full_precision"});
    PublishedMethod m;
    m.name = config_detail::parse_text(need(v, "name", "a method"), "name");
    m.preset = config_detail::parse_text(need(v, "preset", "a method"), "preset");
    m.set = settings_at(v, "set");
    if (const Value* like = v.find("like")) {
      const std::string name = config_detail::parse_text(*like, "like");
      expect_known(*like, "method", name, out.methods);
      m.match = std::find_if(out.methods.begin(), out.methods.end(), [&](const auto& o) { return o.name == name; })->match;
    }
    for (const auto& setting : settings_at(v, "match")) {
      const auto at =
          std::find_if(m.match.begin(), m.match.end(), [&](const auto& known) { return known.first == setting.first; });
      if (at == m.match.end())
        m.match.push_back(setting);
      else
        at->second = setting.second;
    }
    std::erase_if(m.match, [](const auto& s) { return s.second == kAny; });
    if (const Value* full = v.find("full_precision")) m.full_precision = config_detail::parse_bool(*full, "full_precision");
    if (m.full_precision != m.match.empty())
      throw UserError("{}: method '{}' must either be full precision or have settings to match; add `match`", v.where().str(),
                      m.name);
    out.methods.push_back(std::move(m));
  }
}

void read_source(const std::string& path, Published& out) {
  const Value root = parse_yaml_file(path);
  check_keys(root, "a source", {"source", "title", "protocol", "notes", "figures"});
  PublishedSource source;
  source.name = config_detail::parse_text(need(root, "source", "a source"), "source");
  source.title = config_detail::parse_text(need(root, "title", "a source"), "title");
  source.protocol = config_detail::parse_text(need(root, "protocol", "a source"), "protocol");
  source.notes = texts_at(root, "notes");
  std::set<std::tuple<std::string, std::string, std::string>> seen;
  for (const Value& v : list_at(root, "figures")) {
    check_keys(v, "a figure", {"method", "ran_by", "table", "text", "claimed_bits", "note", "perplexity"});
    PublishedFigure f;
    f.source = out.sources.size();
    const Value& method = need(v, "method", "a figure");
    f.method = config_detail::parse_text(method, "method");
    expect_known(method, "method", f.method, out.methods);
    f.ran_by = parse_ran_by(need(v, "ran_by", "a figure"));
    if (const Value* text = v.find("text")) {
      f.text = config_detail::parse_text(*text, "text");
      if (std::find(std::begin(kTexts), std::end(kTexts), f.text) == std::end(kTexts))
        config_detail::fail_choice(*text, "text", {std::begin(kTexts), std::end(kTexts)});
    }
    f.table = text_at(v, "table");
    f.note = text_at(v, "note");
    if (const Value* bits = v.find("claimed_bits")) f.claimed_bits = positive(*bits, "claimed_bits");
    const Value& perplexity = need(v, "perplexity", "a figure");
    if (!perplexity.is_map()) config_detail::fail_not_a_map(perplexity, "perplexity");
    for (const auto& [model, value] : perplexity.members()) {
      expect_known(value, "model", model, out.models);
      if (!seen.emplace(f.method, model, f.text).second)
        throw UserError("{}: a second figure for {}, {} on {}; expected one per source; remove one", value.where().str(),
                        f.method, model, f.text);
      f.model = model;
      f.perplexity = positive(value, model);
      out.figures.push_back(f);
    }
  }
  out.sources.push_back(std::move(source));
}

// "models--facebook--OPT_1.3b" -> "-models-facebook-opt-1.3b-"
std::string dashed(const std::string& name) {
  std::string out = "-";
  for (const char c : name) {
    const auto u = static_cast<unsigned char>(c);
    if (std::isalnum(u) || c == '.')
      out += static_cast<char>(std::tolower(u));
    else if (out.back() != '-')
      out += '-';
  }
  if (out.back() != '-') out += '-';
  return out;
}

bool equal_values(const std::string& a, const std::string& b) {
  if (a == b) return true;
  double x = 0, y = 0;
  const auto [ex, errx] = std::from_chars(a.data(), a.data() + a.size(), x);
  const auto [ey, erry] = std::from_chars(b.data(), b.data() + b.size(), y);
  return errx == std::errc() && erry == std::errc() && ex == a.data() + a.size() && ey == b.data() + b.size() && x == y;
}

}  // namespace

const char* ran_by_name(RanBy who) {
  switch (who) {
    case RanBy::kAuthors: return "authors";
    case RanBy::kCopied: return "copied";
    case RanBy::kOthers: break;
  }
  return "others";
}

std::string Published::model_named(const std::string& name) const {
  const std::string n = dashed(name);
  const auto has = [&](const std::string& word) { return n.find("-" + word + "-") != std::string::npos; };
  if (std::any_of(other_models.begin(), other_models.end(), has)) return "";
  for (const PublishedModel& m : models)
    if (dashed(m.name) == n || std::any_of(m.patterns.begin(), m.patterns.end(), has)) return m.name;
  return "";
}

std::vector<const PublishedMethod*> Published::methods_of(const RunRecord& run) const {
  std::map<std::string, std::string> config;
  bool whole = true;
  for (const ConfigEntry& e : run.config) {
    config[e.path] = e.value;
    if (e.path.starts_with("exclude[") || e.path.starts_with("pipeline.alternatives[")) whole = false;
    if (e.path.starts_with("include[") && e.value != "*") whole = false;
  }
  std::vector<const PublishedMethod*> out;
  for (const PublishedMethod& m : methods) {
    bool fits = run.full_precision == m.full_precision && (whole || m.full_precision);
    for (const auto& [path, value] : m.match) {
      const auto at = config.find(path);
      fits = fits && (value == kAbsent ? at == config.end() : at != config.end() && equal_values(at->second, value));
    }
    if (fits) out.push_back(&m);
  }
  return out;
}

Published read_published(const std::string& folder) {
  std::vector<fs::path> folders{folder};
  if (folder.empty()) folders = shipped_folders("published");
  for (const fs::path& f : folders) {
    if (!fs::is_regular_file(f / "methods.yaml")) continue;
    Published out;
    read_models((f / "models.yaml").string(), out);
    read_methods((f / "methods.yaml").string(), out);
    std::vector<std::string> files;
    std::error_code ec;
    for (const auto& entry : fs::directory_iterator(f / "sources", ec))
      if (entry.path().extension() == ".yaml") files.push_back(entry.path().string());
    std::sort(files.begin(), files.end());
    for (const std::string& file : files)
      read_source(file, out);
    return out;
  }
  throw ResourceError("{}: holds no methods.yaml; expected the published numbers that come with the program; install it whole",
                      folder.empty() ? "analysis/published" : folder);
}

}  // namespace sage
